"""Keeps the index up to date: the database's triggers note what has changed, and this module indexes it.

There are two stages: text is cheap and indexed immediately, even by a search; vectors are made in batches by the
indexer, newest first. Claims on work expire, so another worker takes over the claims of one that was killed. A message
is indexed by the files that it carries, too, once they have been read: their texts are long, so at most one such
message is in a batch.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet

from accounts.access import visible_by_id
from accounts.callers import Principal
from conversations.message_files import carrying_texts
from conversations.models import Message
from search.analysis import terms_of
from search.backends import backend
from search.backends.base import NewEntry, NewPassage
from search.claims import anything_to_claim, claim, release
from search.embedders import Embedder
from search.languages import usual_language
from search.models import PARTITION_SHIFT, Entry, IndexPartition, Passage, PendingMessage
from search.models import Embedder as EmbedderRow
from search.tables import TABLES
from search.turns import Analysed, Turn, analyse, passages_of, turns_of, with_context

TEXT_BATCH = 500
CATCH_UP_BATCH, CATCH_UP_SECONDS = 50, 1.0
# Enough to sort by length. After CLAIM_SECONDS other workers may claim what a killed one had claimed.
SEMANTIC_BATCH = 256
CLAIM_SECONDS = 120.0
RECHECK_BATCH = 2_000


def index_text(pending: QuerySet[PendingMessage] | None = None, *, limit: int = TEXT_BATCH, wait: bool = False) -> int:
    """Index the text of at most `limit` pending messages; returns how many were indexed.

    With `wait` it also waits for those that another worker is indexing, instead of skipping them.
    """
    work = (PendingMessage.objects.all() if pending is None else pending).filter(stage=PendingMessage.Stage.TEXT)
    # Read and analysed before the transaction, which on SQLite takes the one lock for writing.
    found = dict(work.order_by("message_id")[:limit].values_list("message_id", "version"))
    if not found:
        return 0
    carrying = carrying_texts(found)
    if carrying:
        first = min(carrying)
        found = {pk: version for pk, version in found.items() if pk <= first}
        carrying = {first}
    turns = turns_of(list(found), carrying)
    analysed = {turn.id: analyse(turn) for turn in turns if turn.says_anything}
    with transaction.atomic():
        rows = _locked(work.filter(message_id__in=found), wait).order_by("message_id")
        versions = dict(rows.values_list("message_id", "version"))
        # A message that changed meanwhile has another version and stays pending.
        same = {pk for pk, version in versions.items() if version == found[pk]}
        if same:
            _write_text([turn for turn in turns if turn.id in same], analysed)
            done = same & analysed.keys()
            _forget(same - done)
            PendingMessage.objects.filter(message_id__in=done).update(stage=PendingMessage.Stage.SEMANTIC)
    return len(found) if wait else len(versions)


def catch_up(principal: Principal | None, *, limit: int = 2 * TEXT_BATCH) -> None:
    """Index the text of this caller's (None: everybody's) pending messages, so that searches find them immediately.

    A few messages per transaction: a caller who searches after importing thousands must not block other writers. After
    CATCH_UP_SECONDS the rest, files for example, is left to the indexer.
    """
    until = time.monotonic() + CATCH_UP_SECONDS
    pending = PendingMessage.objects.all()
    if principal is not None:
        pending = pending.filter(visible_by_id(principal, "owner_id"))
    for _ in range(0, limit, CATCH_UP_BATCH):
        if not index_text(pending, limit=CATCH_UP_BATCH, wait=True) or time.monotonic() > until:
            break


def index_semantic(embedder: Embedder, *, worker_seconds: float = CLAIM_SECONDS, limit: int = SEMANTIC_BATCH) -> int:
    """Embed at most `limit` messages whose text is indexed; returns how many were embedded."""
    if not anything_to_claim(PendingMessage.Stage.SEMANTIC):
        return 0
    claimed = claim(PendingMessage.Stage.SEMANTIC, limit, worker_seconds)
    if not claimed:
        return 0
    carrying = carrying_texts(claimed)
    if later := carrying - {max(carrying, default=None)}:
        release(list(later))
        claimed = {pk: version for pk, version in claimed.items() if pk not in later}
    turns = turns_of(list(claimed), carrying - later)
    by_message = {turn.id: passages_of(turn, context, embedder.passage_tokens) for turn, context in with_context(turns)}
    texts = [passage.text for found in by_message.values() for passage in found]
    try:
        vectors = embedder.embed_passages(texts) if texts else np.zeros((0, embedder.dimensions), "f4")
    except BaseException:
        release(list(claimed))
        raise
    number = embedder_number(embedder)
    with transaction.atomic():
        # Only messages that were not changed or deleted meanwhile; the triggers noted the others again.
        kept = _finish(claimed)
        entries = dict(Entry.objects.filter(message_id__in=kept).values_list("message_id", "id"))
        _drop_passages(entries.values())
        fresh, at = [], 0
        for pk, found in by_message.items():
            for passage in found:
                if pk in entries:
                    entry = entries[pk]
                    place = (entry, entry >> PARTITION_SHIFT, number, passage.start, passage.end)
                    fresh.append(NewPassage(*place, vectors[at]))
                at += 1
        backend().write_passages(fresh)
    return len(claimed)


def embedder_number(embedder: Embedder) -> int:
    """Return the id under which this embedder's vectors are stored."""
    row = EmbedderRow.objects.filter(name=embedder.name).first()
    if row is None:
        row, created = EmbedderRow.objects.get_or_create(
            name=embedder.name, defaults={"dimensions": embedder.dimensions}
        )
        if created:
            backend().fit(embedder.dimensions)
    return row.pk


