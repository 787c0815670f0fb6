"""What real servers sent is told, stored and told again alike: streamed and whole, through the official client."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import openai
from django.db import connections

from chatservice.testing import ServiceTestCase, needs_dialect, tried_once
from completions.models import Run
from completions.tests.upstream_bodies import BODIES, FILES, ONE, REFERENCE, TWO, UNKNOWN
from completions.tests.upstream_wire import KEY_IN_ERROR
from conversations.finish_reasons import MISSING

needs_dialect("openai_v1")
WORDS = "Grüße von 👩‍🚀 日本 end."
ENDLESS = "I think forever"
OSLO, CET = '{"city":"Oslo"}', '{"tz":"CET"}'


class Answer(NamedTuple):
    """What a body says: the whole answer, and why it ended as it is stored. An id that is None is made up."""

    text: str = "Hi"
    reasoning: str = ""
    calls: tuple[tuple[str | None, str, str], ...] = ()
    finish: str = "stop"
    extras: dict[str, Any] = {}
    others: tuple[dict[str, Any], ...] = ()


class Failure(NamedTuple):
    """How a body fails: status, code, words of the message, and the text before it.

    A stream that has `begun`, with text or without, can only say the status in what is stored.
    """

    status: int
    code: str
    message: str = ""
    text: str = ""
    begun: bool = False


def called(*calls: tuple[str | None, str, str], finish: str = "tool_calls") -> Answer:
    return Answer("", "", calls, finish)


F, G = ("c1", "f", ONE), ("c2", "g", TWO)
EXPECTED: dict[str, Answer | Failure] = {
    "datakeep.sse": Answer(WORDS),
    "dataping.sse": Answer(WORDS),
    "emptyfinish.sse": Answer(WORDS, finish=MISSING),
    "err200message.json": Failure(400, "400", "max_tokens is too large"),
    "err200string.json": Failure(502, "upstream_error", "model 'x' not found, try pulling it first"),
    "errfirst.sse": Failure(400, "context_length_exceeded", "maximum context length is 4096 tokens"),
    "mistral.sse": Answer("The answer is 4.", "let me think"),
    "mistralempty.sse": Answer("Fine."),
    "nofinish.sse": Answer(WORDS, finish=MISSING),
    "reasoningonly.sse": Answer("", ENDLESS, finish="length"),
    "refusal.sse": Answer("", extras={"refusal": "I cannot do that."}),
    "stringindex.sse": Answer(WORDS),
    "surrogate.sse": Answer("Hi 😀 you"),
    "toolnoindex.sse": called(("call_1", "weather", OSLO), finish="stop"),
    "toolnoindexsplit.sse": called(("call_1", "weather", OSLO)),
    "toolsameindex.sse": called(("call_1", "weather", OSLO), ("call_2", "time", CET)),
    "whole_list.json": Answer("It is 4.", "hm"),
    "whole_listtext.json": Answer("It is 4."),
    "whole_nochoices.json": Failure(502, "upstream_invalid", "without choices"),
    **dict.fromkeys(
        ("bom-crlf", "no-space", "done-with-spaces", "null-choices", "usage-only", "named-pings"), Answer()
    ),
    **dict.fromkeys(("late-noise", "whole-as-event", "no-error", "no-space:octets", "no-space:text"), Answer()),
    **dict.fromkeys(("no-space:none", "no-space:json", "no-error:sse", "no-error:none", "no-error:text"), Answer()),
    **dict.fromkeys(("no-error:octets", "no-error:problem", "no-error:html"), Answer()),
    "no-deltas": Answer(),
    **dict.fromkeys(("bare-noise", "bare-noise:text", "bare-noise:sse", "blank-first", "blank-first:sse"), Answer()),
    **dict.fromkeys(("lines", "lines-cut", "lines-pretty", "lines-done", "lines:sse", "lines-cut:text"), Answer()),
    **dict.fromkeys(("whole-done", "whole-pretty-done", "whole-comment", "whole-comment:json"), Answer()),
    **dict.fromkeys(("whole-listed", "whole-listed-pretty", "whole-listed:sse", "chunks-listed"), Answer()),
    "lines-error": Failure(400, "context_length_exceeded", "Too long", "Hi"),
    "lines-pretty-error": Failure(400, "400", "Too long", "Hi"),
    "lines-broken": Failure(502, "upstream_truncated", text="Hi"),
    "lines-no-finish": Failure(502, "upstream_truncated", text="HiHi"),
    "error-comment": Failure(400, "400", "Too long"),
    "null-text-parts": Answer(),
    "error-pretty-list": Failure(404, "404", "No model"),
    "bare-error": Failure(400, "400", "bare", "Hi"),
    "bare-answer": Answer(),
    "bare-answer:json": Answer(),
    "small-done": Failure(502, "upstream_truncated", text="Hi"),
    "nothing": Failure(502, "upstream_truncated", begun=True),
    "calls-null-index": called(F),
    "calls-text-index": called(F, G),
    "calls-interleaved": called(F, G),
    "calls-named-first": called(F),
    "calls-said-again": called(F),
    "calls-object-arguments": called(F, G),
    "calls-no-list": called(("5", "f", ONE)),
    "calls-one-id": called(F, ("c1", "g", TWO)),
    "calls-touched-last": called(F, G),
    "calls-without-ids": called((None, "f", ONE), (None, "f", TWO)),
    "calls-one-index-no-ids": called((None, "f", ONE), (None, "g", TWO)),
    "calls-late-arguments": called((None, "f", ONE)),
    "calls-late-id": called((None, "f", ONE)),
    "calls-name-alone": called((None, "f", "")),
    "calls-null-id-no-finish": called((None, "f", ""), finish=MISSING),
    "calls-name-in-pieces": called(("c1", "get_weather", ONE)),
    "calls-name-in-pieces-no-id": called((None, "get_weather", ONE)),
    "calls-name-in-pieces-one-id": called(("c1", "get_weather", ONE)),
    "calls-name-repeated": called(F),
    "calls-high-index": called(F),
    "calls-at-once": called(F, G),
    "calls-halves": called(("c1", "f", '{"a":"😀"}')),
    "calls-no-finish": called(F, finish=MISSING),
    "legacy-call": Answer("", extras={"function_call": {"name": "f", "arguments": ONE}}),
    "parts": Answer("Hi!", "ab", extras={"annotations": [REFERENCE] * 3, "content_parts": [UNKNOWN]}),
    "parts-in-two-choices": Answer("A", others=({"content": "B!", "reasoning": "hm", "annotations": [REFERENCE]},)),
    "thinking-field": Answer("Hi", "ab"),
    "reasoning-field": Answer("Hi", "ab"),
    "reasoning-content-field": Answer("Hi", "ab"),
    "reasoning-parts": Answer("Hi", "ab"),
    "whole-reasoning-parts": Answer("Hi", "ab"),
    "choice-gap": Answer(others=({"content": "B!"},)),
    "choice-from-one": Answer(),
    "whole-choice-gap": Answer("A", others=({"content": "B", "reasoning": "hm", "annotations": [REFERENCE]},)),
    "raw-halves": Answer("Hi😀"),
    "lone-half": Answer("Hi\ufffd"),
    "halves-among-plain": Answer("Hi wo😀rld"),
    "error-mid": Failure(400, "context_length_exceeded", "Too long", "Hi"),
    "error-event": Failure(502, "upstream_error", "GPU lost"),
    "error-event-text": Failure(502, "upstream_error", "GPU lost", "Hi"),
    "error-late": Answer(),
    "error-in-error": Failure(400, "context_length_exceeded", "Too long"),
    "error-base-resp": Failure(502, "upstream_error", "(code 1008): insufficient balance"),
    "error-fault": Failure(502, "ratelimit.Quota", "Quota exceeded"),
    "error-list": Failure(400, "400", "Bad argument"),
    "error-errors": Failure(502, "upstream_error", "Upstream busy"),
    "error-detail": Failure(502, "upstream_error", "Model is loading"),
    "error-fastapi": Failure(422, "upstream_rejected", "max_tokens: Should be less than 10"),
    "error-type": Failure(404, "not_found_error", "no such model"),
    "error-key": Failure(502, "billing", "Key [redacted] is bad"),
    "error-trace": Failure(502, "upstream_error", "Broke"),
    "error-long": Failure(502, "c" * 60, "long long"),
    "error-429": Failure(429, "upstream_rate_limited"),
    "error-401": Failure(502, "upstream_unauthorized"),
    "text": Failure(502, "upstream_invalid", "The model is not loaded."),
    "text:sse": Failure(502, "upstream_invalid", "The model is not loaded."),
    "error-detail:sse": Failure(502, "upstream_error", "Model is loading"),
    "page": Failure(502, "upstream_invalid", "web page"),
    "page:sse": Failure(502, "upstream_invalid", "web page"),
    "page:json": Failure(502, "upstream_invalid", "web page"),
    # The same with their own status.
    "text:text:404": Failure(404, "upstream_rejected", "The model is not loaded."),
    "page:html:404": Failure(404, "upstream_rejected", "rejected the request"),
    "error-fastapi:json:422": Failure(422, "upstream_rejected", "max_tokens: Should be less than 10"),
    "error-key:json:400": Failure(400, "billing", "Key [redacted] is bad"),
    "error-trace:json:400": Failure(400, "upstream_rejected", "Broke"),
    "error-list:json:400": Failure(400, "400", "Bad argument"),
    "error-long:json:413": Failure(413, "c" * 60, "long long"),
    "listed-second-choice": Answer("A", others=({"content": "B", "reasoning": "hm", "annotations": [REFERENCE]},)),
    "whole-no-finish": Answer(finish=MISSING),
    "whole-null-message": Failure(502, "upstream_invalid"),
    "whole-calls-without-ids": called((None, "f", ONE), (None, "f", TWO), ("5", "g", ONE), finish="stop"),
    "whole-object-arguments": called(F, finish=MISSING),
}
NEVER = (KEY_IN_ERROR, "/srv/x.py", "a secret question", "<html", "Traceback")


def reasoning_of(message: dict[str, Any]) -> str:
    return message.get("reasoning") or message.get("reasoning_content") or ""


def calls_of(message: dict[str, Any]) -> tuple[tuple[str | None, str, str], ...]:
    calls = message.get("tool_calls") or ()
    assert all(call["type"] == "function" for call in calls), calls
    return tuple((call.get("id"), call["function"]["name"], call["function"]["arguments"]) for call in calls)


def known_calls(message: dict[str, Any], expected: tuple[Any, ...]) -> tuple[tuple[str | None, str, str], ...]:
    """Return the calls, with None for each id that is made up: it has to be another one for each call."""
    calls = calls_of(message)
    made_up = [call[0] for call, wanted in zip(calls, expected, strict=True) if wanted[0] is None]
    assert all(made_up) and len(set(made_up)) == len(made_up), calls
    return tuple((None if call[0] in made_up else call[0], *call[1:]) for call in calls)


def without_index(items: Any) -> Any:
    """A client of a stream keeps the numbers of what it put together."""
    if not isinstance(items, list):
        return items
    return [{name: value for name, value in item.items() if name != "index" and value is not None} for item in items]


@tried_once
class BodyTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        url = f"{self.service.url}/v1"
        self.openai = openai.OpenAI(base_url=url, api_key=self.alice.secret, max_retries=0)
        self.addCleanup(self.openai.close)

    def test_every_file_has_its_expectation(self) -> None:
        known = {name.partition(":")[0] for name in EXPECTED}
        self.assertEqual(known, {path.name for path in FILES.iterdir()} | BODIES.keys())

    def test_what_the_client_gets_is_what_is_stored_and_what_it_gets_again(self) -> None:
        with ThreadPoolExecutor(6) as threads:
            wrong = "\n".join(filter(None, threads.map(self.outcome, EXPECTED)))
        self.assertFalse(wrong, wrong)

    def outcome(self, name: str) -> str:
        try:
            for ask in (self.stream, self.whole):
                expected = EXPECTED[name]
                marker = f"{name} {uuid.uuid4()}"
                if isinstance(expected, Failure):
                    self.check_failure(ask, name, marker, expected)
                else:
                    first = self.check_answer(ask(name, marker), expected, marker)
                    again = self.check_answer(ask(name, marker), expected, marker)
                    assert first == again, (first, again)
                    assert len(self.upstream.asked(marker)) == 1, "asked again"
        except Exception as error:
            return f"{name}: {ask.__name__}: {type(error).__name__} {error}"
        finally:
            connections.close_all()
        return ""

    def stream(self, name: str, marker: str) -> list[dict[str, Any]]:
        """Return the choices of a stream as the client's own helper puts them together."""
        asked: Any = {"model": f"fake/body:{name}", "messages": [{"role": "user", "content": marker}]}
        try:
            with self.openai.chat.completions.stream(
                **asked, extra_headers={"Idempotency-Key": marker.split()[1]}
            ) as stream:
                final: Any = stream.get_final_completion()
        except openai.LengthFinishReasonError as error:
            final = error.completion
        choices = [choice.model_dump() for choice in final.choices]
        assert choices[0]["message"]["role"] == "assistant", choices
        return choices

    def whole(self, name: str, marker: str) -> list[dict[str, Any]]:
        asked: Any = {"model": f"fake/body:{name}", "messages": [{"role": "user", "content": marker}]}
        answer = self.openai.chat.completions.create(**asked, extra_headers={"Idempotency-Key": marker.split()[1]})
        return [choice.model_dump() for choice in answer.choices]

    def check_answer(self, choices: list[dict[str, Any]], expected: Answer, marker: str) -> list[Any]:
        run = self.run_of(marker)
        message = run.message
        assert message is not None
        assert (run.state, run.finish_reason, message.finish_reason) == ("complete", expected.finish, expected.finish)
        shown = "stop" if expected.finish == MISSING else expected.finish
        assert choices[0]["finish_reason"] == shown, choices
        stored = message.as_wire()
        for told in (choices[0]["message"], stored):
            assert (told.get("content") or "") == expected.text, told
            assert reasoning_of(told) == expected.reasoning, told
            assert known_calls(told, expected.calls) == expected.calls, told
            assert {name: without_index(told.get(name)) for name in expected.extras} == expected.extras, told
        assert calls_of(choices[0]["message"]) == calls_of(stored), (choices, stored)
        assert len(choices) == 1 + len(expected.others), choices
        siblings = message.conversation.messages.filter(parent=message.parent).exclude(pk=message.pk)
        for choice, sibling, other in zip(choices[1:], siblings.order_by("position"), expected.others, strict=True):
            for told in (choice["message"], sibling.as_wire()):
                assert {name: without_index(told.get(name)) for name in other} == other, told
        return [self.gist(choice) for choice in choices]

    @staticmethod
    def gist(choice: dict[str, Any]) -> Any:
        """Return what a choice says, however its empty fields are written."""
        message = {name: without_index(value) for name, value in choice["message"].items() if value}
        for call in message.get("tool_calls", ()):
            call["function"].pop("parsed_arguments", None)
        return choice["finish_reason"], message

    def check_failure(self, ask: Any, name: str, marker: str, expected: Failure) -> None:
        try:
            answer = ask(name, marker)
        except openai.APIStatusError as error:
            assert error.status_code == expected.status, (error.status_code, error.message)
            told: Any = error.body
        except openai.APIError as error:
            told = error.body
            assert expected.text or expected.begun, "an error of its own status was due"
        else:
            raise AssertionError(f"it answered {answer}")
        run = self.run_of(marker)
        assert run.message is not None
        assert told["code"] == run.error_code == expected.code, (told, run.error_code)
        assert expected.message in told["message"] and told["message"] == run.error_message, told
        assert len(told["message"]) <= 600 and not any(word in json.dumps(told) for word in NEVER), told
        assert (run.state, run.http_status, run.message.status) == ("failed", expected.status, "failed")
        assert run.message.content == (expected.text if ask == self.stream else ""), run.message.content

    def run_of(self, marker: str) -> Run:
        return Run.objects.select_related("message__conversation", "message__parent").get(
            message__parent__content=marker, message__conversation__owner=self.alice.user
        )
