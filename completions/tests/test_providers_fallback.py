"""Several upstreams for one model: the preferred available one answers, only one bills, and the row names it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from django.test import SimpleTestCase

from completions import exceptions as x
from completions import providers
from completions.providers.fallback import Fallback
from completions.tests.test_providers_registry import DEAD, upstreams
from completions.tests.upstream import FaultyUpstream
from completions.tests.upstream_wire import TEXT
from completions.types import Completion, CompletionRequest, Delta, StreamStarted

ASKED = ({"role": "user", "content": "Hi"},)


class FallbackTests(SimpleTestCase):
    """Two upstreams, told apart by their name for the model `m`."""

    @contextlib.asynccontextmanager
    async def two(self, first: str, second: str = "ok", **config: Any) -> AsyncIterator[Any]:
        with FaultyUpstream() as a, FaultyUpstream() as b:
            entries = {
                "b": {"base_url": b.base_url, "models": ["m"], "rename": {"m": second}, "priority": 2},
                "a": {"base_url": a.base_url, "models": ["m"], "rename": {"m": first}, "priority": 1, **config},
            }
            with upstreams(**entries):
                try:
                    yield a, b
                finally:
                    await providers.close_all()

    async def stream(self) -> tuple[str, str]:
        provider, model = providers.provider_for("m")
        text = upstream = ""
        async for event in provider.stream(CompletionRequest(model, ASKED)):
            if isinstance(event, StreamStarted):
                upstream = event.upstream
            elif isinstance(event, Delta):
                text += event.text
        return upstream, text

    async def whole(self) -> Completion:
        provider, model = providers.provider_for("m")
        return await provider.complete(CompletionRequest(model, ASKED, stream=False))

    async def test_the_preferred_one_answers_while_it_can(self) -> None:
        async with self.two("ok", "http-500") as (a, b):
            self.assertEqual(providers.provider_for("m")[0].name, "a")
            self.assertEqual(await self.stream(), ("a", TEXT))
            self.assertEqual((await self.whole()).upstream, "a")
            self.assertEqual((len(a.posts), len(b.posts)), (2, 0))
            self.assertEqual(a.posts[0].body["model"], "ok")

    async def test_the_next_one_answers_where_the_first_provably_did_nothing(self) -> None:
        for refusal in ("429:1", "429:3600", "503", "401", "402", "403"):
            async with self.two(refusal) as (a, b):
                self.assertEqual(await self.stream(), ("b", TEXT), refusal)
                # The first upstream cools down: the next question skips it.
                self.assertEqual((await self.whole()).upstream, "b")
                self.assertEqual((len(a.posts), len(b.posts)), (1, 2), refusal)
        async with self.two("ok", base_url=DEAD) as (_, b):
            self.assertEqual(await self.stream(), ("b", TEXT))
            self.assertEqual((await self.whole()).upstream, "b")

    async def test_nobody_else_is_asked_where_somebody_may_have_been_paid(self) -> None:
        for fault in ("500", "502", "504", "529", "408", "refuse", "reset:2", "truncated", "html-200", "404", "stall"):
            short = self.settings(IDLE_SECONDS=0.2)
            async with self.two(fault) as (a, b):
                with short, self.assertRaises(x.ProviderError, msg=fault) as raised:
                    await self.stream()
                self.assertEqual(raised.exception.upstream, "a")
                self.assertEqual((len(a.posts), len(b.posts)), (1, 0), fault)

    async def test_when_nobody_can_the_last_is_waited_for_and_the_failure_is_its(self) -> None:
        async with self.two("429:3600", "429:0") as (a, b):
            with self.assertRaises(x.UpstreamRateLimited) as raised:
                await self.stream()
            self.assertEqual((raised.exception.upstream, len(a.posts), len(b.posts)), ("b", 1, 4))

    async def test_an_upstream_that_was_not_even_asked_does_not_hide_what_another_said(self) -> None:
        async with self.two("429:3600") as (a, b):
            provider, _ = providers.provider_for("m")
            assert isinstance(provider, Fallback)
            other = provider._choices[1].provider
            for _ in range(5):
                other.health.unreachable()
            with self.assertRaises(x.UpstreamRateLimited):
                await self.stream()
            self.assertEqual((len(a.posts), len(b.posts)), (1, 0))

    async def test_the_list_names_each_model_once(self) -> None:
        async with self.two("faulty", "meta/llama-3"):
            self.assertEqual([model.id for model in await providers.list_models()], ["m", "echo"])
