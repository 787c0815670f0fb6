"""Everybody requests somebody else's things, wherever an id is taken: the answer is as for an unknown id."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from chatservice.testing import ServiceTestCase, needs_dialect, tried_once
from completions.models import Run
from conversations.models import Conversation, Message, Todo
from files.models import File
from sharing.models import SharedLink
from tests.matrix import operations, subjects
from tests.matrix.asking import Answer, ask, of_http, request
from tests.matrix.rows import Admits, Probe, Row, filled
from tests.matrix.subjects import Subject

# Values that belong to one subject alone, and that the caller did not send.
SECRETS = (
    *("canary", "word", "key", "conversation", "message", "answer", "run", "todo", "file", "user", "hex"),
    *("link", "token"),
)


def probes(*, of_each: int | None = None) -> Iterator[tuple[Row, Probe]]:
    return ((row, probe) for row in operations.rows() for probe in row.probes[:of_each])


class MatrixCase(ServiceTestCase):
    def keep(self, *subjects: Subject) -> None:
        for subject in subjects:
            self.addCleanup(subject.http.close)

    def stored_of(self, things: Mapping[str, str]) -> tuple[Any, ...]:
        """Return everything stored for somebody's conversation, run, to-do, file and link."""
        pk = things["conversation"]
        return (
            list(Conversation.objects.filter(pk=pk).values()),
            list(Message.objects.filter(conversation_id=pk).order_by("id").values()),
            list(Run.objects.filter(conversation_id=pk).order_by("id").values("id", "state", "cancel_requested_at")),
            list(Todo.objects.filter(pk=things["todo"]).values()),
            list(File.objects.filter(pk=things["file"].removeprefix("file-")).values()),
            list(SharedLink.objects.filter(pk=things["link"]).values()),
        )

    def secrets_in(self, answer: Answer, sent: str, things: Mapping[str, str]) -> list[str]:
        return [name for name in SECRETS if things[name] in answer.shown and things[name] not in sent]


@tried_once
@pytest.mark.timeout(300)  # thousands of requests, on a busy machine
class LeakTest(MatrixCase):
    """Alice owns, and guests own together. The others are Bob, staff, a guest-made account, guests, a signed-in
    browser, and callers with a bad key or session, such as a page of another site, which has only the cookie."""

    def setUp(self) -> None:
        super().setUp()
        service = self.service
        self.owner = subjects.subject_of("alice", service)
        self.guests = subjects.guest(service)
        self.keep(self.owner, self.guests)
        self.owned = {each.name: subjects.things_of(each, service) for each in (self.owner, self.guests)}
        self.unknown = {name: subjects.nobodys(things) for name, things in self.owned.items()}

    def others(self, owner: Subject) -> list[Subject]:
        """Return all other subjects. Each of them owns things, if it may have any."""
        service = self.service
        # Guests first: an account made by a guest is created later, and its things belong to the guests, too.
        others = [
            *([] if owner is self.guests else [self.guests]),
            subjects.subject_of("bob", service),
            subjects.subject_of("staff", service, staff=True),
            subjects.subject_of("fresh", service, guest_made=True),
            subjects.at_a_browser(service),
            *subjects.with_bad_keys(self.owner, service),
            *subjects.with_bad_sessions(self.owner, service),
        ]
        self.keep(*others)
        for each in others:
            if each.admitted:
                each.own = subjects.things_of(each, service)
        return others

    def test_what_is_alices_is_as_if_it_were_not(self) -> None:
        self.try_all(self.owner)

    def test_what_is_the_guests_is_as_if_it_were_not_for_keys(self) -> None:
        self.try_all(self.guests)

    def try_all(self, owner: Subject) -> None:
        things, unknown = self.owned[owner.name], self.unknown[owner.name]
        stored = self.stored_of(things)
        for subject in self.others(owner):
            # Who is not admitted is refused before any id is read.
            for row, probe in probes(of_each=None if subject.admitted else 1):
                with self.subTest(f"{subject.name}: {row.operation}, {probe.position} of {owner.name}"):
                    if "<key>" in str(probe):
                        # The owner uses the key first, for the same request.
                        things, unknown = ({**each, "key": uuid.uuid4().hex} for each in (things, unknown))
                        ask(owner, self.service, row, probe, things)
                        stored = self.stored_of(things)
                    foreign = ask(subject, self.service, row, probe, things)
                    control = ask(subject, self.service, row, probe, unknown)
                    self.assertEqual(foreign.like, control.like)
                    sent = str(filled((probe.path, probe.body, dict(probe.headers)), self.values(subject, things)))
                    self.assertEqual(self.secrets_in(foreign, sent, things), [])
                    self.assertEqual(foreign.outcome, self.expected(subject, row, probe), foreign.shown)
        self.assertEqual(self.stored_of(things), stored)

    def values(self, subject: Subject, things: Mapping[str, str]) -> dict[str, str]:
        own = {f"own.{name}": value for name, value in (subject.own or things).items()}
        return {**things, **own, "fresh": ""}

    def expected(self, subject: Subject, row: Row, probe: Probe) -> str:
        if not subject.admitted or (subject.is_guest and row.admits is Admits.KEYS):
            return "401"
        return probe.outcome

    def test_the_owner_reaches_it_by_every_probe(self) -> None:
        """Otherwise the probes would request nothing, and so find nothing."""
        reads = ("GET", "query", "field")
        reaching = [(row, probe) for row, probe in probes() if probe.reaches]
        # Those that read find the same things; each of the others gets its own, which it may change or delete.
        for row, probe in sorted(reaching, key=lambda each: each[0].kind not in reads):
            with self.subTest(f"{row.operation}, {probe.position}"):
                owner, things = self.owner, self.owned[self.owner.name]
                if row.kind not in reads:
                    owner = subjects.subject_of("alice", self.service)
                    self.keep(owner)
                    things = subjects.things_of(owner, self.service)
                answer = ask(owner, self.service, row, probe, things)
                self.assertNotEqual(answer.outcome, probe.outcome, answer.shown)
                self.assertNotIn(answer.outcome, ("401", "403", "500", "502", "internal_error"))


