"""Each request counts once: as the answer that it starts, or else towards LIMIT_READS_PER_MINUTE."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from accounts.models import RateWindow
from chatservice.dialects import DIALECTS
from chatservice.testing import (
    Service,
    ServiceTestCase,
    needs_dialect,
    running_service,
    tried_once,
    wait_for_minute,
    wait_until,
)
from completions.models import Run
from conversations.models import Conversation
from conversations.services import append_message, start_conversation
from tests.matrix import operations, subjects
from tests.matrix.asking import MESSAGES, VERBS, Answer, ask, by_subscription, of_graph, of_http, request
from tests.matrix.rows import Probe, Row, anonymous, filled

# Requests that start an answer when the matrix sends them. The matrix's other requests of these kinds find nothing to
# answer or to continue.
STARTS = {
    "chat": {"GET /chat/conversation/{}/stream"},
    "chat_v1": {
        "POST /v1/chat/conversations/stream",
        "POST /v1/chat/conversations/{}/messages",
        "POST /v1/chat/conversations/{}/messages/stream",
        "POST /v1/chat/messages/{}/regenerate",
        "POST /v1/chat/messages/{}/regenerate/stream",
    },
    "openai_v1": {"POST /v1/chat/completions", "POST /v1/responses", "POST /v1/responses/compact"},
    "resources": {"POST /conversations/start", "POST /conversations/{}/message"},
    "graphql": {"mutation sendMessage", "mutation regenerate", "subscription answer"},
}
SEND = "mutation($content: String!, $model: String, $key: String, $to: ID) { sendMessage("
SEND += "content: $content, model: $model, idempotencyKey: $key, conversationId: $to) { runId message { id } } }"
ANSWER = "subscription($content: String!, $model: String, $key: String, $to: ID) { answer("
ANSWER += "content: $content, model: $model, idempotencyKey: $key, conversationId: $to) { runId cursor } }"
T = TypeVar("T")
# The number of answers started, and of reads counted.
STARTED, ONE, NOTHING = (1, 0), (0, 1), (0, 0)


def there(told: Mapping[str, T]) -> list[T]:
    """Return the values of all dialects that are installed."""
    return [each for name, each in told.items() if name in DIALECTS]


class ReadsCase(ServiceTestCase):
    limits: Mapping[str, str] = {}
    counting_service: Service

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        limits = {"LIMIT_READS_PER_MINUTE": "1000", **cls.limits}
        cls.counting_service = cls.enterClassContext(running_service(**limits))

    def setUp(self) -> None:
        super().setUp()
        self.service = self.counting_service
        self.subject = subjects.subject_of("alice", self.service)
        self.addCleanup(self.subject.http.close)
        self.counter = RateWindow.objects.filter(key=f"reads:{self.subject.user.pk.hex}")

    def counted(self) -> tuple[int, int]:
        """Return the numbers of answers started and of requests counted as reads, since `begin`."""
        reads = self.counter.values_list("count", flat=True).first() or 0
        return Run.objects.filter(user=self.subject.user).exclude(pk__in=self.runs).count(), reads

    def begin(self) -> None:
        self.counter.delete()  # a new minute would reset the counter
        self.runs = set(Run.objects.filter(user=self.subject.user).values_list("pk", flat=True))

    @contextmanager
    def counting(self, expected: tuple[int, int], what: object = "") -> Iterator[None]:
        with self.subTest(str(what)[:200]):
            self.begin()
            yield
            self.assertEqual(self.counted(), expected, what)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return of_http(request(self.subject, method, path, body, {k.replace("_", "-"): v for k, v in headers.items()}))

    def graph(self, query: str, **variables: Any) -> Answer:
        return of_graph(request(self.subject, "POST", "/graphql", {"query": query, "variables": variables}))

    def subscribe(self, query: str, **variables: Any) -> Answer:
        return by_subscription(self.subject, self.service, {"query": query, "variables": variables})

    def conversation(self, *contents: str) -> Conversation:
        conversation = start_conversation(owner_id=self.subject.user.pk)
        for content in contents:
            append_message(conversation=conversation, role="user", content=content)
        return conversation


@tried_once
class ReadsCountedTest(ReadsCase):
    def test_every_documented_request_counts_once(self) -> None:
        documented = {anonymous(name) for name in operations.documented_operations()}
        rows = [row for row in operations.rows() if anonymous(row.operation) in documented]
        self.assertEqual({anonymous(row.operation) for row in rows}, documented)
        own = subjects.things_of(self.subject, self.service)
        values = {"own.model": "echo", **{f"own.{name}": value for name, value in own.items()}}
        started: set[str] = set()
        # Deletions last: the other operations need the rows.
        for row in sorted(rows, key=lambda row: row.kind == "DELETE"):
            with self.subTest(row.operation):
                values["fresh"] = f"fresh-{uuid.uuid4().hex[:12]}"
                path = filled(row.own_path(), values)
                self.begin()
                answer = self.call(row.kind, path.replace("/search", "/search?q=in"), filled(row.body, values))
                self.assertNotIn(answer.outcome, ("401", "429", "500", "503"))
                runs, reads = self.counted()
                self.assertEqual(runs + reads, 1, answer.shown)
                if runs:
                    started.add(anonymous(row.operation))
        self.assertEqual(started, set().union(*there(STARTS)) - STARTS["graphql"])

    def test_every_operation_of_the_graph_counts_once(self) -> None:
        needs_dialect("graphql")
        started: set[str] = set()
        own = subjects.things_of(self.subject, self.service)
        # Deletions last: the other operations need the rows.
        for row, probe in sorted(self.graph_operations(), key=lambda each: "mutation delete" in each[0].operation):
            with self.subTest(f"{row.operation} {probe.position}"):
                own["key"] = uuid.uuid4().hex
                self.begin()
                answer = ask(self.subject, self.service, row, probe, own)
                self.assertNotIn(answer.outcome, ("401", "internal_error", "graphql_validation_failed"))
                runs, reads = self.counted()
                self.assertEqual(runs + reads, 1, answer.shown)
                if runs:
                    started.add(row.operation)
        self.assertEqual(started, STARTS["graphql"])

    def test_every_tool_counts_once(self) -> None:
        needs_dialect("mcp")
        own = subjects.things_of(self.subject, self.service)
        for row in operations.rows():
            if row.kind in MESSAGES:
                with self.counting(ONE, row.operation):
                    self.assertEqual(
                        ask(self.subject, self.service, row, Probe("body", body=row.body), own).outcome, "ok"
                    )

    def graph_operations(self) -> Iterator[tuple[Row, Probe]]:
        for row in operations.rows():
            if row.kind in VERBS:
                yield from ((row, probe) for probe in row.probes)
                if row.body is not None:
                    yield row, Probe("body", body=row.body)

    # --- requests that should start an answer, and start none

    def test_what_is_refused_counts_as_a_read(self) -> None:
        nobodys, mine = uuid.uuid4(), self.conversation().pk
        wrong = {"content": 5, "message": 5, "messages": 5, "stream": 5, "user_id": 5, "model": 5}
        asked = {"content": "x", "message": "x", "role": "user", "stream": False}
        calls: dict[str, list[tuple[str, str, Any]]] = {
            "chat": [
                ("GET", f"/chat/conversation/{nobodys}/stream", None),
                ("GET", f"/chat/conversation/{mine}/stream?model=", None),
                ("GET", f"/chat/conversation/{mine}/stream?after=x", None),
                ("GET", f"/chat/conversation/{mine}/stream", None),  # no question to answer
            ],
            "chat_v1": [
                ("POST", "/v1/chat/conversations/stream", wrong),
                *(
                    ("POST", f"/v1/chat/conversations/{pk}/messages{stream}", body)
                    for stream in ("", "/stream")
                    for pk, body in ((nobodys, asked), (mine, wrong), (mine, {**asked, "parent_id": str(nobodys)}))
                ),
                *(
                    ("POST", f"/v1/chat/messages/{nobodys}/{action}{stream}", {})
                    for action in ("regenerate", "continue")
                    for stream in ("", "/stream")
                ),
            ],
            "openai_v1": [("POST", "/v1/chat/completions", wrong), ("POST", "/v1/chat/completions", {})],
            "resources": [
                ("POST", "/conversations/start", wrong),
                ("POST", f"/conversations/{nobodys}/message", asked),
                ("POST", f"/conversations/{mine}/message", wrong),
                ("POST", f"/conversations/{nobodys}/messages:complete", {}),
                ("POST", f"/conversations/{mine}/messages:complete", wrong),
                *(("POST", f"/conversations/{mine}/messages:complete", {"stream": each}) for each in (True, False)),
            ],
        }
        for each in there(calls):
            for method, path, body in each:
                with self.counting(ONE, f"{method} {path} {body}"):
                    answer = self.call(method, path, body)
                    self.assertIn(answer.outcome, ("204", "400", "404", "409", "422"), answer.shown)

    def test_what_the_graph_refuses_counts_as_a_read(self) -> None:
        needs_dialect("graphql")
        nobodys = str(uuid.uuid4())
        refused: tuple[dict[str, Any], ...] = ({"content": ""}, {"content": "x", "to": nobodys}, {"content": 5})
        for variables in refused:
            with self.counting(ONE, variables):
                self.graph(SEND, **variables)
            with self.counting(ONE, variables):
                self.subscribe(ANSWER, **variables)
        for query in (ANSWER, "mutation { sendMessage(unknown: 1) { runId } }", "mutation { sendMessage("):
            with self.counting(ONE, query):
                self.graph(query, content="x")
        for query in ("subscription { answer(unknown: 1) { runId } }", "subscription { answer("):
            with self.counting(ONE, query):
                self.subscribe(query)
        bodies: tuple[Any, ...] = ([], {}, {"query": 5})
        for body in bodies:
            with self.counting(ONE, body):
                self.assertEqual(self.call("POST", "/graphql", body).outcome, "400")

    def test_what_is_asked_again_under_its_key_counts_as_a_read(self) -> None:
        mine = self.conversation().pk
        said = {"content": "Once", "role": "user"}
        whole = {"model": "default", "messages": [{"role": "user", "content": "Once"}]}
        calls: dict[str, list[tuple[Any, ...]]] = {
            "chat_v1": [
                ("/v1/chat/conversations/stream", said),
                (f"/v1/chat/conversations/{mine}/messages", said),
                (f"/v1/chat/conversations/{mine}/messages/stream", said),
            ],
            "openai_v1": [("/v1/chat/completions", whole), ("/v1/chat/completions", {**whole, "stream": True})],
            "resources": [
                ("/conversations/start", {"user_id": "1", "message": "Once"}),
                (f"/conversations/{mine}/message", {"message": "Once"}),
            ],
        }
        for each in there(calls):
            for path, body in each:
                key = uuid.uuid4().hex
                for expected, other in ((STARTED, {}), (ONE, {}), (ONE, {"temperature": 1, "user_id": "2"})):
                    with self.counting(expected, f"{path} {body} {other}"):
                        self.call("POST", path, {**body, **other}, Idempotency_Key=key)
        if "graphql" in DIALECTS:
            for send, query in ((self.graph, SEND), (self.subscribe, ANSWER)):
                key = uuid.uuid4().hex
                for expected, content in ((STARTED, "Once"), (ONE, "Once"), (ONE, "Twice")):
                    with self.counting(expected, f"{query} {content}"):
                        send(query, content=content, key=key)

    def test_a_pending_question_is_answered_once_and_then_read(self) -> None:
        paths = {"chat": "/chat/conversation/{}/stream", "resources": "/conversations/{}/messages:complete"}
        for dialect in [name for name in paths if name in DIALECTS]:
            method, body = ("GET", None) if dialect == "chat" else ("POST", {"stream": True})
            path = paths[dialect].format(self.conversation("Hello").pk)
            for expected in (STARTED, ONE):
                with self.counting(expected, path):
                    self.call(method, path, body)

    def test_joining_an_answer_that_is_being_written_counts_as_a_read(self) -> None:
        paths = {
            "chat": "/chat/conversation/{}/stream?model=fake/held",
            "resources": "/conversations/{}/messages:complete",
        }
        for dialect in [name for name in paths if name in DIALECTS]:
            question = f"Hold on for {dialect}"
            conversation = self.conversation(question)
            method, body = ("GET", None) if dialect == "chat" else ("POST", {"stream": True, "model": "fake/held"})
            path = paths[dialect].format(conversation.pk)
            with ThreadPoolExecutor() as pool:
                with self.counting(STARTED, path):
                    first = pool.submit(self.call, method, path, body)
                    wait_until(lambda: self.counted()[0], what="the run")
                with self.counting(ONE, path):
                    second = pool.submit(self.call, method, path, body)
                    wait_until(lambda: self.counted()[1], what="the read")
                    self.upstream.release(question)
                    self.assertEqual([each.result().outcome for each in (first, second)], ["200", "200"])

    # --- requests that start an answer, whatever becomes of it

    def test_an_answer_that_fails_counts_as_no_read(self) -> None:
        mine = self.conversation().pk
        said = {"content": "Well?", "role": "user"}
        whole = {"messages": [{"role": "user", "content": "Well?"}]}
        calls: dict[str, list[tuple[Any, ...]]] = {
            "chat": [("GET", f"/chat/conversation/{self.conversation('Well?').pk}/stream?model=fake/http-500", {})],
            "chat_v1": [
                ("POST", "/v1/chat/conversations/stream", said),
                ("POST", f"/v1/chat/conversations/{mine}/messages", said),
            ],
            "openai_v1": [("POST", "/v1/chat/completions", {**whole, "stream": each}) for each in (True, False)],
            "resources": [
                ("POST", "/conversations/start", {"user_id": "1", "message": "Well?"}),
                ("POST", f"/conversations/{self.conversation('Well?').pk}/messages:complete", {}),
            ],
        }
        for each in there(calls):
            for method, path, body in each:
                with self.counting(STARTED, f"{path} {body}"):
                    sent = {**body, "model": "fake/http-500"} if method == "POST" else None
                    self.assertIn(self.call(method, path, sent).outcome, ("200", "502"))
        if "graphql" in DIALECTS:
            for send, query in ((self.graph, SEND), (self.subscribe, ANSWER)):
                with self.counting(STARTED, query):
                    send(query, content="Well?", model="fake/http-500")

    def test_an_answer_that_is_deleted_while_it_is_waited_for_counts_as_no_read(self) -> None:
        needs_dialect("resources")  # this deletes the conversation
        slow, said = {"model": "fake/slow:20ms:1000"}, {"content": "Go on", "role": "user"}
        talk = f"/v1/chat/conversations/{self.conversation().pk}/messages"
        sends: dict[str, Callable[[], Answer]] = {
            "chat_v1": lambda: self.call("POST", talk, {**slow, **said}),
            "openai_v1": lambda: self.call("POST", "/v1/chat/completions", {**slow, "messages": [said]}),
            "resources": lambda: self.call(
                "POST", "/conversations/start", {**slow, "user_id": "1", "message": "Go on"}
            ),
            "graphql": lambda: self.graph(SEND, content="Go on", **slow),
        }
        for send in there(sends):
            with self.counting(ONE, "the deletion"), ThreadPoolExecutor() as pool:
                sent = pool.submit(send)
                wait_until(lambda: self.counted()[0], what="the run")
                run = Run.objects.filter(user=self.subject.user).running().get()
                self.assertEqual(self.call("DELETE", f"/conversations/{run.conversation_id}").outcome, "204")
                self.assertNotIn(sent.result().outcome, ("500", "internal_error"))

    # --- stored messages that start no answer

    def test_a_message_that_is_stored_and_not_answered_counts_as_a_read(self) -> None:
        needs_dialect("chat_v1")
        path = f"/v1/chat/conversations/{self.conversation().pk}/messages"
        system = {"role": "system", "content": "Be brief."}
        for body, outcome in ((system, "201"), ({**system, "parent_id": str(uuid.uuid4())}, "404")):
            with self.counting(ONE, body):
                self.assertEqual(self.call("POST", path, body).outcome, outcome)


@tried_once
class NoRoomTest(ReadsCase):
    limits = {"LIMIT_RUN_STARTS_PER_MINUTE": "1"}

    def test_what_there_is_no_room_for_counts_nowhere(self) -> None:
        """A client told to retry in a second may do so all minute long."""
        mine, asked = self.conversation().pk, self.conversation("Hello").pk
        body = {"content": "Hello", "message": "Hello", "role": "user", "user_id": "1"}
        calls: dict[str, list[tuple[str, str, Any]]] = {
            "chat": [("GET", f"/chat/conversation/{asked}/stream", None)],
            "chat_v1": [
                ("POST", f"/v1/chat/conversations/{mine}/messages", body),
                ("POST", f"/v1/chat/conversations/{mine}/messages/stream", body),
            ],
            "openai_v1": [("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hello"}]})],
            "resources": [
                ("POST", "/conversations/start", body),
                ("POST", f"/conversations/{asked}/messages:complete", {}),
            ],
        }
        wait_for_minute(20)
        subjects.ask(self.subject, self.service, "The only one", uuid.uuid4().hex)
        for each in there(calls):
            for method, path, sent in each:
                with self.counting(NOTHING, f"{method} {path}"):
                    self.assertEqual(self.call(method, path, sent).outcome, "429")
        if "graphql" in DIALECTS:
            for send, query in ((self.graph, SEND), (self.subscribe, ANSWER)):
                with self.counting(NOTHING, query):
                    self.assertEqual(send(query, content="Hello").outcome, "rate_limit_exceeded")
