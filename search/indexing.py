"""Keeping the index true: what changed is noted by the database itself, here it is worked off.

Two stages. Text is cheap and done at once, by whoever searches too; meaning is done in batches by the
indexer, newest first. Work is claimed, not taken: what a killed worker had, another one gets.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from accounts.models import User
from accounts.principal import Principal
from conversations.models import Message
from search.analysis import stems, terms_of
from search.backends import backend
from search.backends.base import NewEntry, NewPassage
from search.claims import anything_to_claim, claim, give_back
from search.embedders import Embedder
from search.models import SPACE_BITS, Entry, Passage, PendingMessage, Space
from search.models import Embedder as EmbedderRow
from search.passages import Said, indexed_text, passages

TEXT_BATCH = 500
# Enough to sort by length; what a killed worker had claimed is free again after CLAIM_SECONDS.
MEANING_BATCH = 256
CLAIM_SECONDS = 120.0
RECHECK_BATCH = 2_000
FIELDS = (
    *("id", "content", "author", "role", "created_at", "parent_id"),
    *("conversation__title", "conversation__owner_id", "conversation__owner__guest_made"),
)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A message as it is stored, with the ids of the up to two turns before it, nearest first."""

    row: dict[str, Any]
    before: tuple[uuid.UUID, ...]

    @property
    def id(self) -> uuid.UUID:
        return self.row["id"]


def index_text(pending: QuerySet[PendingMessage] | None = None, *, most: int = TEXT_BATCH, wait: bool = False) -> int:
    """Bring the text index up to date with at most so many changed messages; returns how many it did.

    `wait` waits for what another worker is just doing instead of leaving it to that one.
    """
    work = (PendingMessage.objects.all() if pending is None else pending).filter(stage=PendingMessage.Stage.TEXT)
    # Asked first: on SQLite a transaction takes the one lock for writing, and mostly there is nothing to do.
    if not work.exists():
        return 0
    with transaction.atomic():
        rows = list(_locked(work, wait).order_by("message_id")[:most].values_list("message_id", "version"))
        if rows:
            ids = [pk for pk, _ in rows]
            turns = _turns(ids)
            _write_text(turns)
            done = {turn.id for turn in turns if turn.row["content"]}
            _forget(set(ids) - done)
            PendingMessage.objects.filter(message_id__in=done).update(stage=PendingMessage.Stage.MEANING)
    return len(rows)


def catch_up(principal: Principal | None, *, most: int = 2 * TEXT_BATCH) -> None:
    """Index the text of what this caller (None: everybody) said a moment ago: words are found without the indexer."""
    pending = PendingMessage.objects.all()
    if principal is not None and principal.is_guest:
        pending = pending.filter(owner_id__in=User.objects.filter(guest_made=True).values("id"))
    elif principal is not None:
        pending = pending.filter(owner_id=principal.user_id)
    index_text(pending, most=most, wait=True)


def index_meaning(embedder: Embedder, *, worker_seconds: float = CLAIM_SECONDS, most: int = MEANING_BATCH) -> int:
    """Embed at most so many messages whose text is indexed; returns how many it did, 0 when there is nothing."""
    if not anything_to_claim(PendingMessage.Stage.MEANING):
        return 0
    claimed = claim(PendingMessage.Stage.MEANING, most, worker_seconds)
    if not claimed:
        return 0
    turns = _turns(list(claimed))
    said = {turn.id: _passages_of(turn, context, embedder.tokens) for turn, context in _with_context(turns)}
    texts = [passage.text for found in said.values() for passage in found]
    try:
        vectors = embedder.embed(texts) if texts else np.zeros((0, embedder.dimensions), "f4")
    except BaseException:
        give_back(list(claimed))
        raise
    number = embedder_number(embedder)
    with transaction.atomic():
        # Only what nobody changed or deleted in the meantime; the rest is noted anew already.
        kept = _finish(claimed)
        entries = dict(Entry.objects.filter(message_id__in=kept).values_list("message_id", "id"))
        _drop_passages(entries.values())
        fresh, at = [], 0
        for pk, found in said.items():
            for passage in found:
                if pk in entries:
                    entry = entries[pk]
                    place = (entry, entry >> SPACE_BITS, number, passage.start, passage.end)
                    fresh.append(NewPassage(*place, vectors[at]))
                at += 1
        backend().write_passages(fresh)
    return len(claimed)


def embedder_number(embedder: Embedder) -> int:
    """Return the number under which this embedder's vectors are stored."""
    row = EmbedderRow.objects.filter(name=embedder.name).first()
    if row is None:
        row, created = EmbedderRow.objects.get_or_create(
            name=embedder.name, defaults={"dimensions": embedder.dimensions}
        )
        if created:
            backend().fit(embedder.dimensions)
    return row.pk


