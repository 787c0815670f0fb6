"""Days and the periods of budgets, in the time zone USAGE_TIME_ZONE."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models


class Period(models.TextChoices):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


def day_of(at: dt.datetime) -> dt.date:
    """Return the day on which something counts that happened at this time."""
    return at.astimezone(ZoneInfo(settings.USAGE_TIME_ZONE)).date()


def start_of(period: str, at: dt.datetime) -> dt.date:
    """Return the first day of the period that contains this time."""
    return first_day(period, day_of(at))


def first_day(period: str, day: dt.date) -> dt.date:
    """Return the first day of the period that contains this day; a week begins on Monday, `total` at date.min."""
    match period:
        case Period.DAY:
            return day
        case Period.WEEK:
            return day - dt.timedelta(days=day.weekday())
        case Period.MONTH:
            return day.replace(day=1)
    return dt.date.min


def renewal(period: str, at: dt.datetime) -> dt.datetime | None:
    """Return when the period that contains this time ends; None for `total`, which never does."""
    start = start_of(period, at)
    match period:
        case Period.DAY:
            following = start + dt.timedelta(days=1)
        case Period.WEEK:
            following = start + dt.timedelta(days=7)
        case Period.MONTH:
            following = (start + dt.timedelta(days=32)).replace(day=1)
        case _:
            return None
    return dt.datetime.combine(following, dt.time(), ZoneInfo(settings.USAGE_TIME_ZONE))


def bounds_of(day: dt.date) -> tuple[dt.datetime, dt.datetime]:
    """Return when a day begins, and when the next one does."""
    zone = ZoneInfo(settings.USAGE_TIME_ZONE)
    return (
        dt.datetime.combine(day, dt.time(), zone),
        dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), zone),
    )