def forget_gone() -> None:
    """Remove deleted messages from the index: those deleted while there was no trigger."""
    # With Exists, here and below: for NOT IN with a long list PostgreSQL would read the whole list for each row.
    exists = Exists(Message.objects.filter(pk=OuterRef("message_id")))
    _delete_entries(list(Entry.objects.filter(~exists).values_list("id", flat=True)))
    PendingMessage.objects.filter(~exists).delete()


def note_missing() -> int:
    """Note messages that are neither indexed nor pending; returns how many. Reads all messages once."""
    return _note(
        f"NOT EXISTS (SELECT 1 FROM {TABLES.entry} entry WHERE entry.message_id = message.id) "  # noqa: S608
        "ON CONFLICT (message_id) DO NOTHING"
    )


def note_everything() -> None:
    """Note every message for both stages; until they are done, searches use the index as it is."""
    _note(f"true ON CONFLICT (message_id) DO UPDATE SET stage = 0, version = {TABLES.pending}.version + 1")


# Messages with text, and those that only carry files. Not in one statement: PostgreSQL does not join for an OR.
SOURCES = (
    "message.content <> ''",
    f"message.content = '' AND message.id IN (SELECT message_id FROM {TABLES.part} WHERE file_id IS NOT NULL)",  # noqa: S608
)


def _note(which: str) -> int:
    noted = 0
    with connection.cursor() as cursor:
        for source in SOURCES:
            cursor.execute(
                f"INSERT INTO {TABLES.pending} (message_id, owner_id, stage, version, claimed_until) "  # noqa: S608
                f"SELECT message.id, conversation.owner_id, 0, 0, 0 FROM {TABLES.message} message "
                f"JOIN {TABLES.conversation} conversation ON conversation.id = message.conversation_id "
                f"WHERE {source} AND {which}"
            )
            noted += int(cursor.rowcount)
    return noted


