"""Processes with metrics, and what they expose."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import httpx2
from django.db import connection
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from chatservice.testing import (
    ApiUser,
    KeptTablesTestCase,
    Service,
    fake_upstream,
    free_port,
    make_api_user,
    running_service,
    test_database_url,
    wait_until,
)
from completions.tests.silent_line import SilentLine
from usage.models import ModelPrice
from usage.tests.prices import add_price

TOKEN = "a-token-of-at-least-sixteen"
FINE, WHOLE, SLOW = "metered:0:10", "metered:0:7", "slow:50ms:400"
BROKEN, GONE, EITHER = "http-400", "gone", "either"
CANARY, UPSTREAM_KEY = "hummingbird-question", "sk-upstream-secret-canary"


def upstreams() -> str:
    """Return one upstream that works, one that cannot be reached, and one that does not begin what another can."""
    fake = {"base_url": fake_upstream().base_url, "api_key": UPSTREAM_KEY}
    nobody = {"base_url": "http://127.0.0.1:1/v1"}
    busy = {**fake, "models": [EITHER], "rename": {EITHER: "http-401"}}
    able = {**fake, "models": [EITHER, FINE, WHOLE, SLOW, BROKEN, "flaky*"], "rename": {EITHER: FINE}}
    return json.dumps({"busy": busy, "able": able, "nobody": {**nobody, "models": [GONE]}})


class Exposed:
    """What one or several processes expose."""

    def __init__(self, *texts: str) -> None:
        self.families = [family for text in texts for family in text_string_to_metric_families(text)]
        self.samples: list[Sample] = [sample for family in self.families for sample in family.samples]

    def names(self) -> set[str]:
        """Return the names of all metrics, also of those that have no series yet; without `_bucket`, with `_total`."""
        return {family.name + {"counter": "_total"}.get(family.type, "") for family in self.families}

    def total(self, name: str, **labels: str) -> float:
        """Return the sum over all series of this name with these labels."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def by(self, name: str, *labels: str) -> Counter[Any]:
        """Return the sums of the series of this name by the values of these labels."""
        found: Counter[Any] = Counter()
        for sample in self.samples:
            if sample.name == name:
                found[tuple(sample.labels[label] for label in labels)] += sample.value  # type: ignore[assignment]
        return found


def read(port: int) -> str:
    response = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10, trust_env=False)
    response.raise_for_status()
    return response.text


class MetricsTestCase(KeptTablesTestCase):
    """Two processes on one database. The metrics port of the second was taken when it started."""

    first: ClassVar[Service]
    second: ClassVar[Service]
    line: ClassVar[SilentLine]
    """Between the second and PostgreSQL."""
    ports: ClassVar[tuple[int, int]]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        price = add_price(FINE, input="2", output="8")  # before the processes read any
        cls.addClassCleanup(ModelPrice.objects.filter(pk=price.pk).delete)
        cls.ports = (free_port(), free_port())
        with taken(cls.ports[1]):
            own = {"UPSTREAMS": upstreams(), "METRICS_PORT": str(cls.ports[0]), "SWEEP_SECONDS": "0.5"}
            cls.first = cls.enterClassContext(running_service(**own, METRICS_TOKEN=TOKEN, ALLOWED_HOSTS="a.example"))
            own |= {"METRICS_PORT": str(cls.ports[1]), "LIMIT_STREAMS_PER_PROCESS": "1"}
            if connection.vendor == "postgresql":
                cls.line = cls.enterClassContext(SilentLine.before(test_database_url(), 5432))
                own |= {"DATABASE_URL": cls.line.url}
            cls.second = cls.enterClassContext(running_service(**own))
            wait_until(lambda: "METRICS_PORT" in cls.second.log(), what="a warning about the port")
        wait_until(lambda: answers(cls.ports[1]), what="metrics on a port that was taken")

    def setUp(self) -> None:
        super().setUp()
        self.service = self.first
        self.alice, self.bob = self.api_user("alice", self.first), self.api_user("bob", self.second)

    def api_user(self, name: str, service: Service) -> ApiUser:
        made = make_api_user(name, url=service.url)
        made.http.headers["Host"] = "a.example" if service is self.first else "localhost"
        self.addCleanup(made.http.close)
        return made

    def exposed(self) -> Exposed:
        """Return what both processes expose now."""
        return Exposed(*map(read, self.ports))


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        yield


def answers(port: int) -> bool:
    try:
        return bool(read(port))
    except httpx2.HTTPError:
        return False
