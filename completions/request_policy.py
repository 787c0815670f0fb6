"""Enforces what the operator lets callers ask for: models, and parameters that cost money. See docs/limits.md.

`services.submit` calls `check` for every question of every API; embeddings are not questions, so their view calls it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.conf import settings

from accounts.callers import Principal
from accounts.limits import matches
from accounts.models import User
from completions.exceptions import InvalidRequest, ModelNotAllowed, ParameterNotAllowed
from completions.types import ModelInfo, Wire
from foundation.database import in_database_thread

MAX_CHOICES = 128
EVERYBODY, GUEST, STAFF, USER, GROUP = "*", "guest", "staff", "user:", "group:"
WRAPPER = "extra_body"
"""Some model servers read further parameters from it, like the clients that unpack it."""


async def check(principal: Principal, model: str, parameters: Wire) -> None:
    """Refuse what this caller may not ask for; raises ModelNotAllowed, ParameterNotAllowed or InvalidRequest."""
    choices = parameters.get("n")
    if choices is not None and (type(choices) is not int or not 1 <= choices <= MAX_CHOICES):
        raise InvalidRequest(f"'n' must be a whole number from 1 to {MAX_CHOICES}.", param="n")
    refuse_parameters(parameters)
    for patterns, name in await _rules_for(principal):
        if not matches(model, patterns):
            raise ModelNotAllowed(f"The model '{model}' is not allowed for this account ({name}).", param="model")


async def allowed_models(principal: Principal, models: Iterable[ModelInfo]) -> list[ModelInfo]:
    """Return those of `models` that this caller may use."""
    rules = await _rules_for(principal)
    return [model for model in models if all(matches(model.id, patterns) for patterns, _ in rules)]


async def _rules_for(principal: Principal) -> list[tuple[Sequence[str], str]]:
    """Return the patterns that a model must match, each with the name of its limit: the account's, and its key's."""
    own, its = principal.limits.account.models_allowed, principal.limits.key.models_allowed
    rules: list[tuple[Sequence[str], str]] = [(each.value, each.name) for each in (own, its) if each is not None]
    if own is None and (patterns := await patterns_for(principal)) is not None:
        rules.insert(0, (patterns, "MODELS_ALLOWED"))
    return rules


async def patterns_for(principal: Principal) -> list[str] | None:
    """Return the patterns that MODELS_ALLOWED has for this caller; None if it may use any model.

    The most specific entry applies: the user's own, those of all the user's groups, `guest` or `staff`, then `*`. An
    account made by a user has its maker's entry: nobody gains models by making accounts.
    """
    allowed = settings.MODELS_ALLOWED
    if not allowed:
        return None
    if principal.has_guest_limits:
        return allowed.get(GUEST, allowed.get(EVERYBODY))
    username = principal.username
    if principal.limits_owner_id is not None:
        username = await in_database_thread(_username_of, principal.limits_owner_id)
    if (own := allowed.get(USER + username)) is not None:
        return own
    if any(name.startswith(GROUP) for name in allowed):
        groups = await in_database_thread(_groups_of, principal)
        if entries := [allowed[GROUP + name] for name in groups if GROUP + name in allowed]:
            return [pattern for entry in entries for pattern in entry]
    everybody = allowed.get(EVERYBODY)
    return allowed.get(STAFF, everybody) if principal.is_staff else everybody


def refuse_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise ParameterNotAllowed for a parameter, or a value of one, that FORBIDDEN_PARAMETERS names."""
    for entry in settings.FORBIDDEN_PARAMETERS:
        name, has_value, value = entry.partition("=")
        given = parameters.get(name)  # null counts as not given
        if given is not None and (not has_value or _as_text(given) == value.strip().lower()):
            what = f"The parameter '{name}'" + (f" with the value '{value}'" if has_value else "")
            raise ParameterNotAllowed(f"{what} is not allowed here (FORBIDDEN_PARAMETERS).", param=name)
    if settings.FORBIDDEN_PARAMETERS and isinstance(wrapped := parameters.get(WRAPPER), dict):
        refuse_parameters(wrapped)


def _username_of(user_id: uuid.UUID) -> str:
    return User.objects.values_list("username", flat=True).get(pk=user_id)


def _groups_of(principal: Principal) -> list[str]:
    return list(User.groups.through.objects.filter(user_id=principal.counted_id).values_list("group__name", flat=True))


def _as_text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return (value if isinstance(value, str) else json.dumps(value)).strip().lower()
