"""Accepting questions: user message, placeholder of the answer, run and idempotency row, all or nothing.

A batch of questions is accepted in one transaction by a handful of statements. What is refused is
refused before anything of it is written, so one bad question never spoils the batch.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.utils import timezone

from accounts.models import uuid7
from completions.admission import Admission
from completions.asks import Accepted, Ask, title_from
from completions.exceptions import (
    ConversationBusy,
    IdempotencyMismatch,
    InvalidRequest,
    Refused,
)
from completions.models import IdempotencyKey, Run
from completions.places import Place, find_place
from completions.prefixes import Prefixes
from completions.statements import Insert, Update, key, pipelined, read_key, table
from completions.types import Wire
from completions.worker import database_time
from conversations import digests
from conversations.models import Conversation, Message
from conversations.wire import split_wire

INSERT_CONVERSATION = Insert(
    Conversation,
    *("id", "owner", "title", "end_user", "metadata", "head", "next_position"),
    *("created_at", "updated_at", "archived_at"),
)
INSERT_MESSAGE = Insert(
    Message,
    *("id", "conversation", "parent", "position", "role", "content", "parts", "author", "model", "upstream", "status"),
    *("finish_reason", "usage", "digest", "created_at"),
)
INSERT_RUN = Insert(
    Run,
    *("id", "message", "conversation", "user", "address", "upstream", "model", "parameters", "state", "exclusive"),
    *("epoch", "worker", "lease_until", "finish_reason", "error_code", "error_message", "http_status", "created_at"),
)
INSERT_KEY = Insert(IdempotencyKey, "user", "key", "fingerprint", "run", "created_at")
MOVE_HEAD = Update(Conversation, "head", "next_position", "updated_at")
ROLES = frozenset(Message.Role.values)


@dataclass(slots=True)
class _Rows:
    conversations: list[dict] = field(default_factory=list)
    messages: list[dict] = field(default_factory=list)
    runs: list[dict] = field(default_factory=list)
    keys: list[dict] = field(default_factory=list)
    heads: list[tuple[uuid.UUID, dict]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the questions of one transaction share. `opened` are the places that they have added to so far."""

    cursor: Any
    admission: Admission
    prefixes: Prefixes
    worker: str
    lease_until: float
    now: dt.datetime
    rows: _Rows = field(default_factory=_Rows)
    opened: dict[uuid.UUID, Place] = field(default_factory=dict)


def accept(cursor: Any, asks: Sequence[Ask], *, worker: str) -> list[Accepted | Refused]:
    """Store `asks` inside the current transaction; returns, in order, what became of each."""
    results: list[Accepted | Refused | None] = [None] * len(asks)
    batch = _Batch(
        cursor=cursor,
        admission=Admission(cursor, asks),
        prefixes=Prefixes(cursor, asks),
        worker=worker,
        lease_until=database_time(cursor) + settings.LEASE_SECONDS,
        now=timezone.now(),
    )
    # In one order everywhere, so that two processes never wait for each other's conversations.
    for index in sorted(range(len(asks)), key=lambda index: str(asks[index].conversation_id or "~")):
        ask = asks[index]
        try:
            results[index] = _known_key(cursor, ask, batch.rows) or _accept_one(batch, ask)
        except Refused as refusal:
            results[index] = refusal
    batch.admission.close()
    _write(cursor, batch.rows)
    return results  # type: ignore[return-value]


def _accept_one(batch: _Batch, ask: Ask) -> Accepted:
    """Add the rows of one question to the batch, or raise Refused and add none."""
    rows, now = batch.rows, batch.now
    starts = batch.admission.check(ask)
    run_id = uuid7()
    run = {
        "id": run_id,
        "user": ask.principal.user_id,
        "address": ask.principal.address[:45],
        "upstream": ask.upstream,
        "model": ask.model[:200],
        "parameters": dict(ask.parameters),
        "exclusive": ask.exclusive,
        "worker": batch.worker,
        "lease_until": batch.lease_until,
        "created_at": now,
        "message": None,
        "conversation": None,
    }
    if not ask.store:
        batch.admission.admitted(ask)
        rows.runs.append(run)
        _remember_key(ask, rows, run_id, now)
        return Accepted(ask=ask, run_id=run_id, created_at=now, recall=ask.recall, starts=starts)

    place, messages = find_place(batch.cursor, ask, batch.prefixes, batch.opened)
    limit = settings.LIMIT_MESSAGES_PER_CONVERSATION
    if limit and place.next_position + len(messages) > limit:
        raise InvalidRequest(f"A conversation holds at most {limit} messages.")
    if place.is_new and not ask.threaded:
        _refuse_when_full(batch.cursor, ask, rows)
    if ask.exclusive and not place.is_new:
        _refuse_while_busy(batch.cursor, ask, place, rows)

    # From here on nothing is refused.
    question_id = place.parent_id
    parent_id = place.parent_id
    digest = place.digest
    for wire in messages:
        digest = digests.follow(digest, wire) if digest else ""
        question_id = uuid7()
        rows.messages.append(_message_row(wire, question_id, place, parent_id, digest, now))
        parent_id = question_id
        place.next_position += 1
    answer_id = uuid7()
    rows.messages.append(
        {
            "id": answer_id,
            "conversation": place.conversation_id,
            "parent": parent_id,
            "position": place.next_position,
            "role": Message.Role.ASSISTANT,
            "content": "",
            "model": ask.model[:200],
            "upstream": ask.upstream[:100],
            "status": Message.Status.IN_PROGRESS,
            "created_at": now,
        }
    )
    place.next_position += 1
    head = {"head": answer_id, "next_position": place.next_position, "updated_at": now}
    if place.is_new and place.conversation_id not in batch.opened:
        rows.conversations.append(
            {
                "id": place.conversation_id,
                "owner": ask.owner_id or ask.principal.user_id,
                "title": ask.title or title_from(messages),
                "end_user": ask.end_user[:200],
                "metadata": dict(ask.metadata),
                "created_at": now,
                **head,
            }
        )
    else:
        rows.heads.append((place.conversation_id, head))
    batch.opened[place.conversation_id] = place
    batch.admission.admitted(ask)
    rows.runs.append({**run, "message": answer_id, "conversation": place.conversation_id})
    _remember_key(ask, rows, run_id, now)
    return Accepted(
        ask=ask,
        run_id=run_id,
        created_at=now,
        conversation_id=place.conversation_id,
        message_id=answer_id,
        question_id=question_id,
        digest_before=digest,
        recall=place.recall if ask.recall is None else ask.recall,
        starts=starts,
    )


