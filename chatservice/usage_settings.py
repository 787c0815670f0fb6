"""The settings of what things cost; chatservice/settings.py applies them."""

from __future__ import annotations

import re
from typing import Any
from zoneinfo import ZoneInfo

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from environ import Env

from chatservice.environment import Environment

MAIL_SECONDS = 10
"""How long a mail server may be silent."""
MAIL_SCHEMES = ("smtp", "smtp+tls", "smtp+ssl", "consolemail")
NO_MAIL = "dummymail://"

# --- Costs (docs/costs.md explains prices, the ledger and budgets) -------------------------------


def usage_settings(env: Environment) -> tuple[str, str, list[str], dict[str, Any]]:
    """Return the currency, the time zone of usage, who gets warnings of budgets, and Django's settings of mail."""
    # The currency of prices and costs, by its code of three letters; published prices apply only in USD.
    currency = env.parsed("CURRENCY", _currency_of, default="USD")
    # The time zone in which days, weeks and months of usage and budgets begin.
    time_zone = env.parsed("USAGE_TIME_ZONE", _time_zone_of, default="UTC")
    # Who gets a mail when a budget is nearly or completely used: addresses between commas. The user whose budget it is
    # gets one, too. By default nobody: it is only logged.
    budget_mail = env.list("BUDGET_MAIL", default=[])
    # The server that sends mail: `smtp+tls://name:password@mail.example.org:587`, with `smtp+ssl` for TLS from the
    # start and `smtp` for none; a @ in the name or password is written as %40. `consolemail://` prints mails. By
    # default none.
    mail = env.parsed("EMAIL_URL", _mail_server_of, default=NO_MAIL)
    # The address that mail comes from.
    mail["DEFAULT_FROM_EMAIL"] = env.str("DEFAULT_FROM_EMAIL", default="chat@localhost")
    wrong = [address for address in budget_mail if not _is_address(address)]
    if wrong or not _is_address(mail["DEFAULT_FROM_EMAIL"]):
        name = "BUDGET_MAIL" if wrong else "DEFAULT_FROM_EMAIL"
        env.problem(f"{name} takes e-mail addresses, as in admin@example.org.")
    if budget_mail and "dummy" in mail["EMAIL_BACKEND"]:
        env.problem("BUDGET_MAIL needs EMAIL_URL, the server that sends mail.")
    return currency, time_zone, budget_mail, mail


def _mail_server_of(text: str) -> dict[str, Any]:
    """Return Django's settings for a mail server; raises ValueError without repeating the password."""
    problem = "must be an address such as smtp+tls://name:password@mail.example.org:587."
    if text.partition("://")[0] not in MAIL_SCHEMES and text != NO_MAIL:
        raise ValueError(problem)
    try:
        found: dict[str, Any] = Env.email_url_config(text)
    except (ValueError, KeyError):
        raise ValueError(problem) from None
    if text.startswith("smtp") and not found["EMAIL_HOST"]:
        raise ValueError(problem)
    return {**found, "EMAIL_PORT": found["EMAIL_PORT"] or 25, "EMAIL_TIMEOUT": MAIL_SECONDS}


def _is_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


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
