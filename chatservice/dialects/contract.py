"""The promises that every dialect must keep: inherit `DialectContract` and describe your API's calls.

For tests only. A dialect's test provides its API's calls as data, and reads the answers. The promises themselves are
here and in `contract_refusals.py`. Declare in `unsupported` what an API does not have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx2

from chatservice.testing import ApiUser, ServiceTestCase, wait_until
from completions.models import Run
from conversations.finish_reasons import MISSING
from conversations.models import Conversation, Message
from conversations.services import delete_conversation

# How an API names why an answer has no text.
EMPTY_REASON = re.compile(r'"(?:empty_reason|emptyReason|code)": ?"(\w+)"')
SLOW = "fake/slow:20ms:40"
SLOW_TEXT = "token " * 40


class Capability(StrEnum):
    CREATE = "create an empty conversation"
    LIST = "list conversations, a page at a time"
    DELETE = "delete a conversation"
    CANCEL = "stop an answer"
    IDEMPOTENCY = "name a request by an Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a dialect. `json` is None if there is no body."""

    method: str
    path: str
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def by(self, client: httpx2.Client, **headers: str) -> httpx2.Response:
        return client.request(self.method, self.path, headers={**self.headers, **headers}, **self._body())

    def opened_by(self, client: httpx2.Client) -> Any:
        """Return the context manager of a response that is read as it arrives."""
        return client.stream(self.method, self.path, headers=dict(self.headers), **self._body())

    def names(self, text: str) -> bool:
        """Tell whether `text` occurs as an id in the path."""
        return text in self.path.split("/")

    def _body(self) -> dict[str, Any]:
        return {} if self.json is None else {"json": self.json}

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.json}"


@dataclass(frozen=True, slots=True)
class Streamed:
    """A stream as its reader understood it. `ends` counts its terminal events; `code` is the error's code."""

    text: str
    ends: int
    code: str = ""


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of somebody's things."""

    conversation: str
    message: str
    run: str
    file: str = field(default="file-00000000000000000000000000000000", kw_only=True)


class DialectAdapter(ServiceTestCase):
    """What a dialect's test declares about its API."""

    dialect: str
    unsupported: frozenset[Capability] = frozenset()
    # The last line of a stream that ended normally.
    done = "data: [DONE]"
    stream_type = "text/event-stream"
    # Whether a non-streamed answer keeps the text that came before the upstream broke off.
    keeps_partial_of_whole = True
    # Whether a client that leaves stops its answer, unless it says otherwise.
    leaving_stops = False

    def create_call(self, title: str) -> Call:
        raise NotImplementedError

    def list_call(self, *, page: int, limit: int) -> Call:
        raise NotImplementedError

    def delete_call(self, conversation: str) -> Call:
        raise NotImplementedError

    def cancel_call(self, ids: Ids) -> Call:
        raise NotImplementedError

    def send_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        """Ask in a new conversation of `api_user`, and wait for the answer."""
        raise NotImplementedError

    def stream_call(self, api_user: ApiUser, text: str, *, model: str = "default") -> Call:
        """Ask in a new conversation of `api_user`, and follow the stream."""
        raise NotImplementedError

    def send_raw(self, call: Call, body: bytes, content_type: str) -> httpx2.Response:
        """Send `body` unchanged, in place of the body that `call` would send."""
        return self.alice.http.request(call.method, call.path, content=body, headers={"Content-Type": content_type})

    def created_id(self, response: httpx2.Response) -> str:
        raise NotImplementedError

    def listed(self, response: httpx2.Response) -> tuple[list[str], int]:
        """Return the ids on a page, and the total count."""
        raise NotImplementedError

    def answer_of(self, response: httpx2.Response) -> str:
        """Return the text of an answer that was not streamed."""
        raise NotImplementedError

    def streamed(self, body: str) -> Streamed:
        raise NotImplementedError

    def is_done(self, line: str) -> bool:
        """Tell whether a line of a stream marks a successful end."""
        return line == self.done

    def status_of(self, response: httpx2.Response) -> int:
        """Return the outcome of a call as an HTTP status."""
        return response.status_code

    def error_code(self, response: httpx2.Response) -> str:
        """Check that this is an error in the dialect's exact shape; return its code."""
        raise NotImplementedError

    def assert_turned_away(self, response: httpx2.Response, code: str = "") -> None:
        """Check that this refuses a caller without a valid key; with this `code`, if one is given."""
        self.assertEqual(response.status_code, 401, response.text)
        self.assertIn(self.error_code(response), [code] if code else [self.error_code(response)])
        self.assertEqual(response.headers["www-authenticate"], "Bearer")

    def calls_with(self, ids: Ids) -> list[Call]:
        """Return a call of every route that takes an id, and of every body that contains one."""
        raise NotImplementedError

    def wrong_calls(self) -> list[Call]:
        """Return calls that this API must refuse: wrong types, values out of range, missing fields."""
        raise NotImplementedError

    # --- what the suite works out by itself

    def need(self, capability: Capability) -> None:
        if capability in self.unsupported:
            self.skipTest(f"{self.dialect} cannot {capability.value}")

    def ids_of(self, api_user: ApiUser) -> Ids:
        """Return the ids that belong to somebody's newest answer."""
        run = Run.objects.filter(user=api_user.user).latest("id")
        return Ids(str(run.conversation_id), str(run.message_id), str(run.pk))

    def answer_by(self, api_user: ApiUser) -> Message:
        return Message.objects.filter(conversation__owner=api_user.user).answers().latest("id")

    def delete(self, conversation: str) -> None:
        """Delete a conversation of Alice's; through the service layer if this API cannot delete."""
        if Capability.DELETE in self.unsupported:
            delete_conversation(conversation=Conversation.objects.get(pk=conversation))
        else:
            self.delete_call(conversation).by(self.alice.http)

    def stored_of(self, api_user: ApiUser) -> tuple[Any, ...]:
        """Return everything that is stored for somebody, for a later comparison."""
        return (
            list(Conversation.objects.filter(owner=api_user.user).order_by("id").values()),
            list(Message.objects.filter(conversation__owner=api_user.user).order_by("id").values()),
            list(Run.objects.filter(user=api_user.user).order_by("id").values_list("id", "state")),
        )

    def settled(self, api_user: ApiUser) -> Message:
        """Return somebody's newest answer once its run has ended."""

        def over() -> Message | None:
            message = self.answer_by(api_user)
            return message if message.status != Message.Status.IN_PROGRESS else None

        message = wait_until(over, what="the end of the answer")
        assert message is not None
        return message


