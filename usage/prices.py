"""What a model costs: by the prices that staff entered, else by those that its provider publishes."""

from __future__ import annotations

import datetime as dt

from django.conf import settings
from django.utils import timezone

from usage import published_prices
from usage.own_prices import forget_own_prices, own_price_of
from usage.price_values import Price, Tokens

__all__ = ["Price", "Tokens", "forget_prices", "price_of", "warm"]


def price_of(model: str, upstream: str, at: dt.datetime) -> Price | None:
    """Return the price of a model, by the name that clients or its upstream have for it; None if none is known.

    `upstream` is a name in UPSTREAMS. Reads the database once in a few seconds, in the calling thread.
    """
    config = settings.UPSTREAMS.get(upstream) or {}
    names = _names(model, config)
    price = own_price_of(names, upstream, at)
    if price is None and settings.CURRENCY == published_prices.CURRENCY:
        price = published_prices.published_price_of(names, config.get("base_url") or "", at)
    return price


def forget_prices() -> None:
    """Read the own prices again when the next one is looked up. Saving and deleting a price does this by itself."""
    forget_own_prices()


def warm() -> None:
    """Import the published prices now, in this thread, if an upstream may need them: it takes a quarter of a second."""
    for upstream in settings.UPSTREAMS:
        price_of(settings.DEFAULT_MODEL, upstream, timezone.now())


def _names(model: str, config: dict[str, object]) -> tuple[str, ...]:
    """Return the upstream's own name of the model, then the one given: prices may be listed under either."""
    rename = config.get("rename")
    renamed = rename.get(model) if isinstance(rename, dict) else None
    if not renamed and config.get("strip_prefix"):
        renamed = model.partition("/")[2]
    return (str(renamed), model) if renamed and renamed != model else (model,)
