"""A provider asks an upstream by the Responses API, and reports its answers and failures as any other does."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase, override_settings

from completions import exceptions as x
from completions import providers
from completions.checks import upstreams_are_understood
from completions.providers.responses_api import ResponsesAPI
from completions.tests.provider_case import KEY, ProviderCase, asking, told
from completions.tests.test_responses_stream import stored
from completions.tests.upstream import FaultyUpstream
from completions.tests.upstream_responses import SEARCH
from completions.tests.upstream_wire import KEY_IN_ERROR, TEXT
from completions.types import CompletionRequest, Delta, StreamFinished, StreamStarted

OTHERS = (
    *("fastapi", "ollama", "nginx", "express", "azure", "llamacpp", "lmstudio"),
    *("wants-messages", "pydantic", "html", "whole", "chunks"),
)


class ResponsesCase(ProviderCase):
    kind = ResponsesAPI

    async def whole(self, model: str, **options: Any) -> dict[str, Any]:
        async with self.provider(**options) as provider:
            return dict((await provider.complete(asking(model, stream=False))).response)


class AnswerTests(ResponsesCase):
    async def test_what_is_asked(self) -> None:
        await self.listen("ok", parameters={"max_tokens": 50})
        (asked,) = self.up.requests
        self.assertEqual((asked.path, asked.headers["authorization"]), ("/v1/responses", f"Bearer {KEY}"))
        self.assertEqual(
            (asked.body["stream"], asked.body["store"], asked.body["max_output_tokens"]), (True, False, 50)
        )
        self.assertEqual(asked.body["input"][0]["content"], [{"type": "input_text", "text": "the secret prompt"}])

    async def test_streamed_and_whole_say_the_same(self) -> None:
        for model, reason in (
            ("ok", "stop"),
            ("nothing", "stop"),
            ("tools", "tool_calls"),
            ("custom", "tool_calls"),
            ("reasoning", "stop"),
            ("thinking", "stop"),
            ("refusal", "stop"),
            ("hosted", "stop"),
            ("incomplete", "length"),
            ("incomplete:content_filter", "content_filter"),
        ):
            events, error = await self.listen(model)
            self.assertIsNone(error, model)
            self.assertIsInstance(events[0], StreamStarted)
            end = events[-1]
            assert isinstance(end, StreamFinished)
            body = await self.whole(model)
            (choice,) = body["choices"]
            message = {name: value for name, value in choice["message"].items() if value and name != "role"}
            self.assertEqual(message, {name: value for name, value in stored(events).items() if value}, model)
            self.assertEqual((end.finish_reason, choice["finish_reason"]), (reason, reason), model)
            self.assertEqual((body["object"], body["id"], body["usage"]), ("chat.completion", "resp_1", end.usage))
        choice = (await self.whole("logprobs"))["choices"][0]
        self.assertEqual(choice["logprobs"]["content"][0]["token"], "Hel")

    async def test_reasoning_is_given_back_with_the_results_of_calls(self) -> None:
        events, _ = await self.listen("round")
        answer = {"role": "assistant", **stored(events)}
        result = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
        async with self.provider() as provider:
            request = CompletionRequest("ok", ({"role": "user", "content": "q"}, answer, result), stream=False)
            await provider.complete(request)
        _, reasoning, message, call, output = self.up.requests[-1].body["input"]
        summary = [{"type": "summary_text", "text": "Why."}]
        expected = {"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "gAAA="}
        self.assertEqual(reasoning, expected)
        self.assertEqual(message["content"][0]["text"], "Let me see.")
        self.assertEqual((call["call_id"], output["call_id"], output["output"]), ("call_1", "call_1", "sunny"))

    async def test_hosted_tools_reach_the_upstream_and_their_items_come_back(self) -> None:
        native = {"tools": [{"type": "web_search"}], "x_new": True}
        async with self.provider() as provider:
            request = CompletionRequest("hosted", ({"role": "user", "content": "q"},), stream=False, native=native)
            body = (await provider.complete(request)).response
        self.assertEqual(body["choices"][0]["message"]["response_items"], [SEARCH])
        asked = self.up.requests[0].body
        self.assertEqual((asked["tools"], asked["x_new"]), ([{"type": "web_search"}], True))

    async def test_a_connection_is_used_again(self) -> None:
        before = self.up.connections
        async with self.provider() as provider:
            for _ in range(5):
                async for _ in provider.stream(asking("ok")):
                    pass
                await provider.complete(asking("ok", stream=False))
        self.assertEqual(self.up.connections - before, 1)


class FaultTests(ResponsesCase):
    async def test_each_fault_is_its_own_exception(self) -> None:
        for model, kind, text in (
            ("failed", x.UpstreamFailed, TEXT),
            ("failed:rate_limit_exceeded", x.UpstreamRateLimited, TEXT),
            ("failed:image_too_large", x.UpstreamRejected, TEXT),
            ("error-event", x.UpstreamFailed, "Hello "),
            ("error-event:nested", x.UpstreamFailed, "Hello "),
            ("cut", x.UpstreamTruncated, "Hello "),
            ("status:401", x.UpstreamUnauthorized, ""),
            ("status:429", x.UpstreamRateLimited, ""),
            ("status:500", x.UpstreamFailed, ""),
            ("status:400", x.UpstreamRejected, ""),
            ("huge:8400000", x.OutputLimit, None),
        ):
            events, error = await self.listen(model)
            assert error is not None, model
            self.assertIs(type(error), kind, model)
            self.assertNotIn(KEY_IN_ERROR, error.message)
            self.assertNotIn("api", error.message.split("(")[-1])
            self.assertFalse(any(isinstance(event, StreamFinished) for event in events), model)
            if text is not None:
                self.assertEqual(told(events), text, model)
            with self.assertRaises(kind):
                await self.whole(model)

    async def test_text_is_kept_up_to_the_limit(self) -> None:
        events, error = await self.listen("huge:40", max_text=32)
        self.assertEqual((told(events), type(error)), ("x" * 32, x.OutputLimit))
        with self.assertRaises(x.OutputLimit):
            await self.whole("huge:40", max_text=32)
        _, error = await self.listen("ok", max_raw=1000)
        self.assertIsInstance(error, x.OutputLimit)

    async def test_only_what_certainly_cost_nothing_is_asked_again(self) -> None:
        for model, requests in (("status:429", 3), ("status:503", 3), ("status:500", 1), ("failed", 1), ("cut", 1)):
            self.up.requests.clear()
            await self.listen(model, retries=2)
            self.assertEqual(len(self.up.posts), requests, model)
        for _ in range(6):
            _, error = await self.listen("ok", base_url="http://127.0.0.1:1/v1")
            self.assertIsInstance(error, x.UpstreamUnreachable)
        async with self.provider(base_url="http://127.0.0.1:1/v1") as provider:
            for _ in range(5):
                with self.assertRaises(x.UpstreamUnreachable):
                    await provider.complete(asking("ok", stream=False))
            with self.assertRaises(x.UpstreamUnavailable):
                await provider.complete(asking("ok", stream=False))

    async def test_an_upstream_of_another_api_is_named_as_such(self) -> None:
        for how in OTHERS:
            _, error = await self.listen(f"other:{how}")
            assert error is not None, how
            self.assertIs(type(error), x.UpstreamInvalid, how)
            self.assertIn("does not speak the Responses API", error.message, how)
            with self.assertRaisesRegex(x.UpstreamInvalid, "does not speak the Responses API"):
                await self.whole(f"other:{how}")

    async def test_an_unknown_model_is_not_taken_for_another_api(self) -> None:
        _, error = await self.listen("nobody-knows")
        assert isinstance(error, x.UpstreamRejected)
        self.assertEqual((error.status, error.upstream_code), (404, "model_not_found"))


class DeadlineTests(ResponsesCase):
    async def test_silence(self) -> None:
        for model, kind in (
            ("hang", x.UpstreamTimeout),
            ("stall:0", x.UpstreamTimeout),
            ("stall:1", x.UpstreamStalled),
            ("stall:6", x.UpstreamStalled),
        ):
            began = time.monotonic()
            _, error = await self.listen(model, first_byte=0.4, idle=0.2)
            self.assertIsInstance(error, kind, model)
            self.assertLess(time.monotonic() - began, 5, model)
        self.assertTrue(self.up.wait_for_hangup(4))

    async def test_a_model_that_has_not_begun_has_the_time_of_the_first_byte(self) -> None:
        """The server says at once that it has the question; hidden reasoning says nothing for long after that."""
        for events, least in (("2", 0.8), ("3", 0.8), ("5", 0.1)):
            began = time.monotonic()
            await self.listen(f"stall:{events}", first_byte=0.8, idle=0.1)
            self.assertGreaterEqual(time.monotonic() - began, least)

    async def test_the_steps_of_a_hosted_tool_are_no_silence(self) -> None:
        events, error = await self.listen("tick:0.1", first_byte=0.4, idle=0.4)
        self.assertEqual((told(events), error), (TEXT, None))

    async def test_cancelling_closes_the_upstream(self) -> None:
        async with self.provider() as provider:

            async def listen() -> None:
                async with aclosing(provider.stream(asking("endless"))) as events:  # type: ignore[type-var]
                    async for event in events:
                        if isinstance(event, Delta):
                            heard.set()

            heard = asyncio.Event()
            task = asyncio.create_task(listen())
            await heard.wait()
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.assertTrue(await asyncio.to_thread(self.up.wait_for_hangup))


class ConfigurationTests(SimpleTestCase):
    def test_the_api_of_an_upstream(self) -> None:
        one = {"base_url": "http://127.0.0.1:1/v1", "models": ["a"]}
        for option, speaks in ((None, False), ("chat", False), ("responses", True)):
            with override_settings(UPSTREAMS={"up": {**one, "api": option}}, DEFAULT_UPSTREAM="up"):
                self.assertEqual(upstreams_are_understood(None), [])
                self.assertIs(providers.provider_for("a")[0].speaks_responses, speaks)
        for wrong in ("Responses", "", "messages", 5, ["chat"]):
            with override_settings(UPSTREAMS={"up": {**one, "api": wrong}}, DEFAULT_UPSTREAM="up"):
                (problem,) = upstreams_are_understood(None)
                self.assertRegex(problem.msg, "'up': (api must be one of chat, responses|'api' has a value)")
                if wrong:
                    with self.assertRaisesMessage(ImproperlyConfigured, "api must be one of chat, responses"):
                        providers.provider_for("a")

    def test_several_upstreams_speak_it_only_if_each_does(self) -> None:
        one = {"base_url": "http://127.0.0.1:1/v1", "models": ["a"]}
        for other, speaks in (("responses", True), ("chat", False)):
            both = {"one": {**one, "api": "responses"}, "two": {**one, "api": other}}
            with override_settings(UPSTREAMS=both, DEFAULT_UPSTREAM="one"):
                self.assertIs(providers.provider_for("a")[0].speaks_responses, speaks)

    async def test_another_api_takes_over_where_one_cannot_be_reached(self) -> None:
        with FaultyUpstream() as up:
            dead = {"base_url": "http://127.0.0.1:1/v1", "models": ["ok"], "api": "responses"}
            upstreams = {"dead": dead, "live": {"base_url": up.base_url, "models": ["ok"]}}
            with override_settings(UPSTREAMS=upstreams, DEFAULT_UPSTREAM="live"):
                provider, model = providers.provider_for("ok")
                answer = await provider.complete(asking(model, stream=False))
                self.assertEqual((answer.upstream, up.posts[0].path), ("live", "/v1/chat/completions"))
                await providers.close_all()