def note_outdated(embedder: Embedder, *, limit: int = RECHECK_BATCH) -> int:
    """Note messages without passages of this embedder; returns how many. Call it when nothing is pending.

    Searches use the old vectors until the new ones are there.
    """
    number = embedder_number(embedder)
    others = EmbedderRow.objects.exclude(pk=number)
    old = Passage.objects.filter(embedder_id__in=list(others.values_list("pk", flat=True)))
    entries = set(old.values_list("entry_id", flat=True)[:limit])
    if not entries:
        others.delete()  # no vectors of these embedders are left
        embedded = Exists(Passage.objects.filter(entry_id=OuterRef("pk")))
        entries = set(Entry.objects.filter(~embedded).values_list("pk", flat=True)[:limit])
    messages = Entry.objects.filter(pk__in=entries).values_list("message_id", flat=True)
    owners = Message.objects.filter(pk__in=list(messages)).values_list("id", "conversation__owner_id")
    PendingMessage.objects.bulk_create(
        [
            PendingMessage(message_id=pk, owner_id=owner, stage=PendingMessage.Stage.SEMANTIC)
            for pk, owner in owners.order_by("id")
        ],
        ignore_conflicts=True,
    )
    return len(entries)


def _locked(work: QuerySet[PendingMessage], wait: bool) -> QuerySet[PendingMessage]:
    if not connection.features.has_select_for_update:
        return work
    return work.select_for_update() if wait else work.select_for_update(skip_locked=True)


def rewrite_terms(partition: IndexPartition, entries: Sequence[Entry]) -> str:
    """Make the terms of entries anew, of one locked partition; returns which languages it has then.

    Messages that carry files take long, and are noted as if they had changed.
    """
    turns = turns_of([entry.message_id for entry in entries])
    carrying = carrying_texts([turn.id for turn in turns])
    _note_again([turn for turn in turns if turn.id in carrying])
    analysed = {turn.id: analyse(turn) for turn in turns if turn.id not in carrying}
    rows = []
    for entry in entries:
        if (found := analysed.get(entry.message_id)) is not None:  # otherwise it was noted, or deleted meanwhile
            terms = terms_of(partition.pk, found.stems)
            rows.append(NewEntry(entry.pk, entry.message_id, entry.previous_1, entry.previous_2, found.length, terms))
    if rows:
        backend().write_entries(rows)
    return _languages(partition.languages, analysed.values())


def _languages(known: str, analysed: Iterable[Analysed]) -> str:
    return " ".join(sorted({*known.split()}.union(*(each.languages for each in analysed)) - {usual_language()}))


def _note_again(turns: Sequence[Turn]) -> None:
    noted = PendingMessage.objects.filter(message_id__in=[turn.id for turn in turns])
    noted.update(stage=PendingMessage.Stage.TEXT, version=F("version") + 1, claimed_until=0)
    fresh = [PendingMessage(message_id=turn.id, owner_id=turn.row["conversation__owner_id"]) for turn in turns]
    PendingMessage.objects.bulk_create(fresh, ignore_conflicts=True)


def _write_text(turns: Sequence[Turn], analysed: dict[uuid.UUID, Analysed]) -> None:
    """Write the entries of these turns, and link the turns after them that are indexed already."""
    written = [turn for turn in turns if turn.id in analysed]
    if not written:
        return
    partitions = _partitions(written)
    # One worker per partition at a time: two workers with neighbouring turns would neither see nor link each other's.
    # Locked in one order, so that they cannot deadlock.
    locked = IndexPartition.objects.select_for_update().filter(pk__in=set(partitions.values()))
    for pk, known in list(locked.order_by("pk").values_list("pk", "languages")):
        languages = _languages(known, (analysed[turn.id] for turn in written if partitions[turn.id] == pk))
        if languages != known:
            IndexPartition.objects.filter(pk=pk).update(languages=languages)
    named = {pk for turn in written for pk in (turn.id, *turn.previous)}
    numbers = dict(Entry.objects.filter(message_id__in=named).values_list("message_id", "id"))
    moved = []
    for turn in written:
        partition = partitions[turn.id]
        if turn.id in numbers and numbers[turn.id] >> PARTITION_SHIFT != partition:
            moved.append(numbers.pop(turn.id))
    if moved:
        _delete_entries(moved)
    for turn, number in _allocate([turn for turn in written if turn.id not in numbers], partitions):
        numbers[turn.id] = number
    entries = []
    for turn in written:
        found = analysed[turn.id]
        previous_1, previous_2, *_ = [*(numbers.get(pk) for pk in turn.previous), None, None]
        terms = terms_of(partitions[turn.id], found.stems)
        entries.append(NewEntry(numbers[turn.id], turn.id, previous_1, previous_2, found.length, terms))
    backend().write_entries(entries)
    _link_later_turns({turn.id: numbers[turn.id] for turn in written})


