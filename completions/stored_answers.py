"""Stored answers as clients list, read and delete them: the answers of their runs that ended well."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from accounts.access import visible_by_id
from accounts.callers import Principal
from completions.models import Run, RunMetadata
from conversations.answer_deletion import delete_answers
from conversations.models import Message, MessageQuerySet, load_parts

MAX_COUNTED = 1_000


def list_stored(
    principal: Principal,
    *,
    limit: int,
    after: uuid.UUID | None = None,
    newest_first: bool = False,
    model: str = "",
    metadata: Mapping[str, str] | None = None,
) -> list[Run]:
    """Return up to `limit` runs whose answers are stored, with their messages, by time.

    `model` is the name that was asked for; a run has all pairs of `metadata`.
    """
    ids, name = _matching(principal, model, dict(metadata or {}))
    if after is not None:
        ids = ids.filter(**{f"{name}__{'lt' if newest_first else 'gt'}": after})
    ids = ids.order_by(f"-{name}" if newest_first else name)
    found = Run.objects.select_related("message").in_bulk(list(ids.values_list(name, flat=True)[:limit]))
    load_parts(run.message for run in found.values() if run.message is not None)
    return [found[pk] for pk in sorted(found, key=lambda pk: pk.bytes, reverse=newest_first)]


def _matching(principal: Principal, model: str, pairs: dict[str, str]) -> tuple[QuerySet[Any], str]:
    """Return a queryset that walks one index of the caller's answers, and its name of a run's id.

    The index is that of the filter that fewest answers pass; for each of these, the other filters are looked up.
    """
    runs = Run.objects.visible_to(principal).stored()
    by_pair = {key: _with_pair(key, value).filter(visible_by_id(principal, "user_id")) for key, value in pairs.items()}
    by_model = {"": runs.filter(model=model)} if model else {}
    counted: dict[str, QuerySet[Any]] = {**by_model, **by_pair} if len(by_pair) + len(by_model) > 1 else {}
    counts = {key: ids[:MAX_COUNTED].count() for key, ids in counted.items()}
    walked = min(counts, key=counts.__getitem__) if counts else next(iter(pairs), "")
    name = "run_id" if walked in pairs else "pk"
    others = [Exists(_with_pair(*pair).filter(run=OuterRef(name))) for pair in pairs.items() if pair[0] != walked]
    if walked not in pairs:
        return by_model.get("", runs).filter(*others), name
    of_run: dict[str, Any] = {"run__state": Run.State.COMPLETE, "run__message__isnull": False}
    if model:
        of_run["run__model"] = model
    return by_pair[walked].filter(*others, **of_run), name


def _with_pair(key: str, value: str) -> QuerySet[RunMetadata]:
    return RunMetadata.objects.filter(key=key, value=value)


def further_choices(run: Run) -> MessageQuerySet:
    """Return the messages of a run's choices other than the first, which were stored when it ended."""
    if run.message is None or (run.choices or 1) == 1 or run.finished_at is None:
        return Message.objects.none()
    beside = Message.objects.of(run.message.conversation_id).answers().filter(parent_id=run.message.parent_id)
    return beside.filter(run=None, created_at=run.finished_at).oldest_first()


def delete_stored(*, run: Run) -> None:
    """Delete a run with its answer, and the messages before it that lead to nothing else; raises Busy."""
    if run.message is not None:
        delete_answers(answers=[run.message, *further_choices(run)])
