"""The official Python client, sync and async, with only its base_url changed."""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from chatservice.testing import ServiceTestCase, tried_once
from completions.tests.upstream_wire import TEXT
from conversations.models import Conversation, Message

# What is stored is read by its id, so that is not the upstream's.
OWN_ID = r"\Achatcmpl-[0-9a-f]{32}\Z"
ASKED: list[Any] = [{"role": "user", "content": "Hi"}]


@tried_once
class ClientTest(ServiceTestCase):
    def setUp(self):
        super().setUp()
        self.openai = openai.OpenAI(base_url=f"{self.service.url}/v1", api_key=self.alice.secret, max_retries=0)
        self.addCleanup(self.openai.close)

    def create(self, behaviour: str, **fields: Any) -> Any:
        return self.openai.chat.completions.create(model=f"fake/{behaviour}", messages=ASKED, **fields)

    def answers(self) -> list[Message]:
        return list(Message.objects.filter(conversation__owner=self.alice.user, role="assistant").order_by("position"))

    def test_an_answer_in_one_piece_is_the_upstreams_own(self):
        answer = self.create("ok")
        self.assertEqual(answer.choices[0].message.content, TEXT)
        self.assertEqual((answer.model, answer.created, answer.object), ("faulty", 1_700_000_000, "chat.completion"))
        self.assertRegex(answer.id, OWN_ID)
        self.assertEqual(answer.usage.total_tokens, 9)
        self.assertTrue(answer._request_id)
        [kept] = self.answers()
        self.assertEqual((kept.content, kept.finish_reason, kept.usage), (TEXT, "stop", answer.usage.to_dict()))

    def test_a_stream_tells_the_same(self):
        chunks = list(self.create("ok", stream=True))
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks), TEXT)
        self.assertEqual({(chunk.created, chunk.model) for chunk in chunks}, {(1_700_000_000, "faulty")})
        [name] = {chunk.id for chunk in chunks}
        self.assertRegex(name, OWN_ID)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual(
            [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason], ["stop"]
        )
        self.assertEqual(self.answers()[0].content, TEXT)

    def test_the_async_client_is_served_as_well(self):
        async def ask() -> tuple[str, str]:
            url = f"{self.service.url}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key=self.alice.secret, max_retries=0) as client:
                whole = await client.chat.completions.create(model="fake/ok", messages=ASKED)
                stream = await client.chat.completions.create(model="fake/ok", messages=ASKED, stream=True)
                text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
                return whole.choices[0].message.content or "", text

        self.assertEqual(asyncio.run(ask()), (TEXT, TEXT))

    def test_the_clients_own_stream_helper_puts_it_together(self):
        with self.openai.chat.completions.stream(model="fake/tools", messages=ASKED) as stream:
            final = stream.get_final_completion()
        [call] = final.choices[0].message.tool_calls or []
        self.assertEqual(
            (call.id, call.function.name, call.function.arguments), ("call_1", "weather", '{"city": "Paris"}')
        )
        self.assertEqual(final.choices[0].finish_reason, "tool_calls")

    def test_tools_go_there_and_back(self):
        tools: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
        first = self.create("tools", tools=tools)
        call = first.choices[0].message.tool_calls[0]
        self.assertEqual(self.upstream.posts[-1].body["tools"], tools)
        history = [
            *ASKED,
            first.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ]
        second = self.openai.chat.completions.create(model="fake/ok", messages=history, tools=tools)
        self.assertEqual(second.choices[0].message.content, TEXT)
        self.assertEqual(self.upstream.posts[-1].body["messages"], history)
        self.assertEqual(Conversation.objects.filter(owner=self.alice.user).count(), 1)
        tool = Message.objects.get(conversation__owner=self.alice.user, role="tool")
        assert tool.parent is not None and tool.parent.has_parts
        self.assertEqual((tool.parent.extras() or {})["tool_calls"][0]["id"], "call_1")

    def test_two_choices_come_side_by_side_and_are_both_kept(self):
        texts = {0: "", 1: ""}
        for chunk in self.create("n2", n=2, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
        self.assertEqual(texts, {0: TEXT, 1: TEXT})
        first, second = self.answers()
        self.assertEqual((first.content, second.content), (TEXT, TEXT))
        self.assertEqual(first.parent_id, second.parent_id)
        self.assertEqual(Conversation.objects.get(owner=self.alice.user).head_id, first.pk)

    def test_log_probabilities_come_with_their_words(self):
        chunks = list(self.create("logprobs", logprobs=True, stream=True))
        told = [
            item for chunk in chunks for choice in chunk.choices if choice.logprobs for item in choice.logprobs.content
        ]
        self.assertEqual("".join(item.token for item in told), TEXT)
        self.assertEqual(self.answers()[0].content, TEXT)

    def test_reasoning_is_told_and_kept(self):
        chunks = list(self.create("reasoning", stream=True))
        told = "".join(getattr(chunk.choices[0].delta, "reasoning", None) or "" for chunk in chunks)
        self.assertEqual(told, "Let me think")
        extras = self.answers()[0].extras() or {}
        self.assertEqual(extras["reasoning"], "Let me think")
        self.assertEqual(extras["reasoning_details"], [{"type": "reasoning.text", "text": "Let me think"}])

    def test_a_refusal_is_told_and_kept(self):
        chunks = list(self.create("refusal", stream=True))
        self.assertEqual("".join(chunk.choices[0].delta.refusal or "" for chunk in chunks), "I cannot.")
        [answer] = self.answers()
        self.assertEqual((answer.content, answer.extras()), ("I cannot.", {"refusal": "I cannot."}))
        self.assertEqual((answer.streamed_text(), answer.as_wire()["content"]), ("", ""))

    def test_an_answer_without_text_is_null_and_says_why(self):
        for behaviour, reason, finish in (
            ("refusal", "refusal", "stop"),
            ("reasoning-only", "reasoning_only", "length"),
            ("nothing", "empty", "stop"),
            ("nothing:content_filter", "refusal", "content_filter"),
            ("nothing:length:\n\n", "empty", "length"),
        ):
            with self.subTest(behaviour):
                key = {"extra_headers": {"Idempotency-Key": behaviour.encode().hex()}}
                for whole in (self.create(behaviour, **key), self.create(behaviour, **key)):  # the second is rebuilt
                    [choice] = whole.choices
                    self.assertIsNone(choice.message.content)
                    self.assertEqual((whole.empty_reason, choice.finish_reason), (reason, finish))
                    if behaviour == "refusal":
                        self.assertEqual(choice.message.refusal, "I cannot.")
                chunks = list(self.create(behaviour, stream=True))
                told = [getattr(chunk, "empty_reason", None) for chunk in chunks if chunk.choices[0].finish_reason]
                self.assertEqual(told, [reason])
        for behaviour in ("ok", "tools", "reasoning"):
            self.assertFalse(hasattr(list(self.create(behaviour, stream=True))[-1], "empty_reason"), behaviour)

    def test_what_nobody_knows_yet_comes_back(self):
        chunks = list(self.create("unknown-fields", stream=True))
        [odd] = [chunk for chunk in chunks if (chunk.choices[0].delta.model_extra or {}).get("mood")]
        self.assertEqual(odd.model_extra, {"provider": "Somebody", "x_new": {"a": [1]}})
        self.assertEqual(odd.choices[0].delta.model_extra, {"mood": "sunny"})

    def test_everything_a_client_sends_reaches_the_upstream_unchanged(self):
        sent: dict[str, Any] = {
            "temperature": 0.5, "top_p": 1, "n": 1, "max_tokens": 7, "seed": 2**53, "stop": ["\n"], "user": "u-1",
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            "logit_bias": {"50256": -100}, "metadata": {"k": "v"}, "tool_choice": "auto", "parallel_tool_calls": False,
            "reasoning_effort": "low", "service_tier": "auto", "modalities": ["text"], "presence_penalty": -2,
            "prediction": {"type": "content", "content": "x"}, "verbosity": "low",
        }  # fmt: skip
        extra = {"x_unknown": {"deep": [1, None, "ü🙂", 1.5, {"a": []}]}, "provider": {"order": ["a"]}}
        for stream in (False, True):
            self.create("echo-body", stream=stream, extra_body=extra, **sent)
            body = dict(self.upstream.posts[-1].body)
            options = body.pop("stream_options", None)
            self.assertEqual(body, {**sent, **extra, "model": "echo-body", "messages": ASKED, "stream": stream})
            self.assertEqual(options, {"include_usage": True} if stream else None)

    def test_usage_comes_only_where_it_was_asked_for(self):
        plain = list(self.create("ok", stream=True))
        self.assertTrue(all("usage" not in chunk.to_dict() for chunk in plain))
        self.assertTrue(all(chunk.choices for chunk in plain))
        asked = list(self.create("ok", stream=True, stream_options={"include_usage": True}))
        *before, last = asked
        self.assertTrue(all(chunk.to_dict(exclude_unset=True, exclude_none=False)["usage"] is None for chunk in before))
        self.assertEqual((last.choices, last.usage and last.usage.total_tokens), ([], 9))
        self.assertEqual(self.answers()[0].usage, {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9})

    def test_models_are_listed_and_retrieved_with_slashes_in_their_ids(self):
        ids = [model.id for model in self.openai.models.list()]
        self.assertIn("fake/meta/llama-3", ids)
        self.assertIn("echo", ids)
        for name in ("fake/meta/llama-3", "echo"):
            model = self.openai.models.retrieve(name)
            self.assertEqual((model.id, model.object), (name, "model"))
        with self.assertRaises(openai.NotFoundError) as caught:
            self.openai.models.retrieve("nobody/knows")
        self.assertEqual(caught.exception.code, "model_not_found")

    def test_a_wrong_key_is_openais_error(self):
        stranger = openai.OpenAI(base_url=f"{self.service.url}/v1", api_key="wrong", max_retries=0)
        self.addCleanup(stranger.close)
        with self.assertRaises(openai.AuthenticationError) as caught:
            stranger.chat.completions.create(model="echo", messages=ASKED)
        self.assertEqual(caught.exception.code, "invalid_api_key")
