"""The database is unreachable: 503 with a time to retry, in each API's own shape, and one line in the log."""

from __future__ import annotations

import contextlib
import sqlite3
import unittest
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest
from django.db import connection
from websockets.exceptions import ConnectionClosed

from chatservice import testing
from chatservice.dialects import DIALECTS
from chatservice.testing import Service, ServiceTestCase, needs_dialect, wait_until
from chatservice.testing.sockets import Socket
from completions.tests.silent_line import SilentLine
from tests.background_reader import ask
from tests.hostile import heads
from tests.hostile.inputs import Input
from tests.hostile.shapes import problem_with
from tests.hostile.wire import HostileClient, Reply
from tests.matrix import operations, subjects
from tests.matrix.rows import PARAMETER, Row, filled

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@pytest.mark.timeout(180)
class OutageTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        if connection.vendor != "postgresql":
            self.skipTest("a file is not away; see LockedFileTest")
        self.line = SilentLine.before(testing.test_database_url(), 5432).__enter__()
        self.addCleanup(self.line.__exit__)
        self.own = Service(env={"DATABASE_URL": self.line.url, "ADMIN_ENABLED": "true"}).start()
        self.addCleanup(self.own.stop)
        self.subject = subjects.subject_of("mallory", self.own)
        self.addCleanup(self.subject.http.close)
        self.things = subjects.things_of(self.subject, self.own)
        self.secret = self.subject.headers["Authorization"].removeprefix("Bearer ")

    def test_every_surface_says_so_in_its_own_words(self) -> None:
        needs_dialect("websocket")
        own = {f"own.{name}": value for name, value in self.things.items()} | {"fresh": "fresh"}
        rows = [
            row
            for row in operations.rows()
            if row.kind in METHODS and row.touches and set(PARAMETER.findall(row.target)) <= set(self.things)
        ]
        self.assertGreater(len(rows), 20)
        asked = [(row, heads.valid(row, row.operation, filled(row.own_path(), own), own)) for row in rows]
        self.line.shut()
        wait_until(lambda: httpx2.get(f"{self.own.url}/readyz").status_code == 503, what="red readiness")
        with ThreadPoolExecutor(16) as pool:
            for (row, each), reply in zip(asked, pool.map(self.send, [each for _, each in asked]), strict=True):
                with self.subTest(row.operation):
                    self.check(row, each, reply)
        with self.subTest("websocket"), Socket(self.own.websocket_url, additional_headers=self.subject.headers) as link:
            self.assertEqual(link.read()["data"]["code"], "storage_unavailable")
        if "graphql" in DIALECTS:
            with self.subTest("GraphQL's websocket"):
                self.check_graphql_socket()
        with self.subTest("admin"):
            cookies = {"chat_session": "x" * 32}
            answer = httpx2.get(f"{self.own.url}/admin/", cookies=cookies, timeout=30)
            self.assertEqual((answer.status_code, answer.headers.get("retry-after")), (503, "5"), answer.text)
        log = self.own.log()
        self.assertNotIn("Traceback", log)
        self.assertNotRegex(log, r"\bERROR\b")
        self.assertEqual(log.count("the database does not answer"), 1, log)

    def check_graphql_socket(self) -> None:
        """Fail unless the socket closes with a code after which clients reconnect, and says when to do so."""
        url = self.own.url.replace("http", "ws") + "/graphql"
        socket = Socket(url, subprotocols=["graphql-transport-ws"], additional_headers=self.subject.headers)
        with socket as link, self.assertRaises(ConnectionClosed) as closed:
            link.say(type="connection_init")
            link.read()
        told = closed.exception.rcvd
        assert told is not None
        reason = "The service cannot reach its store right now. Try again in 5 s."
        self.assertEqual((told.code, told.reason), (4503, reason))

    def send(self, each: Input) -> Reply:
        client = HostileClient(self.own.port, self.secret, seconds=60)
        with contextlib.closing(client):
            return client.send(each)

    def check(self, row: Row, each: Input, reply: Reply) -> None:
        if each.path.startswith("/graphql") and reply.status == 200:
            self.assertIn('"code":"storage_unavailable"', reply.text)
            self.assertIn('"retryAfter":5', reply.text)
        else:
            self.assertEqual((reply.status, reply.headers.get("retry-after")), (503, "5"), reply.text)
        self.assertEqual(problem_with(each.path, reply.text), "", reply.text)


class LockedFileTest(ServiceTestCase):
    def test_a_file_that_somebody_else_has_locked(self) -> None:
        if connection.vendor != "sqlite":
            raise unittest.SkipTest("there are no files")
        self.assertIn("ai_complete", ask(self.alice.http).text)
        with contextlib.closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as link:
            link.execute("BEGIN IMMEDIATE")
            refused = ask(self.alice.http)
            link.execute("ROLLBACK")
        self.assertEqual(refused.status_code, 503, refused.text)
        self.assertGreater(int(refused.headers["retry-after"]), 0)
        wait_until(lambda: "ai_complete" in ask(self.alice.http).text, what="an answer")
        self.assertNotIn("Traceback", self.service.log())