def forget_gone() -> None:
    """Drop what is in the index of messages that are there no more: deleted while no trigger watched."""
    # By Exists, here and below: PostgreSQL would go through the whole of a long list for each row that is not IN it.
    said = Exists(Message.objects.filter(pk=OuterRef("message_id")))
    _delete_entries(list(Entry.objects.filter(~said).values_list("id", flat=True)))
    PendingMessage.objects.filter(~said).delete()


def note_missing() -> int:
    """Note messages that are in no index and in no list of work; returns how many. Reads everything once."""
    return _note(
        "NOT EXISTS (SELECT 1 FROM search_entry entry WHERE entry.message_id = said.id) "
        "ON CONFLICT (message_id) DO NOTHING"
    )


def note_everything() -> None:
    """Note every message that is indexed, for its text and its meaning; what is there answers until it is done."""
    _note("true ON CONFLICT (message_id) DO UPDATE SET stage = 0, version = search_pendingmessage.version + 1")


def _note(which: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO search_pendingmessage (message_id, owner_id, stage, version, claimed_until) "  # noqa: S608
            "SELECT said.id, talk.owner_id, 0, 0, 0 FROM conversations_message said "
            "JOIN conversations_conversation talk ON talk.id = said.conversation_id "
            f"WHERE said.content <> '' AND {which}"
        )
        return int(cursor.rowcount)


def note_outdated(embedder: Embedder, *, most: int = RECHECK_BATCH) -> int:
    """Note messages whose passages are another embedder's, or missing; returns how many. For when nothing is pending.

    The old vectors stay, and answer, until the new ones are there.
    """
    number = embedder_number(embedder)
    others = EmbedderRow.objects.exclude(pk=number)
    old = Passage.objects.filter(embedder_id__in=list(others.values_list("pk", flat=True)))
    entries = set(old.values_list("entry_id", flat=True)[:most])
    if not entries:
        others.delete()  # nothing of theirs is left
        embedded = Exists(Passage.objects.filter(entry_id=OuterRef("pk")))
        entries = set(Entry.objects.filter(~embedded).values_list("pk", flat=True)[:most])
    messages = Entry.objects.filter(pk__in=entries).values_list("message_id", flat=True)
    owners = Message.objects.filter(pk__in=list(messages)).values_list("id", "conversation__owner_id")
    PendingMessage.objects.bulk_create(
        [
            PendingMessage(message_id=pk, owner_id=owner, stage=PendingMessage.Stage.MEANING)
            for pk, owner in owners.order_by("id")
        ],
        ignore_conflicts=True,
    )
    return len(entries)


def _locked(work: QuerySet[PendingMessage], wait: bool) -> QuerySet[PendingMessage]:
    if not connection.features.has_select_for_update:
        return work
    return work.select_for_update() if wait else work.select_for_update(skip_locked=True)


def _turns(ids: Sequence[uuid.UUID]) -> list[_Turn]:
    rows = Message.objects.filter(pk__in=ids).order_by("id").values(*FIELDS)
    rows = list(rows)
    parents = dict(
        Message.objects.filter(pk__in={row["parent_id"] for row in rows} - {None}).values_list("id", "parent_id")
    )
    turns = []
    for row in rows:
        parent = row["parent_id"]
        grandparent = parents.get(parent)
        turns.append(_Turn(row, tuple(pk for pk in (parent, grandparent) if pk is not None)))
    return turns


def _said(row: dict[str, Any]) -> Said:
    return Said(row["author"] or row["role"], row["content"])


def _with_context(turns: Sequence[_Turn]) -> list[tuple[_Turn, tuple[Said, ...]]]:
    wanted = {pk for turn in turns for pk in turn.before}
    rows = {row["id"]: row for row in Message.objects.filter(pk__in=wanted).values("id", "content", "author", "role")}
    return [
        (turn, tuple(_said(rows[pk]) for pk in turn.before if pk in rows and rows[pk]["content"])) for turn in turns
    ]


def _passages_of(turn: _Turn, context: tuple[Said, ...], tokens: int) -> list:
    row = turn.row
    return passages(_said(row), row["created_at"], context, row["conversation__title"], tokens=tokens)


