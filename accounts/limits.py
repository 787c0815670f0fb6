"""Plain values: the limits that a caller has of its own, instead of the settings' or, for a key, in addition.

`subject_limits.py` finds them with the principal, which carries them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Override(Generic[T]):
    """A value that overrides a setting's, and whose it is, as a refusal names it."""

    value: T
    name: str


@dataclass(frozen=True, slots=True)
class Overrides:
    """What one subject may do; None where nothing is overridden, and 0 where any number is allowed."""

    starts_per_minute: Override[int] | None = None
    runs_at_once: Override[int] | None = None
    tokens_per_minute: Override[int] | None = None
    reads_per_minute: Override[int] | None = None
    models_allowed: Override[tuple[str, ...]] | None = None
    search: Override[bool] | None = None


NOTHING = Overrides()


@dataclass(frozen=True, slots=True)
class Limits:
    """What overrides the settings for an account, and the limits of the key in use, which hold in addition."""

    account: Overrides = NOTHING
    key: Overrides = NOTHING

    @property
    def forbids_search(self) -> str:
        """The name of the limit that turns the search off; '' if the caller may search."""
        off = [each for each in (self.account.search, self.key.search) if each is not None and not each.value]
        return off[0].name if off else ""


NO_LIMITS = Limits()


def matches(model: str, patterns: Iterable[str]) -> bool:
    """Tell whether the name of a model is one of those that `patterns` allow."""
    return any(fnmatchcase(model, pattern) for pattern in patterns)