def _message_row(
    wire: Wire, pk: uuid.UUID, place: Place, parent_id: uuid.UUID | None, digest: str, now: dt.datetime
) -> dict[str, Any]:
    content, parts = split_wire(wire)
    role = wire["role"]
    if role not in ROLES:  # the upstream's business; as_wire() gives it back
        role, parts = Message.Role.USER, {**(parts or {}), "role": wire["role"]}
    return {
        "id": pk,
        "conversation": place.conversation_id,
        "parent": parent_id,
        "position": place.next_position,
        "role": role,
        "content": content,
        "parts": parts,
        "author": str(wire.get("name") or "")[:200],
        "digest": digest,
        "created_at": now,
    }


def _refuse_when_full(cursor: Any, ask: Ask, rows: _Rows) -> None:
    """Hold an account to its number of conversations. Calls that are threaded make theirs without being asked."""
    limit = settings.LIMIT_CONVERSATIONS_PER_USER
    if not limit:
        return
    owner_id = ask.owner_id or ask.principal.user_id
    cursor.execute(f"SELECT count(*) FROM {table(Conversation)} WHERE owner_id = %s", [key(owner_id)])  # noqa: S608
    held = cursor.fetchone()[0] + sum(row["owner"] == owner_id for row in rows.conversations)
    if held >= limit:
        raise InvalidRequest(f"An account holds at most {limit} conversations.")


def _refuse_while_busy(cursor: Any, ask: Ask, place: Place, rows: _Rows) -> None:
    cursor.execute(
        f"SELECT 1 FROM {table(Run)} WHERE conversation_id = %s AND state = 'running'",  # noqa: S608
        [key(place.conversation_id)],
    )
    in_batch = any(run["conversation"] == place.conversation_id for run in rows.runs)
    if in_batch or cursor.fetchone() is not None:
        raise ConversationBusy


def _known_key(cursor: Any, ask: Ask, rows: _Rows) -> Accepted | None:
    """Return the run that this key already started; raises IdempotencyMismatch for another request."""
    if not ask.idempotency_key:
        return None
    for row in rows.keys:
        if row["user"] == ask.principal.user_id and row["key"] == ask.idempotency_key:
            if row["fingerprint"] != ask.fingerprint:
                raise IdempotencyMismatch
            run = next(run for run in rows.runs if run["id"] == row["run"])
            return Accepted(ask, run["id"], row["created_at"], run["conversation"], run["message"], attached=True)
    cursor.execute(
        f"SELECT k.fingerprint, r.id, r.conversation_id, r.message_id FROM {table(IdempotencyKey)} k "  # noqa: S608
        f"JOIN {table(Run)} r ON r.id = k.run_id WHERE k.user_id = %s AND k.key = %s",
        [key(ask.principal.user_id), ask.idempotency_key],
    )
    row = cursor.fetchone()
    if row is None:
        return None
    fingerprint, run_id, conversation_id, message_id = row
    if fingerprint != ask.fingerprint:
        raise IdempotencyMismatch
    return Accepted(
        ask, read_key(run_id), timezone.now(), _uuid_or_none(conversation_id), _uuid_or_none(message_id), attached=True
    )


def _remember_key(ask: Ask, rows: _Rows, run_id: uuid.UUID, now: dt.datetime) -> None:
    if ask.idempotency_key:
        rows.keys.append(
            {
                "user": ask.principal.user_id,
                "key": ask.idempotency_key,
                "fingerprint": ask.fingerprint,
                "run": run_id,
                "created_at": now,
            }
        )


def _write(cursor: Any, rows: _Rows) -> None:
    with pipelined():
        INSERT_CONVERSATION.execute(cursor, rows.conversations)
        INSERT_MESSAGE.execute(cursor, rows.messages)
        INSERT_RUN.execute(cursor, rows.runs)
        INSERT_KEY.execute(cursor, rows.keys)
        MOVE_HEAD.execute_many(cursor, rows.heads)


def _uuid_or_none(value: Any) -> uuid.UUID | None:
    return None if value is None else read_key(value)
