"""Processes restart one after another behind an untuned nginx, and no client notices."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import httpx2
import pytest

from chatservice.testing import ApiUser, Service, ServiceTestCase, needs_dialect, tried_on, wait_until
from tests.nginx import USUAL_HEADERS, nginx

REQUESTS = 200
CLIENTS = 4
# The longest answer that a stopping process still has to finish takes one second.
MODELS = ("fake/ok", "fake/slow:20ms:50")
KEEP_ALIVE = 'proxy_http_version 1.1; proxy_set_header Connection "";'
# By name: additional directives for the blocks `upstream` and `location`.
FRONTS = {"round robin": ("", ""), "kept connections": ("keepalive 16;", KEEP_ALIVE)}


@dataclass
class Load:
    """Clients that send requests one by one, each on a new connection, until they are told to stop."""

    url: str
    api_user: ApiUser
    problems: list[str] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    served_by: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(CLIENTS)]
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for each in self._threads:
            each.join()

    def asks_both(self) -> bool:
        return len(self.served_by) == 2

    def asks_more(self, address: str, than: int) -> bool:
        return self.served_by[address] > than

    def has_asked_enough(self) -> bool:
        return self.answered.total() >= REQUESTS

    def _work(self, number: int) -> None:
        for n in itertools.count(number):
            if self.over.is_set():
                return
            what = ("stream", "read", "answer", "read")[n % 4]
            try:
                self._ask(what, MODELS[n // 4 % 2])
            except Exception as error:
                self.problems.append(f"{what}: {error!r}")

    def _ask(self, what: str, model: str) -> None:
        with httpx2.Client(base_url=self.url, headers=self.api_user.headers, timeout=60, trust_env=False) as client:
            if what == "read":
                response = client.get("/v1/chat/conversations")
                good = response.status_code == 200 and response.json()["success"]
            else:
                body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": what == "stream"}
                response = client.post("/v1/chat/completions", json=body)
                end = "data: [DONE]\n\n" if what == "stream" else "}"
                good = response.status_code == 200 and "stop" in response.text and response.text.endswith(end)
        if not good:
            self.problems.append(f"{what}: {response.status_code} {response.text[-300:]}")
        self.answered[what] += 1
        self.served_by[response.headers["x-upstream"].rpartition(" ")[2]] += 1


@pytest.mark.timeout(300)
@tried_on("postgresql")
class RollingRestartTest(ServiceTestCase):
    def test_no_request_fails_behind_plain_round_robin_nor_where_nginx_keeps_connections(self) -> None:
        needs_dialect("openai_v1")
        needs_dialect("chat_v1")
        services = [Service(env={"TRUSTED_PROXIES": "1", "DRAIN_SECONDS": "30"}) for _ in range(2)]
        for each in services:
            self.addCleanup(each.stop)
            each.start()
        with ExitStack() as stack:
            loads = {name: stack.enter_context(self.load_behind(services, *how)) for name, how in FRONTS.items()}
            for each in services:
                for load in loads.values():
                    wait_until(load.asks_both, timeout=60, what="both are asked")
                self.assertEqual(each.stop(), 0)
                each.start()
                # nginx retries a process that refused it after 10 s; only then does the next process stop.
                address = f"127.0.0.1:{each.port}"
                before = [load.served_by[address] for load in loads.values()]
                for load, count in zip(loads.values(), before, strict=True):
                    wait_until(partial(load.asks_more, address, count), timeout=60, what="it is asked again")
            for load in loads.values():
                wait_until(load.has_asked_enough, timeout=60, what="requests enough")
        for name, load in loads.items():
            print(f"\n{name}: {load.answered.total()} requests through two restarts: {dict(load.answered)}")
            self.assertEqual(load.problems, [], name)
        for each in services:
            self.assertNotIn("Traceback", each.log())

    @contextmanager
    def load_behind(self, services: list[Service], upstream: str, location: str) -> Iterator[Load]:
        urls = [each.url for each in services]
        front = nginx(*urls, headers=USUAL_HEADERS, upstream=upstream, location=location)
        with front as url, Load(url, self.alice) as load:
            yield load
