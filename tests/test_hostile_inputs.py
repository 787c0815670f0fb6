"""No input makes the service fail: no 5xx, no hang, errors in the API's own shape, nothing stored after a refusal.

A separate service receives all inputs in two rounds; its memory and its log are checked at the end. HOSTILE=all tries
every input on every target, in both rounds, which takes minutes.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pytest
from django.db import connection
from django.db.models import QuerySet
from websockets.exceptions import ConnectionClosed

from accounts.models import User
from chatservice.dialects import DIALECTS
from chatservice.testing import Service, ServiceTestCase, running_service, tried_once, wait_until
from chatservice.testing.sockets import Socket
from completions.models import Run
from conversations.models import Conversation, Message, Todo
from scripts.procfs import resident_bytes, tree
from tests.hostile import bodies, frames, graph, heads, mcp
from tests.hostile.inputs import Input
from tests.hostile.shapes import problem_with
from tests.hostile.wire import NOTHING, HostileClient, Reply, raw_reply, raw_requests
from tests.matrix import operations, subjects
from tests.matrix.asking import request
from tests.matrix.rows import PARAMETER, filled

MEBIBYTE = 1_048_576
GROWTH = 50 * MEBIBYTE
AT_LEAST = 400
EVERYTHING = os.environ.get("HOSTILE") == "all"
STREAM_LINE = re.compile(r"(data|id|event|retry):|:|\Z")
BROKEN = re.compile(r"\b(ERROR|CRITICAL)\b|Traceback|Exception in ASGI")
CLOSES = {1009, 4400, 4401, 4403, 4408, 4409, 4413, 4429}


T = TypeVar("T")


@pytest.mark.timeout(900)
@tried_once
class HostileInputTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        running = running_service()
        self.service: Service = running.__enter__()
        self.addCleanup(running.__exit__, None, None, None)
        self.tried: Counter[str] = Counter()

    def test_the_corpus_twice(self) -> None:
        parts: dict[str, Callable[[], None]] = {
            "HTTP": self.try_http,
            "bytes": self.try_bytes,
            "frames": self.try_frames,
            "GraphQL frames": self.try_graph_frames,
        }
        self.renew()
        self.warm_up()
        sizes = [self.size()]
        for self.round in (0, 1):
            for part in parts.values():
                part()
                sizes.append(self.size())
            self.renew()
        shown = ", ".join(f"{size / MEBIBYTE:.1f}" for size in sizes)
        print(f"\nhostile inputs, in two rounds: {dict(self.tried)}; the service took {shown} MiB")
        self.assertLess(sizes[-1] - sizes[0], GROWTH)
        self.assertGreater(self.tried["HTTP"], AT_LEAST)
        self.assertEqual([line for line in self.service.log().splitlines() if BROKEN.search(line)], [])

    def warm_up(self) -> None:
        """Make every request once as it should be, so that first-use allocations do not count as growth."""
        for row in operations.rows():
            if row.kind in ("GET", "POST") and set(PARAMETER.findall(row.target)) <= set(self.things):
                request(self.subject, row.kind, filled(row.own_path(), self.own), filled(row.body, self.own))
        self.subject.http.post("/graphql", content=b"x" * (4 * MEBIBYTE))

    def size(self) -> int:
        """Return the service's memory once it is idle."""
        assert self.service.process is not None
        wait_until(lambda: not Run.objects.filter(state=Run.State.RUNNING, user=self.subject.user).exists())
        return resident_bytes(tree(self.service.process.pid))

    def renew(self) -> None:
        """Create a new user for the inputs, with a new conversation."""
        self.subject = subjects.subject_of("mallory", self.service)
        self.addCleanup(self.subject.http.close)
        self.things = subjects.things_of(self.subject, self.service)
        self.secret = self.subject.headers["Authorization"].removeprefix("Bearer ")
        self.count_rows_of(self.subject.user)
        self.own = {f"own.{name}": value for name, value in self.things.items()} | {"fresh": "fresh"}

    def count_rows_of(self, user: User) -> None:
        """Write the query for `stored`, which asks it after each input."""
        counted: tuple[QuerySet[Any], ...] = (
            Conversation.objects.filter(owner=user),
            Message.objects.filter(conversation__owner=user),
            Run.objects.filter(user=user),
            Todo.objects.filter(owner=user),
            User.objects.all(),
        )
        queries = [rows.order_by().values("pk").query.sql_with_params() for rows in counted]
        columns = ", ".join(f"(SELECT count(*) FROM ({sql}) AS counted)" for sql, _ in queries)
        self.counts = f"SELECT {columns}", [each for _, parameters in queries for each in parameters]

    def stored(self) -> tuple[int, ...]:
        """Return how many rows there are of each kind that an input could store."""
        with connection.cursor() as cursor:
            cursor.execute(*self.counts)
            return cursor.fetchone()

    # --- HTTP

    def inputs(self) -> Iterator[Input]:
        """Yield every input for one of its targets, or with HOSTILE=all for each of them."""
        targets: dict[str, list[Input]] = {}
        for each in self.all_inputs():
            targets.setdefault(each.name, []).append(each)
        for several in targets.values():
            yield from several if EVERYTHING else [random.choice(several)]

    def turn(self, inputs: Iterable[T]) -> Iterator[T]:
        """Yield the inputs of this round: half of them in each round, or all in both."""
        return (each for number, each in enumerate(inputs) if EVERYTHING or number % 2 == self.round)

    def all_inputs(self) -> Iterator[Input]:
        yield from bodies.body_inputs(self.own)
        yield from bodies.field_inputs(self.own)
        yield from heads.id_inputs(self.own)
        yield from heads.query_inputs(self.own)
        yield from heads.header_inputs(self.own, self.secret)
        yield from graph.graph_inputs(self.own)
        yield from mcp.mcp_inputs(self.own)

    def try_http(self) -> None:
        client = HostileClient(self.service.port, self.secret)
        stored = self.stored()
        for each in self.turn(self.inputs()):
            self.tried["HTTP"] += 1
            with self.subTest(str(each)):
                reply = client.send(each)
                now = self.stored()
                refused = self.refusal(each, reply)
                if refused:
                    self.assertEqual(now, stored, "a refused request was stored")
            stored = now
        client.close()

    def refusal(self, each: Input, reply: Reply) -> bool:
        """Check an answer; return whether it is a refusal."""
        if reply == NOTHING:
            # uvicorn closes the connection if a body is not read to its end.
            self.assertTrue(len(each.content or b"") > MEBIBYTE or sum(map(len, each.headers.values())) > 16_000)
            return True
        self.assert_sound(reply)
        if reply.status >= 400:
            if "x-request-id" in reply.headers and each.method != "HEAD":
                self.assertEqual(problem_with(each.path, reply.text), "", reply.text[:500])
            return True
        if each.path.startswith("/graphql") and '"errors"' in reply.text:
            self.assertEqual(problem_with(each.path, reply.text), "", reply.text[:500])
        if each.path == "/mcp" and "error" in json.loads(reply.text or "{}"):
            self.assertEqual(problem_with(each.path, reply.text), "", reply.text[:500])
        self.assertNotIn('"internal_error"', reply.text)
        return False

    def assert_sound(self, reply: Reply) -> None:
        self.assertLess(reply.status, 500, reply.text[:500])
        for word in ("Traceback", 'File "/', "django.", "sqlite3", "psycopg"):
            self.assertNotIn(word, reply.text)
        self.assertNotIn("evil", f"{reply.headers.get('set-cookie')}{reply.headers.get('location')}")
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            for line in re.split(r"\r\n|\r|\n", reply.text):
                self.assertRegex(line, STREAM_LINE)
                self.assertNotRegex(line, r"^(id|event): ?evil|^retry: ?1$")

    # --- malformed HTTP

    def try_bytes(self) -> None:
        for name, sent in self.turn(raw_requests(self.secret).items()):
            self.tried["bytes"] += 1
            with self.subTest(name):
                reply = raw_reply(self.service.port, sent)
                self.assert_sound(reply)
                # Malformed or oversized HTTP is refused before any key is read.
                unread = reply.status in (0, 431) or "not a valid HTTP request" in reply.text
                served = not unread and "openai_v1" in DIALECTS
                if reply.status >= 400 and served and "key" in name and "idempotency" not in name:
                    self.assertEqual(reply.status, 401)
        self.assertEqual(self.subject.http.get("/healthz").status_code, 200)

    # --- frames

    def try_frames(self) -> None:
        if "websocket" not in DIALECTS:
            return
        stored = self.stored()
        for name, frame in self.turn(frames.frames(self.things)):
            self.tried["frames"] += 1
            with self.subTest(f"frame: {name}"):
                told, code = self.told(frame)
                self.assertTrue(code is None or code in CLOSES, f"closed with {code}")
                for each in told:
                    self.assertIn("type", each)
                    if each["type"] == "error":
                        self.assertLessEqual({"code", "message"}, set(each["data"]))
                        self.assertNotIn(each["data"]["code"], ("internal_error", "storage_unavailable"))
                refused = [each for each in told if each["type"] == "error" and "run_id" not in each]
                now = self.stored()
                if refused or code is not None:
                    self.assertEqual(now, stored, "a refused frame was stored")
            stored = now

    def told(self, frame: str | bytes) -> tuple[list[dict[str, Any]], int | None]:
        """Send one frame and a ping; return all frames up to the pong, or the close code."""
        said: list[dict[str, Any]] = []
        with Socket(self.service.websocket_url, additional_headers=dict(self.subject.headers)) as socket:
            try:
                socket.raw(frame)
                socket.say(type="ping", id="still there?")
                while not said or said[-1] != {"type": "pong", "id": "still there?"}:
                    said.append(socket.read())
            except ConnectionClosed as closed:
                return said, closed.rcvd.code if closed.rcvd else 1006
        return said[:-1], None

    def try_graph_frames(self) -> None:
        if "graphql" not in DIALECTS:
            return
        for name, frame in self.turn(frames.graph_frames()):
            self.tried["GraphQL frames"] += 1
            with self.subTest(f"GraphQL frame: {name}"):
                told, code = self.told_by_graph(frame)
                self.assertTrue(code is None or code in CLOSES, f"closed with {code}")
                for each in told:
                    errors = each["payload"] if each["type"] == "error" else (each.get("payload") or {}).get("errors")
                    if errors:
                        self.assertEqual(
                            problem_with("/graphql", json.dumps({"errors": errors})), "", str(errors)[:500]
                        )

    def told_by_graph(self, frame: str | bytes) -> tuple[list[dict[str, Any]], int | None]:
        said: list[dict[str, Any]] = []
        url = f"{self.service.url.replace('http', 'ws')}/graphql"
        headers = dict(self.subject.headers)
        with Socket(url, subprotocols=["graphql-transport-ws"], additional_headers=headers) as socket:
            try:
                socket.say(type="connection_init")
                socket.read()
                socket.raw(frame)
                socket.say(type="ping")
                while not said or said[-1]["type"] != "pong":
                    said.append(socket.read())
            except ConnectionClosed as closed:
                return said, closed.rcvd.code if closed.rcvd else 1006
        return said, None
