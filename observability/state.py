"""What is not counted but read when Prometheus asks: of memory, of the connection pool, and two counts of rows."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from completions.live import LIVE
from completions.models import Run
from completions.providers import open_breakers
from completions.stream_limits import open_sockets, open_streams
from foundation.database import StorageError, time_limit
from foundation.outages import note_failure
from observability.figures import PREFIX
from search.indexer import backlog

DATABASE_SECONDS = 3.0


def _gauge(name: str, text: str, value: float | None = None, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value, labels=labels or None)


class State(Collector):
    """Reads in the thread that answers Prometheus; a database that is away only makes its figures missing."""

    def collect(self) -> Iterator[Metric]:
        yield _gauge("answers_in_progress", "Answers that this process is writing.", len(LIVE))
        yield _gauge("streams_open", "Streams of answers that clients have open.", open_streams())
        yield _gauge("sockets_open", "Websockets that clients have open.", open_sockets())
        breakers = _gauge("upstream_breaker_open", "Whether an upstream is not asked for now.", labels=("upstream",))
        for name, is_open in open_breakers().items():
            breakers.add_metric([name], float(is_open))
        yield breakers
        yield from _of_database()
        yield from _of_pool()

    def describe(self) -> Iterator[Metric]:
        """Nothing is read when this is registered."""
        return iter(())


def _of_database() -> Iterator[Metric]:
    up = _gauge("database_up", "Whether the database answered just now.")
    queued = _gauge("answers_queued", "Questions of all processes that wait for the answer before them.")
    waiting = _gauge("search_index_queue", "Messages of all processes that wait for the index.")
    try:
        with time_limit(DATABASE_SECONDS):
            queued.add_metric([], Run.objects.queued().count())
            waiting.add_metric([], backlog())
        up.add_metric([], 1)
    except StorageError as error:
        note_failure(error)
        up.add_metric([], 0)
    finally:
        connection.close()
    yield from (up, queued, waiting)


def _of_pool() -> Iterator[Metric]:
    """The connections to PostgreSQL; SQLite has no pool, and these figures no values."""
    connections = _gauge("database_pool_connections", "Connections of the pool, by state.", labels=("state",))
    most = _gauge("database_pool_max_connections", "The most connections that the pool opens.")
    waiting = _gauge("database_pool_waiting", "Threads that wait for a connection.")
    waited = CounterMetricFamily(f"{PREFIX}_database_pool_wait_seconds", "How long threads waited for connections.")
    errors = CounterMetricFamily(f"{PREFIX}_database_pool_errors", "Threads that got no connection in time.")
    pool = connection.pool if connection.vendor == "postgresql" else None  # type: ignore[attr-defined]
    if pool is not None:
        found = pool.get_stats()
        idle = found.get("pool_available", 0)
        connections.add_metric(["idle"], idle)
        connections.add_metric(["used"], found.get("pool_size", 0) - idle)
        most.add_metric([], found.get("pool_max", 0))
        waiting.add_metric([], found.get("requests_waiting", 0))
        waited.add_metric([], found.get("requests_wait_ms", 0) / 1000)
        errors.add_metric([], found.get("requests_errors", 0))
    yield from (connections, most, waiting, waited, errors)
