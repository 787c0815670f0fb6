"""A key with the scope of an operation may ask for it, and every key without it is refused: in every dialect."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

from django.test import SimpleTestCase
from websockets.sync.client import connect

from accounts.models import ApiKey
from accounts.scopes import Scope
from accounts.services import issue_api_key
from chatservice.dialects import DIALECTS
from chatservice.docs import documented_dialects, schema_of
from chatservice.testing import needs_dialect, tried_once
from completions.models import Run
from conversations.models import Conversation
from tests.matrix import operations, scopes, subjects
from tests.matrix.asking import MESSAGES, VERBS, by_frame, by_subscription, of_mcp, request
from tests.matrix.rows import Admits, Row, anonymous, filled
from tests.matrix.subjects import Subject
from tests.test_matrix_leaks import MatrixCase

REFUSED = "lacks the scope '{}'"


def of_kind(*kinds: str) -> Iterator[Row]:
    return (row for row in operations.rows() if row.kind in kinds)


class DeclarationTest(SimpleTestCase):
    """The scope of an operation is declared where it is served, and here."""

    def setUp(self) -> None:
        self.wanted = scopes.scope_of()

    def test_every_operation_declares_the_scope_it_needs(self) -> None:
        found = {anonymous(operation): scope for operation, scope in scopes.declared().items()}
        # Fields without a function of their own only show what was read for the object they belong to.
        plain = {anonymous(each) for each in scopes.declared() if each.startswith("field ") and not scopes.reads(each)}
        undeclared = sorted(each for each, scope in found.items() if scope == scopes.UNDECLARED and each not in plain)
        self.assertEqual(
            undeclared, [], "without a scope: see DialectMixin.scopes, graphql/scopes.py, client_frames.py"
        )
        differs = sorted(
            each for each, scope in found.items() if each not in plain and self.wanted.get(each, "") != scope
        )
        self.assertEqual(differs, [], "declares another scope than tests/matrix/scopes.py")

    def test_every_row_that_is_not_for_anyone_has_a_scope(self) -> None:
        rows = {anonymous(row.operation) for row in operations.rows() if row.admits is not Admits.ANYONE}
        missing = rows - set(self.wanted)
        self.assertEqual([each for each in missing if not each.startswith("field ")], [])

    def test_the_openapi_documents_name_the_scope_and_its_refusal(self) -> None:
        for dialect in documented_dialects():
            for path, described in schema_of(dialect)["paths"].items():
                for method, operation in described.items():
                    name = f"{method.upper()} {path}"
                    self.assertEqual(operation.get("x-required-scope"), self.wanted[anonymous(name)], name)
                    self.assertIn("403", operation["responses"], name)

    def test_the_check_sees_what_is_not_declared(self) -> None:
        needs_dialect("chat_v1")
        from chatservice.dialects.chat_v1.views import MessagesView

        declared = MessagesView.scopes
        self.addCleanup(setattr, MessagesView, "scopes", declared)
        MessagesView.scopes = {"GET": Scope.READ}
        with self.assertRaisesRegex(AssertionError, "POST /v1/chat/conversations/{}/messages"):
            self.test_every_operation_declares_the_scope_it_needs()


@tried_once
class ScopeTest(MatrixCase):
    """Alice has one key for each scope, and one with everything."""

    def setUp(self) -> None:
        super().setUp()
        self.owner = subjects.subject_of("alice", self.service)
        self.keep(self.owner)
        self.things = subjects.things_of(self.owner, self.service)
        self.unknown = subjects.nobodys(self.things)
        self.wanted = scopes.scope_of()
        self.keys = {scope: self.with_key([scope]) for scope in Scope}

    def with_key(self, wanted: list[Scope]) -> Subject:
        _, text = issue_api_key(user=self.owner.user, scopes=wanted)
        headers = {"Authorization": f"Bearer {text}"}
        subject = Subject(" ".join(wanted), self.owner.user, headers, subjects._client(self.service, headers))
        self.keep(subject)
        return subject

    def others(self, scope: Scope | None) -> Iterator[Subject]:
        return (key for name, key in self.keys.items() if scope is not None and name != scope)

    def everything(self) -> tuple[Any, ...]:
        """Return everything that a request could change."""
        conversations = list(Conversation.objects.filter(owner=self.owner.user).order_by("id").values())
        keys = list(ApiKey.objects.filter(user=self.owner.user).order_by("id").values("id", "revoked_at", "expires_at"))
        return conversations, keys, self.stored_of(self.things)

    def values(self, ids: dict[str, str]) -> dict[str, str]:
        given = {**ids, "model": "default", "fresh": f"fresh-{uuid.uuid4().hex[:12]}"}
        return {**given, **{f"own.{name}": value for name, value in given.items()}}

    def test_every_route(self) -> None:
        before = self.everything()
        rows = [row for row in of_kind("GET", "POST", "PUT", "PATCH", "DELETE") if row.admits is not Admits.ANYONE]
        # What is the owner's is asked for first: nothing may change.
        for row in rows:
            scope = self.wanted[anonymous(row.operation)]
            own = filled(row.own_path(), self.values(self.things))
            for subject in self.others(scope):
                with self.subTest(f"{row.operation} with the scope {subject.name}"):
                    answer = request(subject, row.kind, own, filled(row.body, self.values(self.things)))
                    self.assertEqual(answer.status_code, 403, answer.text)
                    self.assertIn(REFUSED.format(scope), answer.text)
                    self.assertIn("insufficient_scope", answer.headers["www-authenticate"])
        self.assertEqual(self.everything(), before)
        for row in rows:
            scope = self.wanted[anonymous(row.operation)]
            unknown = filled(row.own_path(), self.values(self.unknown))
            if scope is not None:
                with self.subTest(f"{row.operation} with its scope"):
                    answer = request(self.keys[scope], row.kind, unknown, filled(row.body, self.values(self.unknown)))
                    self.assertNotIn("lacks the scope", answer.text)
                    self.assertNotIn(answer.status_code, (401, 405, 500))

    def test_every_root_field_of_the_graph(self) -> None:
        needs_dialect("graphql")
        before = self.everything()
        for row in of_kind(*VERBS):
            scope = self.wanted[row.operation]
            body = {"query": scopes.document_of(row.operation)}
            for subject in self.others(scope):
                with self.subTest(f"{row.operation} with the scope {subject.name}"):
                    self.assertEqual(self.code_of(row, subject, body), "insufficient_scope")
            self.assertEqual(self.everything(), before)
        for row in of_kind(*VERBS):
            with self.subTest(f"{row.operation} with its scope"):
                body = {"query": scopes.document_of(row.operation)}
                scope = self.wanted[row.operation]
                assert scope is not None
                self.assertNotIn(self.code_of(row, self.keys[scope], body), ("insufficient_scope", "internal_error"))

    def code_of(self, row: Row, subject: Subject, body: dict[str, Any]) -> str:
        if row.kind == "subscription":
            return by_subscription(subject, self.service, body).outcome
        answer = subject.http.post("/graphql", json=body)
        errors = answer.json().get("errors")
        if errors and errors[0]["extensions"]["code"] == "insufficient_scope":
            self.assertEqual(answer.status_code, 403)
            self.assertIn("insufficient_scope", answer.headers["www-authenticate"])
            self.assertNotIn("data", answer.json())
        return errors[0]["extensions"]["code"] if errors else "ok"

    def test_every_frame(self) -> None:
        needs_dialect("websocket")
        frames = {
            "send": {"type": "send", "content": "Let me in", "conversation_id": self.unknown["conversation"]},
            "continue": {"type": "continue", "message_id": self.unknown["answer"]},
            "stop": {"type": "stop", "run_id": self.unknown["run"]},
            "subscribe": {"type": "subscribe", "run_id": self.unknown["run"]},
            "unsubscribe": {"type": "unsubscribe", "run_id": self.unknown["run"]},
            "ping": {"type": "ping"},
        }
        self.assertEqual({f"frame {name}" for name in frames} | {"frame auth"}, set(operations.frame_operations()))
        for name, frame in frames.items():
            scope = self.wanted[f"frame {name}"]
            for held, subject in self.keys.items():
                with self.subTest(f"{name} with the scope {held}"):
                    answer = by_frame(subject, self.service, frame)
                    if scope in (None, held):
                        self.assertIn(answer.outcome, ("not_found", "unsubscribed", "pong"))
                    else:
                        self.assertEqual(answer.outcome, "insufficient_scope")
                        self.assertIn(REFUSED.format(scope), answer.shown)

    def test_every_tool(self) -> None:
        """Besides its own scope, each needs that of the MCP server."""
        needs_dialect("mcp")
        for row in of_kind(*MESSAGES):
            wanted = [Scope.SEARCH, *{self.wanted[row.operation] or Scope.SEARCH} - {Scope.SEARCH}]
            body = filled(row.body, self.values(self.things))
            for scope in wanted:
                with self.subTest(f"{row.operation} without {scope}"):
                    answer = self.with_key([each for each in Scope if each != scope]).http.post("/mcp", json=body)
                    self.assertEqual(answer.status_code, 403, answer.text)
                    self.assertIn(REFUSED.format(scope), answer.text)
                    self.assertIn("insufficient_scope", answer.headers["www-authenticate"])
            with self.subTest(f"{row.operation} with its scope"):
                self.assertEqual(of_mcp(self.with_key(wanted).http.post("/mcp", json=body)).outcome, "ok")

    def test_responses_over_a_websocket(self) -> None:
        needs_dialect("openai_v1")
        address = self.service.url.replace("http", "ws") + "/v1/responses"
        before = self.everything()
        for held, subject in self.keys.items():
            with connect(address, additional_headers=dict(subject.headers)) as socket:
                socket.send(
                    json.dumps({"type": "response.create", "model": "default", "input": "Hello", "store": False})
                )
                first = json.loads(socket.recv(timeout=15))
            if held == Scope.GENERATE:
                self.assertEqual(first["type"], "response.created")
            else:
                self.assertEqual((first["status"], first["code"]), (403, "insufficient_permissions"))
        self.assertEqual(self.everything(), before)

    def test_what_an_object_leads_to_needs_its_own_scope(self) -> None:
        """Nothing happens before all fields of the document were checked, however they are spelled."""
        needs_dialect("graphql")
        pk, before = self.things["conversation"], self.everything()
        inner = "messages { totalCount }"
        for document in (
            f'mutation {{ renameConversation(id: "{pk}", title: "Mine") {{ {inner} }} }}',
            f'mutation {{ renameConversation(id: "{pk}", title: "Mine") {{ ...more }} }} '
            f"fragment more on Conversation {{ ... on Conversation {{ x: {inner} }} }}",
            f'mutation {{ a: renameConversation(id: "{pk}", title: "Mine") {{ id }} stopRun(runId: "x") {{ id }} }}',
            f'query Q {{ __typename }} mutation Go {{ renameConversation(id: "{pk}", title: "Mine") {{ {inner} }} }}',
        ):
            with self.subTest(document):
                body = {"query": document, "operationName": "Go" if "mutation Go" in document else None}
                answer = self.keys[Scope.WRITE].http.post("/graphql", json=body)
                self.assertEqual(answer.json()["errors"][0]["extensions"]["code"], "insufficient_scope", answer.text)
        self.assertEqual(self.everything(), before)
        # Only the operation that is executed counts, and what a model answers belongs to asking.
        allowed = (
            f'query Other {{ me {{ id }} }} mutation Go {{ renameConversation(id: "{pk}", title: "New") {{ id }} }}'
        )
        answer = self.keys[Scope.WRITE].http.post("/graphql", json={"query": allowed, "operationName": "Go"})
        self.assertNotIn("errors", answer.json())
        asked = 'mutation { sendMessage(content: "Hi") { message { content } question { files { id } } } }'
        self.assertNotIn("errors", self.keys[Scope.GENERATE].http.post("/graphql", json={"query": asked}).json())

    def test_a_search_by_another_way_needs_the_scope_of_a_search(self) -> None:
        ways: dict[str, tuple[Scope, Any]] = {}
        if "openai_v1" in DIALECTS:
            said = {"messages": [{"role": "user", "content": "Hi"}], "recall": True}
            ways["GET /v1/conversations?query=in"] = (Scope.READ, None)
            ways["POST /v1/chat/completions"] = (Scope.GENERATE, said)
        if "chat_v1" in DIALECTS:
            ways["POST /v1/chat/conversations/stream"] = (Scope.GENERATE, {"content": "Hi", "recall": True})
        before = self.everything()
        for way, (scope, body) in ways.items():
            method, _, path = way.partition(" ")
            with self.subTest(way):
                answer = request(self.keys[scope], method, path, body)
                self.assertEqual(answer.status_code, 403, answer.text)
                self.assertIn(REFUSED.format(Scope.SEARCH), answer.text)
                self.assertEqual(self.everything(), before)
                both = self.with_key([scope, Scope.SEARCH])
                self.assertEqual(request(both, method, path, body).status_code, 200)
            before = self.everything()

    def test_a_key_that_may_not_search_recalls_nothing_by_a_conversations_setting(self) -> None:
        needs_dialect("chat_v1")
        before = self.with_key([Scope.WRITE, Scope.GENERATE])
        both = self.with_key([Scope.GENERATE, Scope.SEARCH])
        made = before.http.post("/v1/chat/conversations", json={"title": "Mine", "recall": True}).json()["data"]
        path = f"/v1/chat/conversations/{made['id']}/messages"
        for subject, recalled in ((before, False), (both, True)):
            answer = subject.http.post(path, json={"content": f"What of {self.things['word']}?"})
            self.assertEqual(answer.status_code, 201, answer.text)
            self.assertEqual(Run.objects.filter(conversation=made["id"]).latest("id").recalled is not None, recalled)

    def test_a_refusal_has_the_shape_of_its_dialect(self) -> None:
        subject = self.keys[Scope.USAGE]
        shapes: dict[str, Any] = {
            "/v1/models": ("openai_v1", lambda body: (body["error"]["code"], body["error"]["type"])),
            "/v1/chat/me": ("chat_v1", lambda body: (body["error"]["code"], body["success"])),
            "/conversations": ("resources", lambda body: (body["error"]["code"], None)),
            "/chat/conversation": ("chat", lambda body: (body["error"]["code"], None)),
        }
        found = {
            dialect: read(subject.http.get(path).json())
            for path, (dialect, read) in shapes.items()
            if dialect in DIALECTS
        }
        wanted = {
            "openai_v1": ("insufficient_permissions", "permission_error"),
            "chat_v1": ("insufficient_scope", False),
            "resources": ("insufficient_scope", None),
            "chat": ("insufficient_scope", None),
        }
        self.assertEqual(found, {name: wanted[name] for name in found})

    def test_a_key_without_scopes_of_its_own_and_a_session_may_do_everything(self) -> None:
        browser = subjects.at_a_browser(self.service)
        self.keep(browser)
        for subject in (self.owner, browser):
            for path in ("/v1/models", "/v1/chat/me", "/search?q=in", "/chat/conversation"):
                self.assertLess(subject.http.get(path).status_code, 300, f"{subject.name} {path}")
