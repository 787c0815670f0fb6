"""The offline model says that it is no real model, is deterministic, and sends well-formed answers."""

from __future__ import annotations

from typing import Any
from unittest import IsolatedAsyncioTestCase

from completions.exceptions import UpstreamRejected
from completions.providers.echo import QUOTE_CHARS, Echo
from completions.types import CompletionRequest, Delta, StreamFinished, StreamStarted


def asking(content: Any = "What is  love?\nTell me", **parameters: Any) -> CompletionRequest:
    earlier = ({"role": "user", "content": "earlier"}, {"role": "assistant", "content": "reply"})
    return CompletionRequest("gpt-whatever", (*earlier, {"role": "user", "content": content}), parameters)


class EchoTests(IsolatedAsyncioTestCase):
    async def tell(self, request: CompletionRequest) -> tuple[str, StreamFinished, list[Any]]:
        events = [event async for event in Echo(delay=0).stream(request)]
        self.assertIsInstance(events[0], StreamStarted)
        assert isinstance(events[-1], StreamFinished)
        return "".join(event.text for event in events[1:-1] if isinstance(event, Delta)), events[-1], events

    async def test_it_says_what_it_is_and_how_to_connect_a_model(self) -> None:
        text, closed, events = await self.tell(asking())
        for part in ("offline", "no language model is connected", "OPENAI_API_KEY", "OPENAI_BASE_URL", ".env"):
            self.assertIn(part, text)
        self.assertTrue(text.endswith("What is  love?\nTell me"))
        self.assertEqual(text, (await self.tell(asking()))[0])
        self.assertEqual(events[0].envelope["model"], "echo")
        self.assertEqual((closed.finish_reason, closed.usage), ("stop", closed.wire[-1]["usage"]))

    async def test_the_quote_is_bounded_and_reads_parts(self) -> None:
        self.assertLess(len((await self.tell(asking("x" * 9000)))[0]), 1000 + QUOTE_CHARS)
        parts = [{"type": "text", "text": "a\x00b"}, {"type": "image_url", "image_url": {}}, 7]
        self.assertTrue((await self.tell(asking(parts)))[0].endswith("\n\nab"))
        odds: list[Any] = [None, "", 5, []]
        for odd in odds:
            self.assertIn("offline", (await self.tell(asking(odd)))[0])

    async def test_limits(self) -> None:
        for key in ("max_tokens", "max_completion_tokens"):
            text, closed, events = await self.tell(asking(**{key: 3}))
            self.assertEqual((text, closed.finish_reason), ("This is the", "length"))
            self.assertEqual((closed.usage or {})["completion_tokens"], 3)
            self.assertEqual(len(events), 5)
        text, closed, _ = await self.tell(asking(stop=["speaking", "offline"]))
        self.assertEqual((text, closed.finish_reason), ("This is the built-in echo ", "stop"))

    async def test_several_choices(self) -> None:
        _, closed, events = await self.tell(asking(n=2, max_tokens=2))
        self.assertEqual([choice["index"] for choice in events[1].wire[0]["choices"]], [0, 1])
        self.assertEqual(len(closed.wire[0]["choices"]), 2)
        with self.assertRaises(UpstreamRejected):
            await self.tell(asking(n=1000))

    async def test_the_whole_answer_is_the_streamed_one(self) -> None:
        body = (await Echo().complete(asking(n=2))).response
        text, closed, _ = await self.tell(asking())
        self.assertEqual([c["message"]["content"] for c in body["choices"]], [text, text])
        self.assertEqual((body["object"], body["model"]), ("chat.completion", "echo"))
        usage = body["usage"]
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])

    async def test_a_cut_off_answer_at_the_end_goes_on_where_it_stopped(self) -> None:
        asked = asking().messages
        whole = (await Echo(delay=0).complete(CompletionRequest("echo", asked))).response
        text = whole["choices"][0]["message"]["content"]
        resume_point = {"role": "assistant", "content": text[:40]}
        rest = (await Echo(delay=0).complete(CompletionRequest("echo", (*asked, resume_point)))).response
        self.assertEqual(text[:40] + rest["choices"][0]["message"]["content"], text)