def _link_later_turns(numbers: dict[uuid.UUID, int]) -> None:
    """Link turns that are already indexed to earlier turns that were indexed only now."""
    for column, path in (("previous_1", "parent_id"), ("previous_2", "parent__parent_id")):
        # Entries of this batch are linked already.
        turns = Message.objects.filter(**{f"{path}__in": numbers}).exclude(pk__in=numbers)
        later = dict(turns.values_list("id", path))
        for pk, message_id, known in Entry.objects.filter(message_id__in=later).values_list("id", "message_id", column):
            right = numbers[later[message_id]]
            if known != right:  # rare: the older message is usually indexed first
                Entry.objects.filter(pk=pk).update(**{column: right})


def _partitions(turns: Sequence[Turn]) -> dict[uuid.UUID, int]:
    """Return the partition of each turn: that of its owner, or the one that all guests share."""
    found: dict[uuid.UUID | None, int] = {}
    partitions = {}
    for turn in turns:
        owner = None if turn.row["conversation__owner__guest_made"] else turn.row["conversation__owner_id"]
        if owner not in found:
            # Nulls do not conflict in a unique column, so guests could have two partitions; then the first one is used.
            partition = IndexPartition.objects.filter(owner_id=owner).order_by("id").first()
            found[owner] = (partition or IndexPartition.objects.get_or_create(owner_id=owner)[0]).pk
        partitions[turn.id] = found[owner]
    return partitions


def _allocate(turns: Sequence[Turn], partitions: dict[uuid.UUID, int]) -> list[tuple[Turn, int]]:
    numbered = []
    by_partition: dict[int, list[Turn]] = {}
    for turn in turns:
        by_partition.setdefault(partitions[turn.id], []).append(turn)
    for partition in sorted(by_partition):  # in one order, so that two workers cannot deadlock
        fresh = by_partition[partition]
        IndexPartition.objects.filter(pk=partition).update(next_seq=F("next_seq") + len(fresh))
        end = IndexPartition.objects.values_list("next_seq", flat=True).get(pk=partition)
        first = end - len(fresh)
        numbered += [(turn, partition << PARTITION_SHIFT | first + at) for at, turn in enumerate(fresh)]
    return numbered


def _forget(ids: set[uuid.UUID]) -> None:
    """Remove messages that have become empty from the index and from the pending ones."""
    if ids:
        _delete_entries(list(Entry.objects.filter(message_id__in=ids).values_list("id", flat=True)))
        PendingMessage.objects.filter(message_id__in=ids).delete()


def _delete_entries(entries: Sequence[int]) -> None:
    _drop_passages(entries)
    Entry.objects.filter(pk__in=list(entries)).delete()


def _drop_passages(entries: Any) -> None:
    gone = Passage.objects.filter(entry_id__in=list(entries))
    partitions = set(gone.values_list("partition_id", flat=True))
    if partitions:
        gone.delete()
        IndexPartition.objects.filter(pk__in=partitions).update(version=F("version") + 1)


def _finish(claimed: dict[uuid.UUID, int]) -> set[uuid.UUID]:
    """Delete these pending messages unless they changed since they were claimed; returns the deleted ones."""
    work = PendingMessage.objects.filter(message_id__in=claimed, stage=PendingMessage.Stage.SEMANTIC)
    same = {
        pk
        for pk, version in _locked(work, True).order_by("message_id").values_list("message_id", "version")
        if claimed[pk] == version
    }
    PendingMessage.objects.filter(message_id__in=same).delete()
    return same


def all_text_is_indexed() -> bool:
    return not PendingMessage.objects.filter(stage=PendingMessage.Stage.TEXT).exists()
