"""Columns and fields of the admin that lead to other pages, for whom these are open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html


@dataclass(frozen=True)
class Link:
    """Where a field leads: `target` returns its words, and the address of a page that takes `permission`, or ""."""

    permission: str
    target: Callable[[Any], tuple[str, str]]


@dataclass(frozen=True)
class LinkColumn:
    """A field under its own name, as a link if the page is open to whoever looks."""

    name: str
    link: Link
    is_open: bool

    @property
    def __name__(self) -> str:  # Django names the column's class after it
        return self.name

    @property
    def short_description(self) -> str:
        return self.name.removesuffix("_id").replace("_", " ")

    def __call__(self, row: Any) -> str:
        text, address = self.link.target(row)
        return format_html('<a href="{}">{}</a>', address, text) if self.is_open and address else text


def linked(names: Sequence[Any], links: Mapping[str, Link], request: HttpRequest) -> list[Any]:
    """Return the fields, those that lead somewhere as callables."""
    return [LinkColumn(n, links[n], request.user.has_perm(links[n].permission)) if n in links else n for n in names]


def page_of(name: str, pk: Any) -> str:
    """Return the address of a row's page, such as `accounts_user`; empty without a row."""
    return reverse(f"admin:{name}_change", args=[pk]) if pk else ""


def list_of(name: str, **query: Any) -> str:
    """Return the address of a list, such as `completions_run`, with its filters."""
    address = reverse(f"admin:{name}_changelist")
    return f"{address}?{urlencode(query)}" if query else address


def to_user(field: str = "user") -> Link:
    """Return the link of a foreign key to an account, which is loaded with the row."""

    def target(row: Any) -> tuple[str, str]:
        user = getattr(row, field)
        return (str(user), page_of("accounts_user", user.pk)) if user is not None else ("-", "")

    return Link("accounts.view_user", target)
