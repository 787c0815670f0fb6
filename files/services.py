"""Every write to files: keyword-only. Callers look files up by `File.objects.visible_to`.

Content is written and deleted outside of transactions, because a storage may be slow and SQLite has one writer. So a
`ContentChange` is committed first, and as long as any exists for some content, nobody else deletes that content: the
last one to finish decides, under the lock of the account, whether a file needs it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from mimetypes import guess_extension
from typing import IO

from django.conf import settings
from django.core.files.base import File as Content
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from files import storage
from files.exceptions import ContentMissing, EmptyFile, FilesFull, FileTooLarge
from files.media_types import HEAD_BYTES, media_type_of
from files.models import LONG_AGO, ContentChange, File, FileText, stored_name
from files.texts import want_texts

logger = logging.getLogger(__name__)

Changes = list[ContentChange]
CHUNK_BYTES = 262_144
BATCH = 100


def store_file(
    *,
    owner_id: uuid.UUID,
    content: Content[bytes],
    name: str,
    purpose: str,
    expires_after: dt.timedelta | None = None,
) -> File:
    """Store a file, whose content is read twice, a chunk at a time: for its digest, and to write it.

    Content that the owner has stored already is not written again. Raises FileRefused, User.DoesNotExist for an erased
    owner, and StorageLost. Call it outside of a transaction.
    """
    sha256, size, media_type = _read(content)
    change = _begin_change(owner_id, sha256, size)
    try:
        _write(owner_id, sha256, content)
        now = timezone.now()
        file = File(
            owner_id=owner_id,
            sha256=sha256,
            size=size,
            media_type=media_type,
            name=_storable(name),
            purpose=purpose,
            created_at=now,
            expires_at=now + expires_after if expires_after else None,
        )
        _finish_upload(file, change)
    except BaseException:
        finish_change(change)
        raise
    return file


def keep_contents(*, owner_id: uuid.UUID, contents: Sequence[tuple[str, Content[bytes]]]) -> tuple[list[File], Changes]:
    """Return the files for named contents that came inside of messages, stored unless the owner has them already.

    Until `finish_changes` is called, they stay although no message refers to them yet. Raises what `store_file` raises.
    """
    read = [_read(content) for _, content in contents]
    keys = [_key_of_content(owner_id, sha256) for sha256, *_ in read]
    with transaction.atomic():
        _lock_account(owner_id)
        changes = ContentChange.objects.bulk_create(
            ContentChange(owner_id=owner_id, sha256=sha256) for sha256, _, _ in read
        )
        found = File.objects.in_bulk(keys)
    try:
        given = zip(keys, contents, read, strict=True)
        new = [(_from_message(key, owner_id, *facts, name), content) for key, (name, content), facts in given]
        new = [(file, content) for file, content in new if file.pk not in found]
        if new:
            _check_room(owner_id, {file.sha256: file.size for file, _ in new})
            for file, content in new:
                _write(owner_id, file.sha256, content)
            found |= _add(owner_id, [file for file, _ in new])
    except BaseException:
        finish_changes(changes)
        raise
    return [found[key] for key in keys], changes


def _from_message(key: uuid.UUID, owner_id: uuid.UUID, sha256: str, size: int, media_type: str, name: str) -> File:
    is_picture = media_type.startswith("image/")
    return File(
        pk=key,
        owner_id=owner_id,
        sha256=sha256,
        size=size,
        media_type=media_type,
        name=_storable(name) or f"{'picture' if is_picture else 'file'}{guess_extension(media_type) or ''}",
        purpose=File.Purpose.VISION if is_picture else File.Purpose.USER_DATA,
        from_message=True,
    )


def _key_of_content(owner_id: uuid.UUID, sha256: str) -> uuid.UUID:
    """Return the key of an owner's file with this content: the same picture always gets the same reference."""
    return uuid.uuid5(owner_id, sha256)


def open_file(*, file: File) -> IO[bytes]:
    """Return the content, opened for reading; raises ContentMissing."""
    try:
        return storage.storage().open(file.stored_name, "rb")
    except FileNotFoundError as error:
        logger.error("the content of file %s is missing in the storage", file.pk)
        raise ContentMissing from error


def delete_file(*, file: File) -> bool:
    """Delete a file, and its content once no other file needs it; returns whether it was still there."""
    with transaction.atomic():
        _lock_account(file.owner_id)
        if not File.objects.filter(pk=file.pk).delete()[0]:
            return False
        if not File.objects.with_content(file.owner_id, file.sha256).exists():
            note_unneeded(file.owner_id, file.sha256)
    return True


def note_unneeded(owner_id: uuid.UUID, *digests: str) -> None:
    """Delete contents after this transaction, unless a file needs them by then."""
    changes = ContentChange.objects.bulk_create(ContentChange(owner_id=owner_id, sha256=each) for each in digests)
    transaction.on_commit(partial(finish_changes, changes))


def prune_expired() -> int:
    """Delete the files that have expired; returns how many."""
    pruned = 0
    while files := list(File.objects.expired()[:BATCH]):
        pruned += sum(delete_file(file=file) for file in files)
    return pruned


def finish_abandoned() -> int:
    """Finish the uploads and deletions of processes that died an hour ago; returns how many."""
    finished, last = 0, uuid.UUID(int=0)
    abandoned = ContentChange.objects.abandoned().order_by("pk")
    while changes := list(abandoned.filter(pk__gt=last)[:BATCH]):
        for change in changes:  # one that cannot be finished now does not keep the others waiting
            finish_change(change)
        finished, last = finished + len(changes), changes[-1].pk
    return finished + storage.delete_abandoned_drafts()


