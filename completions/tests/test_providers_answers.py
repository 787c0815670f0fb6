"""The provider reports answers of every shape, and passes every parameter on to the upstream."""

from __future__ import annotations

from typing import Any

from completions import exceptions as x
from completions.tests.provider_case import KEY, PROMPT, ProviderCase, asking, told
from completions.tests.upstream_wire import TEXT, USAGE
from completions.types import StreamFinished, StreamStarted


class AnswerTests(ProviderCase):
    async def test_proper_answers_in_every_shape(self) -> None:
        for model, text in {
            "ok": TEXT,
            "finish-no-done": TEXT,
            "done-then-more": TEXT,
            "close-delimited": TEXT,
            "crlf": TEXT,
            "crlf:cr": TEXT,
            "split": " wörld 🙂",
            "json-200": TEXT,
            "usage-missing": TEXT,
            "usage-on-finish": TEXT + "?",
            "logprobs": TEXT,
            "n2": TEXT,
            "reasoning": TEXT,
            "refusal": "",
            "unknown-fields": "Hi" + TEXT,
            "bad-utf8": "Helloa\ufffdb\ufffdcd",
            "truncated:done": "Hello",
            "data:null": "Hello",
            "data:[]": "Hello",
            "data:{}": "Hello",
            'data:{"choices"=[]}': "Hello",
        }.items():
            events, error = await self.listen(model)
            self.assertIsNone(error, model)
            self.assertIsInstance(events[0], StreamStarted, model)
            self.assertIsInstance(events[-1], StreamFinished, model)
            self.assertEqual(told(events), text, model)

    async def test_usage_is_asked_for_and_reported(self) -> None:
        events, _ = await self.listen("ok", parameters={"stream_options": {"include_obfuscation": False}})
        assert isinstance(events[-1], StreamFinished)
        self.assertEqual(events[-1].usage, USAGE)
        options = {"include_obfuscation": False, "include_usage": True}
        self.assertEqual(self.up.requests[0].body["stream_options"], options)
        events, _ = await self.listen("ok", usage_in_stream=False)
        self.assertNotIn("stream_options", self.up.requests[1].body)

    async def test_unknown_request_fields_pass_through_unchanged(self) -> None:
        extra = {"x_new": {"deep": [1, None, "é"]}, "temperature": 0.5, "reasoning": {"effort": "low"}, "n": 1}
        async with self.provider() as provider:
            await provider.complete(asking("echo-body", stream=False, stream_options={"include_usage": True}, **extra))
        await self.listen("echo-body", parameters=extra)
        message = {"role": "user", "content": PROMPT}
        sent = {**extra, "model": "echo-body", "messages": [message]}
        self.assertEqual(self.up.requests[0].body, {**sent, "stream": False})
        self.assertEqual(self.up.requests[1].body, {**sent, "stream": True, "stream_options": {"include_usage": True}})

    async def test_a_lone_surrogate_in_the_question_is_sent_as_replacement(self) -> None:
        await self.listen("ok", parameters={"user": "a\ud800b"})
        self.assertEqual(self.up.requests[0].body["user"], "a\ufffdb")

    async def test_headers(self) -> None:
        await self.listen("ok", headers={"X-Team": "blue"}, app_title="T", app_url="https://a.example")
        await self.listen("ok", api_key="")
        first, second = (request.headers for request in self.up.requests)
        self.assertEqual((first["authorization"], first["x-team"]), (f"Bearer {KEY}", "blue"))
        self.assertNotIn("http-referer", first)
        self.assertNotIn("authorization", second)

    async def test_a_connection_is_used_again(self) -> None:
        before = self.up.connections
        async with self.provider() as provider:
            for _ in range(5):
                async for _ in provider.stream(asking("ok")):
                    pass
                await provider.complete(asking("ok", stream=False))
        self.assertLessEqual(self.up.connections - before, 2)

    async def test_complete_returns_the_body_unaltered(self) -> None:
        async with self.provider() as provider:
            body = (await provider.complete(asking("tools", stream=False))).response
        self.assertEqual(body["choices"][0]["message"]["tool_calls"][0]["id"], "call_1")
        self.assertEqual(body["usage"], USAGE)

    async def test_complete_reads_a_stream_that_nobody_asked_for(self) -> None:
        async with self.provider() as provider:
            body = (await provider.complete(asking("sse-200", stream=False))).response
            silent = (await provider.complete(asking("truncated:done", stream=False))).response
        message = {"role": "assistant", "content": TEXT, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        self.assertEqual((body["object"], body["id"], body["choices"]), ("chat.completion", "chatcmpl-1", [choice]))
        self.assertIsNone(silent["choices"][0]["finish_reason"])

    async def test_models_of_every_shape(self) -> None:
        shapes: list[Any] = [
            {"data": [{"id": "a", "created": 5, "owned_by": "me"}, {"id": "a"}, {"no": 1}, 7]},
            {"models": [{"name": "a", "created": "2024"}]},
            [{"id": "a"}],
            {"object": "list", "data": None, "models": [{"model": "a"}]},
        ]
        try:
            for shape in shapes:
                self.up.models = shape
                async with self.provider() as provider:
                    self.assertEqual([model.id for model in await provider.list_models()], ["a"])
            self.up.models = {"data": "x"}
            async with self.provider() as provider:
                with self.assertRaises(x.UpstreamInvalid):
                    await provider.list_models()
        finally:
            self.up.models = {"data": []}