class LifeContract(DialectAdapter):
    """Create, list, page, ask, follow, stop, delete."""

    def test_a_conversation_is_created_and_listed(self) -> None:
        self.need(Capability.CREATE)
        response = self.create_call("Holidays").by(self.alice.http)
        self.assertIn(self.status_of(response), (200, 201), response.text)
        pk = self.created_id(response)
        self.assertEqual(Conversation.objects.get(pk=pk).owner_id, self.alice.user.pk)
        self.need(Capability.LIST)
        self.assertEqual(self.listed(self.list_call(page=1, limit=10).by(self.alice.http)), ([pk], 1))
        self.assertEqual(self.listed(self.list_call(page=1, limit=10).by(self.bob.http)), ([], 0))

    def test_pages_hold_everything_once(self) -> None:
        self.need(Capability.LIST)
        made = {self.created_id(self.create_call(f"Talk {n}").by(self.alice.http)) for n in range(5)}
        seen: list[str] = []
        for page, size in ((1, 2), (2, 2), (3, 1), (4, 0)):
            ids, total = self.listed(self.list_call(page=page, limit=2).by(self.alice.http))
            self.assertEqual((len(ids), total), (size, 5))
            seen += ids
        self.assertEqual((len(seen), set(seen)), (5, made))

    def test_a_question_is_answered_and_both_are_kept(self) -> None:
        response = self.send_call(self.alice, "What is a whale?").by(self.alice.http)
        self.assertIn(self.status_of(response), (200, 201), response.text)
        answer = self.answer_by(self.alice)
        self.assertIn("What is a whale?", answer.content)
        self.assertEqual(self.answer_of(response), answer.content)
        self.assertEqual((answer.status, answer.finish_reason), ("complete", "stop"))
        question = answer.parent
        assert question is not None
        self.assertEqual((question.role, question.content), ("user", "What is a whale?"))

    def test_a_stream_says_what_is_stored(self) -> None:
        for model in ("default", "fake/ok", "fake/split", "fake/slow:1ms:60"):
            with self.subTest(model):
                response = self.stream_call(self.alice, "What is a wölf? 🐺", model=model).by(self.alice.http)
                self.assertEqual(self.status_of(response), 200, response.text)
                self.assertTrue(response.headers["content-type"].startswith(self.stream_type))
                answer = self.answer_by(self.alice)
                streamed = self.streamed(response.text)
                self.assertEqual(streamed, Streamed(answer.content, ends=1))
                self.assertEqual((answer.status, bool(answer.content)), ("complete", True))

    def test_an_answer_that_ends_without_a_reason_is_complete(self) -> None:
        for call in (self.send_call, self.stream_call):
            response = call(self.alice, "Hi", model="fake/truncated:done").by(self.alice.http)
            answer = self.answer_by(self.alice)
            self.assertEqual((answer.status, answer.finish_reason, answer.content), ("complete", MISSING, "Hello"))
            self.assertNotIn(MISSING, response.text)

    def test_an_answer_without_text_says_why(self) -> None:
        for model, reason in (
            ("fake/refusal", "refusal"),
            ("fake/body:refusal.sse", "refusal"),
            ("fake/body:reasoningonly.sse", "reasoning_only"),
            ("fake/reasoning-only", "reasoning_only"),
            ("fake/nothing", "empty"),
            ("fake/nothing:length: ", "empty"),
        ):
            for call in (self.send_call, self.stream_call):
                with self.subTest(model, call=call.__name__):
                    response = call(self.alice, "Say it", model=model).by(self.alice.http)
                    self.assertIn(self.status_of(response), (200, 201), response.text)
                    answer = self.answer_by(self.alice)
                    self.assertEqual((answer.status, answer.empty_reason), ("complete", reason))
                    self.assertEqual(set(EMPTY_REASON.findall(response.text)), {reason}, response.text)

    def test_when_the_stream_says_that_it_is_done_the_answer_is_stored(self) -> None:
        for _ in range(5):
            with self.stream_call(self.alice, "Quick!", model="fake/ok").opened_by(self.alice.http) as response:
                for line in response.iter_lines():
                    if self.is_done(line):
                        self.assertEqual(self.answer_by(self.alice).status, "complete")
                        break
                else:
                    self.fail("the stream never said that it was done")

    def test_a_stopped_answer_keeps_what_it_said(self) -> None:
        self.need(Capability.CANCEL)
        before = len(self.upstream.hangups)
        with self.stream_call(self.alice, "Go on", model="fake/slow:20ms:1000").opened_by(self.alice.http) as response:
            said = self.read_until(response, "token")
            self.assertIn(self.status_of(self.cancel_call(self.ids_of(self.alice)).by(self.bob.http)), (403, 404))
            self.assertEqual(self.answer_by(self.alice).status, "in_progress")
            stopped = self.cancel_call(self.ids_of(self.alice)).by(self.alice.http)
            self.assertIn(self.status_of(stopped), (200, 202), stopped.text)
            self.assertTrue(self.upstream.wait_for_hangup(before + 1, timeout=1.5), "the upstream goes on")
            said += "".join(f"{line}\n" for line in self.lines)
        answer = self.settled(self.alice)
        streamed = self.streamed(said)
        self.assertEqual((answer.status, streamed.ends), ("cancelled", 1))
        self.assertEqual(streamed.text, answer.content)
        again = self.cancel_call(self.ids_of(self.alice)).by(self.alice.http)
        self.assertIn(self.status_of(again), (200, 202), again.text)
        self.assertEqual(self.answer_by(self.alice).content, answer.content)

    def test_a_deleted_conversation_is_gone_with_everything_in_it(self) -> None:
        self.need(Capability.DELETE)
        self.send_call(self.alice, "Forget this").by(self.alice.http)
        ids = self.ids_of(self.alice)
        self.assertIn(self.status_of(self.delete_call(ids.conversation).by(self.bob.http)), (403, 404))
        self.assertTrue(Conversation.objects.filter(pk=ids.conversation).exists())
        self.assertIn(self.status_of(self.delete_call(ids.conversation).by(self.alice.http)), (200, 204))
        self.assertFalse(Conversation.objects.filter(pk=ids.conversation).exists())
        self.assertFalse(Message.objects.filter(pk=ids.message).exists())
        self.assertEqual(self.status_of(self.delete_call(ids.conversation).by(self.alice.http)), 404)

    def test_deleting_a_conversation_ends_its_stream_and_its_bill(self) -> None:
        before = len(self.upstream.hangups)
        with self.stream_call(self.alice, "Go on", model="fake/slow:20ms:1000").opened_by(self.alice.http) as response:
            said = self.read_until(response, "token")
            self.delete(self.ids_of(self.alice).conversation)
            self.assertTrue(self.upstream.wait_for_hangup(before + 1, timeout=3), "the upstream goes on")
            said += "".join(f"{line}\n" for line in self.lines)
        self.assertEqual(self.streamed(said).ends, 1)

    def test_the_same_idempotency_key_asks_the_upstream_once(self) -> None:
        self.need(Capability.IDEMPOTENCY)
        calls: tuple[Callable[..., Call], ...] = (self.send_call, self.stream_call)
        for number, make in enumerate(calls):
            call, name = make(self.alice, "Pay me", model="fake/ok"), f"order-{number}"
            before = len(self.upstream.billable_posts)
            first, second = (call.by(self.alice.http, **{"Idempotency-Key": name}) for _ in range(2))
            self.assertEqual(len(self.upstream.billable_posts), before + 1)
            self.assertEqual(self.status_of(first), self.status_of(second), second.text)
            if make == self.stream_call:
                self.assertEqual(self.streamed(first.text), self.streamed(second.text))
            else:
                self.assertEqual(self.answer_of(first), self.answer_of(second))
            other = make(self.alice, "Pay me more").by(self.alice.http, **{"Idempotency-Key": name})
            self.assertEqual((self.status_of(other), self.error_code(other)), (422, "idempotency_mismatch"))
            stranger = make(self.bob, "Pay me", model="fake/ok").by(self.bob.http, **{"Idempotency-Key": name})
            self.assertEqual(
                (self.status_of(stranger), len(self.upstream.billable_posts)), (self.status_of(first), before + 2)
            )

    def read_until(self, response: httpx2.Response, text: str) -> str:
        """Read a stream until `text` has arrived; the rest can be read from `self.lines`."""
        self.lines = response.iter_lines()
        said = ""
        for line in self.lines:
            said += f"{line}\n"
            if text in line:
                return said
        raise AssertionError(f"the stream never said {text!r}: {said}")
