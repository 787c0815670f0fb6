"""The settings of what things cost; chatservice/settings.py applies them."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

from chatservice.environment import Environment

# --- Costs (docs/costs.md explains prices, the ledger and budgets) -------------------------------


def usage_settings(env: Environment) -> tuple[str, str]:
    """Return the currency, and the time zone of usage."""
    # The currency of prices and costs, by its code of three letters; published prices apply only in USD.
    currency = env.parsed("CURRENCY", _currency_of, default="USD")
    # The time zone in which days, weeks and months of usage and budgets begin.
    time_zone = env.parsed("USAGE_TIME_ZONE", _time_zone_of, default="UTC")
    return currency, time_zone


def _currency_of(text: str) -> str:
    code = text.strip().upper()
    if not re.fullmatch(r"[A-Z]{3}", code):
        raise ValueError("must be a currency's code of three letters, for example USD or EUR.")
    return code


def _time_zone_of(text: str) -> str:
    name = text.strip()
    try:
        ZoneInfo(name)
    except (OSError, ValueError) as error:
        raise ValueError("must be the name of a time zone, for example UTC or Europe/Berlin.") from error
    return name