@tried_once
class OtherWaysTest(MatrixCase):
    """The same id with other methods, other spellings of the path, and other headers."""

    def setUp(self) -> None:
        super().setUp()
        self.owner, self.other = subjects.subject_of("alice", self.service), subjects.subject_of("bob", self.service)
        self.keep(self.owner, self.other)
        self.things = subjects.things_of(self.owner, self.service)
        self.unknown = subjects.nobodys(self.things)
        self.other.own = subjects.things_of(self.other, self.service)

    def paths(self) -> list[str]:
        found = {probe.path for row, probe in probes() if probe.position.startswith("path")}
        return sorted(found)

    def assert_same(self, method: str, path: str, **headers: str) -> None:
        """Fail unless a foreign id and an unknown id get the same answer, which shows nothing foreign."""
        answers = [
            of_http(request(self.other, method, filled(path, values), None, headers))
            for values in (self.things, self.unknown)
        ]
        self.assertEqual(answers[0].like, answers[1].like)
        self.assertEqual(self.secrets_in(answers[0], filled(path, self.things), self.things), [])
        self.assertLess(answers[0].outcome, "500")

    def test_by_every_method(self) -> None:
        stored = self.stored_of(self.things)
        for path in self.paths():
            for method in ("HEAD", "OPTIONS", "GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "get"):
                with self.subTest(f"{method} {path}"):
                    self.assert_same(method, path)
        self.assertEqual(self.stored_of(self.things), stored)

    def test_by_every_spelling_of_the_path(self) -> None:
        spellings = {
            "a slash": lambda path: f"{path}/",
            "two slashes": lambda path: f"{path}//",
            "doubled slashes": lambda path: path.replace("/", "//"),
            "a doubled slash inside": lambda path: "/" + path[1:].replace("/", "//", 1),
            "dots": lambda path: f"/x/..{path}",
            "encoded slashes": lambda path: "/" + path[1:].replace("/", "%2F"),
            "a semicolon": lambda path: f"{path};x",
            "NUL": lambda path: f"{path}%00",
            "capitals": lambda path: path.replace("conversation", "CONVERSATION").replace("<CON", "<con"),
            "a query": lambda path: f"{path}?id=1&owner=1&conversation__owner__isnull=false",
        }
        for name, spelled in spellings.items():
            for path in self.paths():
                with self.subTest(f"{name}: {path}"):
                    changed = filled("<p>", {"p": path}) if name != "capitals" else path
                    self.assert_same("GET", spelled(changed).replace("<CONVERSATION>", "<conversation>"))

    def test_by_headers_that_claim_another_method_path_or_user(self) -> None:
        claims = {
            "X-HTTP-Method-Override": "DELETE",
            "X-HTTP-Method": "DELETE",
            "X-Method-Override": "DELETE",
            "X-Original-URL": f"/conversations/{self.things['conversation']}",
            "X-Rewrite-URL": f"/conversations/{self.things['conversation']}",
            "Daphne-Root-Path": "/x",
            "X-Forwarded-User": self.owner.user.username,
            "X-Remote-User": self.owner.user.username,
            "Remote-User": self.owner.user.username,
            "X-User-Id": self.things["user"],
            "X-Api-Key": self.owner.headers["Authorization"],
            "Api-Key": self.owner.headers["Authorization"],
            "Cookie": f"Authorization={self.owner.headers['Authorization']}; chat_session=x",
        }
        stored = self.stored_of(self.things)
        for name, value in claims.items():
            for path in self.paths():
                for method in ("GET", "POST"):
                    with self.subTest(f"{name}: {method} {path}"):
                        self.assert_same(method, path, **{name: value})
        self.assertEqual(self.stored_of(self.things), stored)

    def test_a_method_is_never_overridden(self) -> None:
        """A method override has no effect even on the caller's own things."""
        for row in operations.rows():
            if row.kind == "GET" and row.touches and "path" in "".join(probe.position for probe in row.probes):
                path = filled(row.own_path(), {f"own.{name}": value for name, value in self.other.own.items()})
                request(self.other, "GET", path, None, {"X-HTTP-Method-Override": "DELETE"})
                request(self.other, "GET", f"{path}?_method=DELETE", None)
        self.assertTrue(Conversation.objects.filter(pk=self.other.own["conversation"]).exists())
        self.assertTrue(Message.objects.filter(pk=self.other.own["message"]).exists())

    def test_what_alice_said_word_by_word_continues_no_history_of_hers(self) -> None:
        """The OpenAI wire finds a conversation by its content, and only among the caller's own."""
        needs_dialect("openai_v1")
        asked = [{"role": "user", "content": self.things["canary"]}]
        first = request(self.owner, "POST", "/v1/chat/completions", {"messages": asked})
        hers = first.headers["x-conversation-id"]
        stored = list(Message.objects.filter(conversation_id=hers).order_by("id").values())
        said = [*asked, first.json()["choices"][0]["message"], {"role": "user", "content": "And then?"}]
        his = request(self.other, "POST", "/v1/chat/completions", {"messages": said}).headers["x-conversation-id"]
        self.assertEqual(Conversation.objects.get(pk=his).owner_id, self.other.user.pk)
        self.assertEqual(list(Message.objects.filter(conversation_id=hers).order_by("id").values()), stored)
        again = request(self.owner, "POST", "/v1/chat/completions", {"messages": said}).headers["x-conversation-id"]
        self.assertEqual(again, hers)
