"""What is counted and measured, of this process alone.

Each process answers for itself, on a port of its own, and Prometheus adds up: so each is a target with its own `up`,
memory and loop, a gauge needs no rule for adding it to those of others, and a process that died leaves nothing behind:
its series end by themselves. The library's other way, files in a directory that all processes share, makes every count
a write into a mapped file, has no memory or CPU of processes, keeps the files of dead ones until somebody deletes them,
and still knows one machine only.

Values of labels come from the configuration, or from a list in the code, never from a client as they are.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

PREFIX: Final = "chatservice"
QUICK: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
LONG: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
ITEMS: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter, which nothing reads
registry = CollectorRegistry()
ProcessCollector(registry=registry)

build = Info(f"{PREFIX}_build", "The version of the service.", registry=registry)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(f"{PREFIX}_{name}", text, labels, registry=registry)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...] = QUICK) -> Histogram:
    return Histogram(f"{PREFIX}_{name}", text, labels, buckets=buckets, registry=registry)


requests = _counter("http_requests_total", "HTTP requests, once they are answered.", "method", "route", "status")
request_seconds = _histogram(
    "http_request_duration_seconds",
    "From the headers of a request to the end of its answer, for streams too.",
    *("method", "route"),
    buckets=LONG,
)

answers = _counter("answers_total", "Answers whose end is stored.", "model", "upstream", "end")
answer_errors = _counter("answer_errors_total", "Answers that failed or were interrupted.", "upstream", "code")
answer_seconds = _histogram(
    "answer_duration_seconds", "From the start of an answer to its end.", "model", "upstream", buckets=LONG
)
first_token_seconds = _histogram(
    "time_to_first_token_seconds",
    "From the start of an answer to the first that a stream brought.",
    *("model", "upstream"),
    buckets=LONG,
)
tokens = _counter("tokens_total", "Tokens of answers, as they are charged.", "model", "upstream", "kind")
cost = _counter("cost_total", "What answers cost, in the currency.", "model", "upstream", "currency")

commit_seconds = _histogram("commit_duration_seconds", "Commits of questions, text and outcomes.")
commit_items = _histogram("commit_items", "Questions, chunks of text and outcomes in one commit.", buckets=ITEMS)
commit_failures = _counter("commit_failures_total", "Commits that failed; what was in them is tried again.")
oldest_wait = Gauge(
    f"{PREFIX}_commit_oldest_wait_seconds", "For how long the oldest item waits to be stored.", registry=registry
)

leases_lost = _counter("leases_lost_total", "Answers that this process had to give up: deleted, or another's now.")
runs_reaped = _counter("reaped_answers_total", "Answers of processes that died, ended by this one.")
sweep_seconds = _histogram("reaper_sweep_duration_seconds", "Sweeps of the reaper.", buckets=LONG)
sweep_failures = _counter("reaper_sweep_failures_total", "Sweeps of the reaper that failed.")

search_seconds = _histogram("search_duration_seconds", "Searches, by how they were answered.", "mode")

retries = _counter("upstream_retries_total", "Requests that were sent to an upstream again.", "upstream", "code")
fallbacks = _counter(
    "upstream_fallbacks_total", "Answers that an upstream did not begin although others can.", "upstream", "code"
)

limits_hit = _counter("limits_hit_total", "Refusals because of a limit or a budget.", "code", "setting")
loop_lag = _histogram("event_loop_lag_seconds", "How much later than due the event loop runs what it should.")
