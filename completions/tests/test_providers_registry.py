"""Configuration decides who answers: patterns first, then the default; a dead upstream hides no other's models."""

from __future__ import annotations

import asyncio

from django.core.exceptions import ImproperlyConfigured
from django.test import SimpleTestCase, override_settings

from completions import providers
from completions.exceptions import UpstreamRejected
from completions.given_back import given_back
from completions.providers.echo import Echo
from completions.tests.upstream import FaultyUpstream
from completions.types import CompletionRequest

DEAD = "http://127.0.0.1:1/v1"


def upstreams(**entries: object) -> override_settings:
    names = {"DEFAULT_UPSTREAM": entries.pop("default", "echo"), "DEFAULT_MODEL": entries.pop("model", "echo")}
    return override_settings(UPSTREAMS=entries, ECHO_DELAY=0, **names)


class RoutingTests(SimpleTestCase):
    def route(self, model: str | None) -> tuple[str, str]:
        provider, name = providers.provider_for(model)
        return provider.name, name

    def test_the_first_matching_pattern_then_the_default(self) -> None:
        first, second = {"base_url": DEAD, "models": ["gpt-*", "openai/*"]}, {"base_url": DEAD, "models": ["*-4"]}
        with upstreams(first=first, second=second, third={"base_url": DEAD}, default="third", model="gpt-x"):
            for model, expected in {
                "gpt-4": ("first", "gpt-4"),
                "openai/gpt-4": ("first", "openai/gpt-4"),
                "llama-4": ("second", "llama-4"),
                "GPT-5": ("third", "GPT-5"),
                "default": ("first", "gpt-x"),
                "": ("first", "gpt-x"),
            }.items():
                self.assertEqual(self.route(model), expected, model)
            self.assertEqual(self.route(None), ("first", "gpt-x"))

    def test_a_prefix_can_be_stripped(self) -> None:
        with upstreams(local={"base_url": DEAD, "models": ["local/*", "bare"], "strip_prefix": True}):
            self.assertEqual(self.route("local/meta/llama"), ("local", "meta/llama"))
            self.assertEqual(self.route("bare"), ("local", "bare"))

    def test_without_configuration_echo_answers_everything(self) -> None:
        with upstreams():
            provider, name = providers.provider_for("gpt-4o")
            self.assertIsInstance(provider, Echo)
            self.assertEqual(name, "gpt-4o")

    def test_a_broken_configuration_is_named(self) -> None:
        for config in ({}, {"base_url": "ftp://x"}):
            with upstreams(broken=config, default="broken"), self.assertRaisesMessage(ImproperlyConfigured, "broken"):
                providers.provider_for("x")
        with upstreams(default="missing"), self.assertRaisesMessage(ImproperlyConfigured, "missing"):
            providers.provider_for("x")


class SharingTests(SimpleTestCase):
    async def test_one_provider_for_each_upstream_until_its_configuration_changes(self) -> None:
        with upstreams(a={"base_url": DEAD, "models": ["*"]}):
            first, second = providers.provider_for("x")[0], providers.provider_for("y")[0]
            self.assertIs(first, second)
        with upstreams(a={"base_url": DEAD, "models": ["*"], "api_key": "other"}):
            self.assertIsNot(providers.provider_for("x")[0], first)
        await providers.close_all()
        await providers.close_all()

    def test_each_event_loop_has_its_own(self) -> None:
        async def ask() -> str:
            provider, model = providers.provider_for("ok")
            answer = await provider.complete(CompletionRequest(model, ({"role": "user", "content": "x"},)))
            await providers.close_all()
            return str(answer.response["id"])

        with FaultyUpstream() as up, upstreams(up={"base_url": up.base_url}, default="up"):
            self.assertEqual([asyncio.run(ask()) for _ in range(3)], ["chatcmpl-1"] * 3)

    async def test_an_upstream_gets_alternating_turns_where_its_option_asks_for_them(self) -> None:
        messages = ({"role": "user", "content": "a"}, {"role": "user", "content": "b"})
        with FaultyUpstream() as up:
            for option, sent in ((False, list(messages)), (True, [{"role": "user", "content": "a\n\nb"}])):
                with upstreams(up={"base_url": up.base_url, "alternate_roles": option}, default="up"):
                    provider, model = providers.provider_for("ok")
                    await provider.complete(CompletionRequest(model, messages, stream=False))
                    self.assertEqual(up.posts[-1].body["messages"], sent)
            await providers.close_all()

    async def test_an_upstream_gets_its_own_reasoning_back_unless_its_option_says_no(self) -> None:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        answer = {"role": "assistant", "content": None, "tool_calls": [call]}
        reasoned = {**answer, "reasoning": "hm"}
        with FaultyUpstream() as up:
            for writer, option, sent in (("up", True, reasoned), ("up", False, answer), ("other", True, answer)):
                with upstreams(up={"base_url": up.base_url, "reasoning_back": option}, default="up"):
                    provider, model = providers.provider_for("ok")
                    messages = ({**answer, **given_back(reasoned, writer)},)
                    await provider.complete(CompletionRequest(model, messages, stream=False))
                    self.assertEqual(up.posts[-1].body["messages"], [sent])
            await providers.close_all()

    async def test_an_unknown_model_is_the_default_upstreams_404(self) -> None:
        with FaultyUpstream() as up, upstreams(up={"base_url": up.base_url}, default="up"):
            provider, model = providers.provider_for("nobody-knows")
            with self.assertRaises(UpstreamRejected) as raised:
                await provider.complete(CompletionRequest(model, ()))
            self.assertEqual((raised.exception.status, raised.exception.upstream_code), (404, "model_not_found"))
            await providers.close_all()


class ListingTests(SimpleTestCase):
    async def names(self) -> list[str]:
        return [model.id for model in await providers.list_models()]

    async def test_all_reachable_upstreams_are_merged(self) -> None:
        with FaultyUpstream() as up:
            entries = {
                "mine": {"base_url": up.base_url, "models": ["mine/*"], "strip_prefix": True},
                "some": {"base_url": up.base_url, "models": ["meta/*"]},
                "dead": {"base_url": DEAD, "models": ["dead/*"]},
            }
            with upstreams(**entries), self.assertLogs("completions.providers", "WARNING") as logs:
                self.assertEqual(await self.names(), ["mine/faulty", "mine/meta/llama-3", "meta/llama-3", "echo"])
                asked = len(up.requests)
                await self.names()
                self.assertEqual(len(up.requests), asked)
            self.assertEqual(len(logs.output), 1)
            self.assertIn("dead", logs.output[0])
            await providers.close_all()

    async def test_many_at_once_ask_the_upstream_once(self) -> None:
        with FaultyUpstream() as up, upstreams(up={"base_url": up.base_url}, default="up"):
            first = asyncio.create_task(self.names())
            others = [asyncio.create_task(self.names()) for _ in range(5)]
            await asyncio.sleep(0)
            first.cancel()
            self.assertEqual(await asyncio.gather(*others), [["faulty", "meta/llama-3"]] * 5)
            self.assertEqual(len(up.requests), 1)
            await providers.close_all()
