"""The part of the contract about clients that leave: what becomes of their answers, and what the upstream notices."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

from chatservice.dialects.contract import SLOW, SLOW_TEXT, Call, Capability, DialectAdapter
from chatservice.dialects.contract_sockets import SocketCall
from chatservice.testing import wait_until
from completions.tests.invariants import invariants

CANCEL, CONTINUE = {"X-On-Disconnect": "cancel"}, {"X-On-Disconnect": "continue"}


class LeavingContract(DialectAdapter):
    def test_a_client_that_leaves_stops_its_answer_or_not_as_its_api_says(self) -> None:
        model = "fake/slow:20ms:1000" if self.leaving_stops else SLOW
        with self.stream_call(self.alice, "Go on", model=model).opened_by(self.alice.http) as response:
            self.assertTrue(any("token" in line for line in response.iter_lines()))
        answer = self.settled(self.alice)
        self.assertEqual(answer.status, "cancelled" if self.leaving_stops else "complete")
        self.assertTrue(answer.content.startswith("token ") if self.leaving_stops else answer.content == SLOW_TEXT)

    def test_one_that_asked_for_it_stops_the_upstream_within_a_second(self) -> None:
        # Nothing was sent back yet: neither headers nor a first word.
        for call in self.http_calls("fake/no-first-byte"):
            with self.subTest(call.path), self.sent(call, **CANCEL):
                before = len(self.upstream.hangups)
            left = time.monotonic()
            self.assertTrue(self.upstream.wait_for_hangup(before + 1, timeout=5), "the upstream goes on")
            self.assertLess((self.upstream.hangups[-1].hung_up or 0) - left, 1.0)
            self.assertEqual(self.settled(self.alice).status, "cancelled")
        self.assertEqual(invariants([self.alice.user]), [])

    def test_one_that_asked_for_the_opposite_does_not_stop_its_answer(self) -> None:
        for call in self.http_calls("fake/slow:10ms:40"):
            with self.subTest(call.path), self.sent(call, **CONTINUE):
                pass
            answer = self.settled(self.alice)
            self.assertEqual((answer.status, answer.content), ("complete", "token " * 40))

    def test_one_with_a_key_does_not_stop_its_answer(self) -> None:
        self.need(Capability.IDEMPOTENCY)
        for number, call in enumerate(self.http_calls("fake/slow:10ms:40")):
            with self.subTest(call.path), self.sent(call, **{"Idempotency-Key": f"left-{number}"}):
                pass
            self.assertEqual(self.settled(self.alice).status, "complete")

    def test_a_wish_that_is_none_is_refused_before_anything_is_stored(self) -> None:
        for call in self.http_calls("fake/ok"):
            before = self.stored_of(self.alice)
            for wish in ("explode", "", "cancel, continue"):
                response = call.by(self.alice.http, **{"X-On-Disconnect": wish})
                self.assertEqual((self.status_of(response), self.error_code(response)), (400, "invalid_on_disconnect"))
            self.assertEqual(self.stored_of(self.alice), before)

    def http_calls(self, model: str) -> Iterator[Call]:
        """Yield the calls that ask by HTTP, each made when it is needed: some store the question first."""
        for make in (self.send_call, self.stream_call):
            call = make(self.alice, "Go on", model=model)
            if not isinstance(call, SocketCall):
                yield call

    @contextmanager
    def sent(self, call: Call, **headers: str) -> Iterator[None]:
        """Send a call, and leave at the end of the block, which begins when the upstream was asked."""
        before = len(self.upstream.posts)
        url = urlsplit(self.service.url)
        with closing(HTTPConnection(url.hostname or "", url.port)) as connection:
            body = None if call.json is None else json.dumps(call.json)
            headers = {"Content-Type": "application/json", **self.alice.headers, **call.headers, **headers}
            connection.request(call.method, call.path, body, headers)
            wait_until(lambda: len(self.upstream.posts) > before, what="a question to the upstream")
            yield