def finish_change(change: ContentChange) -> None:
    finish_changes([change])


def finish_changes(changes: Sequence[ContentChange]) -> None:
    """Delete the content, of one owner, that no file and no other change needs. A failure is left to the sweep."""
    if not changes:
        return
    owner_id, finished = changes[0].owner_id, {change.pk for change in changes}
    try:
        with transaction.atomic():
            _lock_account(owner_id, erased_too=True)
            of_contents = ContentChange.objects.filter(
                owner_id=owner_id, sha256__in={change.sha256 for change in changes}
            )
            # Locked as well, because nothing else serializes the changes of an account that was erased.
            noted = list(of_contents.order_by("pk").select_for_update().values_list("pk", "sha256"))
            busy = {sha256 for pk, sha256 in noted if pk not in finished}
            free = {change.sha256 for change in changes} - busy
            mine = File.objects.filter(owner_id=owner_id, sha256__in=free)
            mine.unused().delete()
            unneeded = free - set(mine.values_list("sha256", flat=True))
            FileText.objects.filter(owner=owner_id, sha256__in=unneeded).delete()
            of_mine = ContentChange.objects.filter(pk__in=finished)
            if unneeded and ContentChange.objects.holds().exists():
                # A backup copies contents at the moment: what is left here is deleted after it (holds.py).
                of_mine.filter(sha256__in=unneeded).update(created_at=LONG_AGO)
                of_mine = of_mine.exclude(sha256__in=unneeded)
            else:
                for sha256 in unneeded:
                    storage.storage().delete(stored_name(owner_id, sha256))
            of_mine.delete()
    except Exception as error:  # storages raise errors of their own
        logger.warning("content could not be deleted (%s): a sweep tries again", type(error).__name__)


def _read(content: Content[bytes]) -> tuple[str, int, str]:
    """Return digest, size and media type; raises FileRefused."""
    limit = settings.LIMIT_FILE_BYTES
    digest, size, head = hashlib.sha256(), 0, b""
    content.seek(0)
    while chunk := content.read(CHUNK_BYTES):
        size += len(chunk)
        if limit and size > limit:
            raise FileTooLarge(limit)
        digest.update(chunk)
        if len(head) < HEAD_BYTES:
            head += chunk[: HEAD_BYTES - len(head)]
    if not size:
        raise EmptyFile
    return digest.hexdigest(), size, media_type_of(head)


def _storable(name: str) -> str:
    return name.replace("\x00", "")[:255]


def _write(owner_id: uuid.UUID, sha256: str, content: Content[bytes]) -> None:
    if not File.objects.with_content(owner_id, sha256).exists():
        storage.save(stored_name(owner_id, sha256), content)


@transaction.atomic
def _begin_change(owner_id: uuid.UUID, sha256: str, size: int) -> ContentChange:
    _lock_account(owner_id)
    _check_room(owner_id, {sha256: size})
    return ContentChange.objects.create(owner_id=owner_id, sha256=sha256)


@transaction.atomic
def _finish_upload(file: File, change: ContentChange) -> None:
    _lock_account(file.owner_id)
    # Again: other uploads were written at the same time, and they have all been counted under this lock.
    _check_room(file.owner_id, {file.sha256: file.size})
    if not ContentChange.objects.filter(pk=change.pk).delete()[0]:
        raise storage.StorageLost("The upload took so long that it was taken for abandoned.")
    file.save(force_insert=True)
    want_texts([file])


@transaction.atomic
def _add(owner_id: uuid.UUID, files: Sequence[File]) -> dict[uuid.UUID, File]:
    """Add files that came inside of messages; return them by key, also those that another request added meanwhile."""
    _lock_account(owner_id)
    added = File.objects.in_bulk([file.pk for file in files])
    new = [file for file in files if file.pk not in added]
    _check_room(owner_id, {file.sha256: file.size for file in new})
    File.objects.bulk_create(new)
    want_texts(new)
    return added | {file.pk: file for file in new}


def _lock_account(owner_id: uuid.UUID, *, erased_too: bool = False) -> None:
    """Lock the account and the one whose limits it shares; raises User.DoesNotExist if it was erased."""
    counted = User.objects.filter(pk=owner_id).values_list("limits_owner_id", flat=True).first()
    accounts = User.objects.filter(pk__in=[pk for pk in (owner_id, counted) if pk]).order_by("pk")
    locked = list(accounts.select_for_update(no_key=True).values_list("pk", flat=True))
    if owner_id not in locked and not erased_too:
        raise User.DoesNotExist


def _check_room(owner_id: uuid.UUID, sizes: Mapping[str, int]) -> None:
    """Raise FilesFull if the account may not store files with these contents, sizes by digest.

    What is decided holds only while the account is locked.
    """
    held = File.objects.sharing_limits(owner_id)
    limit = settings.LIMIT_FILES_PER_USER
    if limit and held.count() + len(sizes) > limit:
        raise FilesFull(f"An account holds at most {limit} files (LIMIT_FILES_PER_USER).")
    limit = settings.LIMIT_FILES_PER_USER_BYTES
    there = File.objects.filter(owner_id=owner_id, sha256__in=sizes).values_list("sha256", flat=True)
    size = sum(sizes[sha256] for sha256 in sizes.keys() - set(there)) if limit else 0
    if size and (stored := held.stored_bytes()) + size > limit:
        raise FilesFull(
            f"This account's files hold {stored} of at most {limit} bytes (LIMIT_FILES_PER_USER_BYTES); "
            f"this one has {size}."
        )
