"""The filters of the usage page, from its address: a period of at most MAX_MONTHS back, and values of the ledger."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey, User
from usage.breakdown import ONE_DAY, Selection
from usage.months import month_of
from usage.periods import day_of

MAX_MONTHS = 12
DEFAULT_DAYS = 30
BY = (
    *(("user", "User"), ("group", "Group"), ("key", "Key"), ("model", "Model"), ("upstream", "Upstream")),
    *(("day", "Day"), ("month", "Month")),
)
FIELDS = {"group": "group_id", "user": "user_id", "key": "api_key_id", "model": "model", "upstream": "upstream"}
KEY_CHARS = 8


def today() -> dt.date:
    return day_of(timezone.now())


def earliest(day: dt.date) -> dt.date:
    """Return the first day that can be asked for on a day."""
    return day.replace(year=day.year - 1, day=1)


class DayInput(forms.DateInput):
    input_type = "date"


class UsageForm(forms.Form):
    """What is asked for; fields that are missing have their defaults."""

    by = forms.ChoiceField(choices=BY, required=False)
    since = forms.DateField(required=False, label="From", widget=DayInput(format="%Y-%m-%d"))
    until = forms.DateField(required=False, label="To", widget=DayInput(format="%Y-%m-%d"))
    group = forms.ModelChoiceField(Group.objects.order_by("name"), required=False, empty_label="all")
    user = forms.CharField(required=False, max_length=150)
    key = forms.CharField(required=False, max_length=50)
    model = forms.CharField(required=False, max_length=200)
    upstream = forms.CharField(required=False, max_length=100)

    def __init__(self, given: Any) -> None:
        day = today()
        defaults = {"by": "user", "since": str(day - (DEFAULT_DAYS - 1) * ONE_DAY), "until": str(day)}
        values = {name: given.get(name, "").strip() for name in self.base_fields}
        super().__init__({name: value or defaults.get(name, "") for name, value in values.items()}, label_suffix="")
        for field in ("user", "key", "model", "upstream"):
            self.fields[field].widget.attrs["placeholder"] = "all"

    def clean_user(self) -> User | None:
        if not (name := self.cleaned_data["user"]):
            return None
        user = User.objects.named(name)
        if user is None:
            raise ValidationError("There is no account of this name.")
        return user

    def clean_key(self) -> uuid.UUID | None:
        """Return the id of a key that is given by its beginning, cb_ and eight characters, or by its id."""
        if not (text := self.cleaned_data["key"]):
            return None
        kid = text.removeprefix("cb_")[:KEY_CHARS]
        if text.startswith("cb_"):
            key_id: uuid.UUID | None = ApiKey.objects.filter(kid=kid).values_list("pk", flat=True).first()
            if key_id is None:
                raise ValidationError("There is no key that begins like this.")
            return key_id
        try:
            return uuid.UUID(text)
        except ValueError:
            raise ValidationError("Enter the beginning of a key, as in cb_1a2b3c4d, or its id.") from None

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        since, until = given.get("since"), given.get("until")
        if since and until:
            if since > until:
                raise ValidationError("The first day is after the last one.")
            if since < (first := earliest(today())):
                raise ValidationError(f"The first day can be {first} at the earliest: {MAX_MONTHS} months back.")
            given["until"] = min(until, max(since, today()))
        return given

    @property
    def by_what(self) -> str:
        return str(self.cleaned_data["by"])

    def selection(self, visible: Q) -> Selection:
        """Return what a valid form asks for."""
        given = self.cleaned_data
        values = {**given, "user": given["user"] and given["user"].pk, "group": given["group"] and given["group"].pk}
        fields = {column: values[name] for name, column in FIELDS.items() if values[name]}
        return Selection(given["since"], given["until"], fields, visible)

    def query(self, **changes: Any) -> str:
        """Return the query of the same page, with other values."""
        values = {**self.data, **changes}
        return urlencode({name: value for name, value in values.items() if value})

    def periods(self) -> list[tuple[str, str]]:
        """Return the usual periods: what they are called, and the queries of their pages."""
        day = today()
        last_month = month_of(day) - ONE_DAY
        usual = {
            "30 days": (day - 29 * ONE_DAY, day),
            "90 days": (day - 89 * ONE_DAY, day),
            "this month": (month_of(day), day),
            "last month": (month_of(last_month), last_month),
            "12 months": (earliest(day), day),
        }
        return [(name, self.query(since=since, until=until)) for name, (since, until) in usual.items()]
