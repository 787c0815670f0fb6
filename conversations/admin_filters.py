"""Filters of the list of conversations. Each uses an index, or costs no more than showing the page."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

from django.contrib import admin
from django.db import connection
from django.db.models import Exists, OuterRef
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import User
from conversations.access_log import may_read_content
from conversations.models import Message
from conversations.tags import tag_key
from foundation.admin_base import DatesFilter, TextFilter

MODELS_LISTED = 30
NOBODY = uuid.UUID(int=0)


class OwnerFilter(TextFilter):
    title = "owner"
    parameter_name = "owner"
    placeholder = "username"
    column = "owner_id"

    def sought(self) -> Any:
        # By id: after one look-up, the database can tell which index to use.
        return id_of_owner(self.text())


def id_of_owner(name: str) -> uuid.UUID:
    """Return the id of the account with this name, in any spelling; for an unknown name an id that nobody has."""
    owner = User.objects.named(name)
    return owner.pk if owner else NOBODY


class GuestFilter(admin.SimpleListFilter):
    title = "guests"
    parameter_name = "guest"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Owned by a guest"), ("no", "Owned by an account")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        of_a_guest = Exists(User.objects.filter(pk=OuterRef("owner_id"), guest_made=True))
        match self.value():
            case "yes":
                return queryset.filter(of_a_guest)
            case "no":
                return queryset.filter(~of_a_guest)
        return queryset


class ArchivedFilter(admin.SimpleListFilter):
    title = "archived"
    parameter_name = "archived"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("no", "Active"), ("yes", "Archived")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(archived_at__isnull=self.value() == "no")


class PinnedFilter(admin.SimpleListFilter):
    title = "pinned"
    parameter_name = "pinned"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Pinned"), ("no", "Not pinned")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() not in ("yes", "no"):
            return queryset
        return queryset.filter(pinned_at__isnull=self.value() == "no")


class TagFilter(TextFilter):
    """Tags are content, as titles are: staff who may not read content cannot filter by them."""

    title = "tag"
    parameter_name = "tag"
    placeholder = "tag"

    def __init__(self, request: HttpRequest, *args: Any) -> None:
        self.is_allowed = may_read_content(request.user)
        super().__init__(request, *args)

    def has_output(self) -> bool:
        return self.is_allowed

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.tagged(tag_key(self.text())) if self.text() else queryset


class UpdatedFilter(admin.SimpleListFilter):
    title = "last activity"
    parameter_name = "updated"
    days = {"day": 1, "week": 7, "month": 30, "year": 365}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        labels = {"day": "Past 24 hours", "week": "Past 7 days", "month": "Past 30 days", "year": "Past year"}
        return list(labels.items())

    def since(self) -> dt.datetime | None:
        days = self.days.get(self.value() or "")
        return timezone.now() - dt.timedelta(days=days) if days else None

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        since = self.since()
        return queryset.filter(updated_at__gte=since) if since else queryset


class ActiveFilter(DatesFilter):
    """By the days of the last activity; the search box of conversations shows it."""

    title = "last activity (UTC)"
    column = "updated_at"
    template = "admin/in_search_box.html"


class EndedFilter(admin.SimpleListFilter):
    """Conversations with an answer that failed or was stopped."""

    title = "answer status"
    parameter_name = "ended"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("failed", "Failed"), ("interrupted", "Interrupted"), ("cancelled", "Cancelled")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() not in dict(self.lookup_choices):
            return queryset
        return queryset.filter(pk__in=Message.objects.filter(status=self.value()).values("conversation_id"))


class ModelFilter(admin.SimpleListFilter):
    """Rows of a model: those that answered are listed, and any other can be named in the address."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in models_in_use()]

    def has_output(self) -> bool:
        return super().has_output() or bool(self.value())  # without output Django would not filter

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(model=self.value()) if self.value() else queryset


class AnsweredByFilter(TextFilter):
    """Conversations in which a model answered; the search box of conversations shows it."""

    title = "model"
    parameter_name = "model"
    template = "admin/in_search_box.html"

    def names(self) -> list[str]:
        return models_in_use()

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        answered = Message.objects.filter(model=self.text()).values("conversation_id")
        return queryset.filter(pk__in=answered) if self.text() else queryset


def models_in_use(limit: int = MODELS_LISTED) -> list[str]:
    """Return the names of models that answered, jumping from one to the next along the index: no scan, no DISTINCT."""
    table = Message._meta.db_table
    smallest = f"SELECT min(model) FROM {table} WHERE model <> ''"  # noqa: S608  no input in the text
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE named(name) AS (SELECT ({smallest}) UNION ALL "  # noqa: S608
            f"SELECT ({smallest} AND model > named.name) FROM named WHERE named.name IS NOT NULL) "
            "SELECT name FROM named WHERE name IS NOT NULL LIMIT %s",
            [limit],
        )
        return [name for (name,) in cursor.fetchall()]