def _write_text(turns: Sequence[_Turn]) -> None:
    """Write the entries of these turns, and the links of the turns after them that were there before."""
    written = [turn for turn in turns if turn.row["content"]]
    if not written:
        return
    spaces = _spaces(written)
    # One worker in a space at a time, in one order: two that each had a turn of a pair would not see the other's.
    list(Space.objects.select_for_update().filter(pk__in=set(spaces.values())).order_by("pk").values_list("pk"))
    named = {pk for turn in written for pk in (turn.id, *turn.before)}
    numbers = dict(Entry.objects.filter(message_id__in=named).values_list("message_id", "id"))
    moved = []
    for turn in written:
        space = spaces[turn.id]
        if turn.id in numbers and numbers[turn.id] >> SPACE_BITS != space:
            moved.append(numbers.pop(turn.id))
    if moved:
        _delete_entries(moved)
    for turn, number in _allocate([turn for turn in written if turn.id not in numbers], spaces):
        numbers[turn.id] = number
    entries = []
    for turn in written:
        row = turn.row
        # The title counts where fewer than two turns stand before: how many there are says their number here.
        text = indexed_text(_said(row), row["created_at"], (_said(row),) * len(turn.before), row["conversation__title"])
        said = stems(text)
        before = [numbers.get(pk) for pk in turn.before] + [None, None]
        terms = terms_of(spaces[turn.id], said)
        entries.append(NewEntry(numbers[turn.id], turn.id, before[0], before[1], len(said), terms))
    backend().write_entries(entries)
    _link_later_turns({turn.id: numbers[turn.id] for turn in written})


def _link_later_turns(numbers: dict[uuid.UUID, int]) -> None:
    """Link turns that were indexed before what they follow."""
    for column, path in (("before", "parent_id"), ("before_that", "parent__parent_id")):
        later = dict(Message.objects.filter(**{f"{path}__in": numbers}).values_list("id", path))
        for pk, message_id, known in Entry.objects.filter(message_id__in=later).values_list("id", "message_id", column):
            right = numbers[later[message_id]]
            if known != right:  # seldom: what is said first is mostly indexed first
                Entry.objects.filter(pk=pk).update(**{column: right})


def _spaces(turns: Sequence[_Turn]) -> dict[uuid.UUID, int]:
    """Return the space of each turn: its owner's, or the one of everything that guests made."""
    found: dict[uuid.UUID | None, int] = {}
    spaces = {}
    for turn in turns:
        owner = None if turn.row["conversation__owner__guest_made"] else turn.row["conversation__owner_id"]
        if owner not in found:
            # Two nulls are no conflict to a database: guests' space is asked for under the others' lock.
            space = Space.objects.filter(owner_id=owner).order_by("id").first()
            found[owner] = (space or Space.objects.get_or_create(owner_id=owner)[0]).pk
        spaces[turn.id] = found[owner]
    return spaces


def _allocate(turns: Sequence[_Turn], spaces: dict[uuid.UUID, int]) -> list[tuple[_Turn, int]]:
    numbered = []
    by_space: dict[int, list[_Turn]] = {}
    for turn in turns:
        by_space.setdefault(spaces[turn.id], []).append(turn)
    for space in sorted(by_space):  # in one order, so that two workers never wait for each other
        fresh = by_space[space]
        Space.objects.filter(pk=space).update(next_seq=F("next_seq") + len(fresh))
        end = Space.objects.values_list("next_seq", flat=True).get(pk=space)
        first = end - len(fresh)
        numbered += [(turn, space << SPACE_BITS | first + at) for at, turn in enumerate(fresh)]
    return numbered


def _forget(ids: set[uuid.UUID]) -> None:
    """Drop what says nothing any more from both halves, and from the list of work."""
    if ids:
        _delete_entries(list(Entry.objects.filter(message_id__in=ids).values_list("id", flat=True)))
        PendingMessage.objects.filter(message_id__in=ids).delete()


def _delete_entries(entries: Sequence[int]) -> None:
    _drop_passages(entries)
    Entry.objects.filter(pk__in=list(entries)).delete()


def _drop_passages(entries: Any) -> None:
    gone = Passage.objects.filter(entry_id__in=list(entries))
    spaces = set(gone.values_list("space_id", flat=True))
    if spaces:
        gone.delete()
        Space.objects.filter(pk__in=spaces).update(version=F("version") + 1)


def _finish(claimed: dict[uuid.UUID, int]) -> set[uuid.UUID]:
    """Take these off the list, as they were claimed; returns those that were still so."""
    work = PendingMessage.objects.filter(message_id__in=claimed, stage=PendingMessage.Stage.MEANING)
    same = {
        pk
        for pk, version in _locked(work, True).order_by("message_id").values_list("message_id", "version")
        if claimed[pk] == version
    }
    PendingMessage.objects.filter(message_id__in=same).delete()
    return same


def all_text_is_indexed() -> bool:
    return not PendingMessage.objects.filter(stage=PendingMessage.Stage.TEXT).exists()
