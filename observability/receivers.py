"""Counts what the other packages tell by their signals. Each of these is called where an answer is produced."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from chatservice import __version__
from chatservice.signals import limit_hit, serving_started
from completions import signals
from observability import figures, serving
from observability.model_names import label_of
from observability.state import State
from search.signals import searched

MICROS = 1_000_000


def connect() -> None:
    """Connect all receivers, for as long as the process lives."""
    figures.build.info({"version": __version__})
    figures.registry.register(State())
    for signal, receiver in RECEIVERS:
        signal.connect(receiver, weak=False, dispatch_uid=receiver.__name__)


def count_answer(
    *,
    model: str,
    upstream: str,
    end: str,
    error_code: str,
    input_tokens: int | None,
    output_tokens: int | None,
    cost: int | None,
    seconds: float,
    first_token_seconds: float | None,
    **kwargs: Any,
) -> None:
    labels = (label_of(model), upstream)
    figures.answers.labels(*labels, end).inc()
    figures.answer_seconds.labels(*labels).observe(seconds)
    if first_token_seconds is not None:
        figures.first_token_seconds.labels(*labels).observe(first_token_seconds)
    if error_code:
        figures.answer_errors.labels(upstream, error_code).inc()
    figures.tokens.labels(*labels, "input").inc(input_tokens or 0)
    figures.tokens.labels(*labels, "output").inc(output_tokens or 0)
    figures.cost.labels(*labels, settings.CURRENCY).inc((cost or 0) / MICROS)


def count_reaped(**kwargs: Any) -> None:
    figures.runs_reaped.inc()


def count_lost(**kwargs: Any) -> None:
    figures.leases_lost.inc()


def count_commit(*, seconds: float, questions: int, chunks: int, results: int, **kwargs: Any) -> None:
    figures.commit_seconds.observe(seconds)
    figures.commit_items.observe(questions + chunks + results)


def count_failed_commit(**kwargs: Any) -> None:
    figures.commit_failures.inc()


def count_sweep(*, seconds: float, failed: bool, **kwargs: Any) -> None:
    figures.sweep_seconds.observe(seconds)
    if failed:
        figures.sweep_failures.inc()


def count_retry(*, upstream: str, error_code: str, **kwargs: Any) -> None:
    figures.retries.labels(upstream, error_code).inc()


def count_fallback(*, upstream: str, error_code: str, **kwargs: Any) -> None:
    figures.fallbacks.labels(upstream, error_code).inc()


def count_search(*, seconds: float, mode: str, **kwargs: Any) -> None:
    figures.search_seconds.labels(mode).observe(seconds)


def count_limit(*, code: str, setting: str, **kwargs: Any) -> None:
    figures.limits_hit.labels(code, setting).inc()


def begin(**kwargs: Any) -> None:
    serving.begin()


RECEIVERS = (
    (signals.run_finished, count_answer),
    (signals.run_reaped, count_reaped),
    (signals.lease_lost, count_lost),
    (signals.batch_committed, count_commit),
    (signals.batch_failed, count_failed_commit),
    (signals.sweep_finished, count_sweep),
    (signals.upstream_retried, count_retry),
    (signals.upstream_skipped, count_fallback),
    (searched, count_search),
    (limit_hit, count_limit),
    (serving_started, begin),
)
