"""What a key may do: its scopes. Every operation of every API declares the one that it needs.

A session and a guest have all scopes, and so has a key that was made without naming any.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from accounts.callers import Principal


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"
    GENERATE = "generate"
    SEARCH = "search"
    ACCOUNT = "account"
    USAGE = "admin:usage"


MEANINGS = {
    Scope.READ: "read what is stored: conversations, files, usage, the account, and its export",
    Scope.WRITE: "create, change and delete conversations, messages, files and to-dos",
    Scope.GENERATE: "ask models for answers and embeddings, and stop answers",
    Scope.SEARCH: "search in messages, and have passages of other conversations recalled",
    Scope.ACCOUNT: "change the account: its keys, name and password, new accounts, deletion",
    Scope.USAGE: "read the usage of others, as far as the account may",
}


class ScopeMissing(Exception):
    """The caller's key lacks the scope of an operation: 403. The message names it and is safe to show."""

    def __init__(self, scope: Scope, held: Iterable[str]) -> None:
        self.scope = scope
        has = ", ".join(each for each in Scope if each in set(held)) or "none"
        super().__init__(f"This key lacks the scope '{scope}'. Its scopes: {has}.")


def read_scopes(names: Iterable[str]) -> list[str]:
    """Return scopes that are named in a text, in their usual order; raises ValueError for a name that is none."""
    named = {Scope(name.strip()) for name in names}
    return [str(scope) for scope in Scope if scope in named]


def has_scope(principal: Principal, scope: Scope) -> bool:
    return principal.scopes is None or scope in principal.scopes


def require_scope(principal: Principal, scope: Scope | None) -> None:
    """Raise ScopeMissing unless the caller's credential has `scope`; None is what every credential may do."""
    if scope is not None and not has_scope(principal, scope):
        raise ScopeMissing(scope, principal.scopes or ())


def require_scopes(principal: Principal, scopes: Iterable[str] | None) -> None:
    """Raise ScopeMissing unless the caller's credential has all of `scopes`; None are all that exist."""
    wanted = set(Scope if scopes is None else scopes)
    for scope in Scope:
        if scope in wanted:
            require_scope(principal, scope)


def narrowed(principal: Principal, wanted: Iterable[str] | None) -> list[str] | None:
    """Return the scopes of a key that the caller makes, in their usual order; None for all.

    Without `wanted` these are all that the caller has. Raises ScopeMissing for one that the caller lacks.
    """
    if wanted is None:
        return None if principal.scopes is None else [each for each in Scope if each in principal.scopes]
    named = set(wanted)
    require_scopes(principal, named)
    return [str(each) for each in Scope if each in named]
