"""The prices that model providers publish, from the package genai-prices: its data are in the package, no network.

The package finds a provider by the address of its API, by a name, or by what a model is called. Only the address
counts here: who is at that address sends the bill, whereas anybody may call a model `gpt-4o`. So `echo`, fake and local
models, and servers behind a gateway of your own, have no published price. Within a provider the package's own rules
decide, which list names and the forms of their dates: a model that they do not know has no price, and neither has one
that is not billed by tokens.

Its 1.6 MB of data are imported when the first model at a public address is looked up.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from usage.price_values import MILLION, Price, Rates, Tokens

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

PUBLISHED = "genai-prices"
CURRENCY = "USD"
# The package's names of what we count.
PLAIN = ("input_mtok", "cache_read_mtok", "output_mtok", "output_reasoning_mtok", "requests_kcount")
# A name with a dot whose last part is not a number: no provider is at a plain address.
PUBLIC_HOST = re.compile(r"[a-z0-9.-]+\.[a-z][a-z0-9-]+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Published:
    """The price of a model in tiers, which the package calculates."""

    provider: Provider
    model: ModelInfo
    at: dt.datetime

    def calculate(self, tokens: Tokens) -> Decimal:
        from genai_prices import Usage

        usage = Usage(
            input_tokens=tokens.input,
            cache_read_tokens=tokens.cached,
            output_tokens=tokens.output,
            output_reasoning_tokens=tokens.reasoning,
        )
        found = self.model.calc_price(usage, self.provider, genai_request_timestamp=self.at)
        return found.total_price * MILLION


def published_price_of(names: tuple[str, ...], base_url: str, at: dt.datetime) -> Price | None:
    """Return the published price of the first of `names` that the provider at `base_url` has; None without one."""
    if not PUBLIC_HOST.fullmatch(urlsplit(base_url).hostname or ""):
        return None
    found = _find(names, base_url)
    if found is None:
        return None
    provider, model = found
    rates = _rates(model.get_prices(at))
    calculate = Published(provider, model, at).calculate if rates is None else rates.calculate
    return Price(PUBLISHED, CURRENCY, None, calculate)


@lru_cache(maxsize=4_096)
def _find(names: tuple[str, ...], base_url: str) -> tuple[Provider, ModelInfo] | None:
    from genai_prices.data_snapshot import get_snapshot

    providers = get_snapshot().providers
    for provider in providers:
        if re.match(provider.api_pattern, base_url):
            for name in names:
                model = provider.find_model(name, all_providers=providers)
                if model is not None and _is_billed_by_tokens(model):
                    return provider, model
    return None


def _is_billed_by_tokens(model: ModelInfo) -> bool:
    prices = [each.prices for each in model.prices] if isinstance(model.prices, list) else [model.prices]
    return bool(prices) and all(each.input_mtok is not None for each in prices)


def _rates(prices: ModelPrice) -> Rates | None:
    """Return plain prices for our own sum, which takes a hundredth of the package's time; None if any is in tiers."""
    given = vars(prices)
    amounts = [given.get(key) for key in PLAIN]
    if not all(amount is None or isinstance(amount, Decimal) for amount in amounts):
        return None
    asked, cached, answered, reasoning, per_thousand_requests = amounts
    asked, answered = asked or Decimal(0), answered or Decimal(0)
    return Rates(
        input=asked,
        cached_input=asked if cached is None else cached,
        output=answered,
        reasoning=answered if reasoning is None else reasoning,
        per_image=Decimal(0),
        per_request=(per_thousand_requests or Decimal(0)) / 1_000,
    )
