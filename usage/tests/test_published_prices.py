"""Published prices: only for who is at a provider's address, without any network, and not before they are needed."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from pathlib import Path

from django.test import TestCase, override_settings
from genai_prices.data_snapshot import get_snapshot

from chatservice.testing import tried_on
from usage import published_prices
from usage.prices import Tokens, price_of
from usage.tests.prices import JANUARY, JUNE, add_price

TOP = Path(__file__).resolve().parents[2]
OPENAI = {"base_url": "https://api.openai.com/v1"}
UPSTREAMS = {
    "openai": OPENAI,
    "router": {"base_url": "https://openrouter.ai/api/v1", "strip_prefix": True, "models": ["router/*"]},
    "anthropic": {"base_url": "https://api.anthropic.com/v1"},
    "fake": {"base_url": "http://127.0.0.1:9/v1"},
    "lan": {"base_url": "http://llm:8000/v1"},
    "gateway": {"base_url": "https://litellm.example.org/v1"},
}
USED = Tokens(1_000, 200, 500, 100)
OFFLINE = """
import sys, datetime

def refuse(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        raise RuntimeError(event)

sys.addaudithook(refuse)
from usage.published_prices import published_price_of
from usage.price_values import Tokens
now = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
for address in ("http://127.0.0.1:9/v1", "http://[::1]:9/v1", "http://llm:8000/v1", "https://10.0.0.7/v1", ""):
    assert published_price_of(("gpt-4o",), address, now) is None
assert "genai_prices" not in sys.modules
price = published_price_of(("gpt-4o",), "https://api.openai.com/v1", now)
print(price.cost(Tokens(1000, 200, 500, 100)))
"""


@tried_on("sqlite")
@override_settings(UPSTREAMS=UPSTREAMS)
class PublishedTest(TestCase):
    def cost(self, model: str, upstream: str, tokens: Tokens = USED) -> int | None:
        price = price_of(model, upstream, JUNE)
        return None if price is None else price.cost(tokens)

    def test_a_provider_is_known_by_its_address(self) -> None:
        self.assertEqual(self.cost("gpt-4o", "openai"), 2_000 + 250 + 5_000)
        self.assertEqual(self.cost("gpt-4o-2024-08-06", "openai"), 7_250)
        self.assertEqual(
            self.cost("router/openai/gpt-4o", "router"), 2_500 + 5_000
        )  # it publishes none for cached input
        price = price_of("gpt-4o", "openai", JUNE)
        assert price is not None
        self.assertEqual((price.source, price.currency, price.max_output_tokens), ("genai-prices", "USD", None))

    def test_nobody_elses_model_has_its_price(self) -> None:
        for upstream in ("fake", "lan", "gateway", "echo", "unknown", ""):
            for model in ("gpt-4o", "openai/gpt-4o", "claude-3-5-haiku-latest", "echo", "fake/ok"):
                self.assertIsNone(self.cost(model, upstream), (model, upstream))

    def test_a_model_that_its_provider_does_not_list_has_none(self) -> None:
        for model in ("echo", "fake/ok", "gpt-4o-nonsense", "ft:gpt-4o:acme", "llama3", "gpt-", "", "claude-3-5-haiku"):
            self.assertIsNone(self.cost(model, "openai"), model)
        self.assertIsNone(self.cost("gpt-4o", "anthropic"))

    def test_what_is_not_billed_by_tokens_has_none(self) -> None:
        self.assertIsNone(self.cost("whisper-1", "openai"))

    def test_published_prices_are_in_dollars_only(self) -> None:
        with override_settings(CURRENCY="EUR"):
            self.assertIsNone(self.cost("gpt-4o", "openai"))

    def test_an_own_price_goes_before(self) -> None:
        add_price("gpt-4o", "1", "1")
        self.assertEqual(self.cost("gpt-4o", "openai"), 1_500)
        before = price_of("gpt-4o", "openai", JANUARY - dt.timedelta(days=1))
        self.assertEqual(before and before.source, "genai-prices")

    def test_impossible_counts_are_no_error(self) -> None:
        self.assertEqual(self.cost("gpt-4o", "openai", Tokens(100, 900, 10, 90)), 125 + 100)
        self.assertEqual(self.cost("gpt-4o", "openai", Tokens(-1, -1, -1, -1)), 0)

    def test_a_higher_tier_is_the_packages_business(self) -> None:
        short = self.cost("claude-sonnet-4-5", "anthropic", Tokens(input=100_000))
        long = self.cost("claude-sonnet-4-5", "anthropic", Tokens(input=400_000))
        assert short is not None and long is not None
        self.assertGreater(long, 4 * short)

    def test_every_published_price_costs_what_the_package_says(self) -> None:
        compared = 0
        for provider in get_snapshot().providers:
            for model in provider.models:
                if published_prices._is_billed_by_tokens(model):
                    for at in (JANUARY, JUNE):
                        rates = published_prices._rates(model.get_prices(at))
                        for tokens in (USED, Tokens(300_000, 300_000, 70_000, 70_000), Tokens(1, 0, 0, 0)):
                            expected = published_prices.Published(provider, model, at).calculate(tokens)
                            if rates is not None:
                                self.assertEqual(rates.calculate(tokens), expected, (provider.id, model.id))
                                compared += 1
        self.assertGreater(compared, 5_000)

    def test_prices_are_looked_up_offline_and_not_loaded_before_they_are_needed(self) -> None:
        command = [sys.executable, "-c", OFFLINE]
        result = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=60)
        self.assertEqual((result.stdout, result.stderr), ("7250\n", ""))
