"""Registers the owners of this app's rows, exports content, and deletes it together with an account."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterator
from typing import Any

from django.dispatch import receiver

from accounts.erasing import HOLDINGS
from accounts.erasure import anonymize_admin_log
from accounts.personal_data import register
from accounts.signals import account_anonymizing, account_deleted, account_deleting, account_emptying
from files.exceptions import ContentMissing
from files.models import File, FileText, folder_of
from files.services import delete_file, note_unneeded, open_file
from files.storage import delete_folder

SLICE = 100
PIECE_BYTES = 49_152  # a multiple of three: the pieces of base64 can be joined as they are


def content_of(file: File) -> Iterator[dict[str, Any]]:
    """Yield the content of a file in pieces."""
    try:
        content = open_file(file=file)
    except ContentMissing:
        return
    with content:
        offset = 0
        while piece := content.read(PIECE_BYTES):
            yield {"id": str(file.pk), "offset": offset, "base64": base64.b64encode(piece).decode("ascii")}
            offset += len(piece)


register(File, owner="owner", content=content_of)
register(FileText, owner="owner")


HOLDINGS.append(lambda user_id: File.objects.filter(owner=user_id).count())


@receiver(account_anonymizing)
def anonymize_log(sender: Any, user_id: uuid.UUID, **kwargs: Any) -> None:
    anonymize_admin_log("files", File.objects.filter(owner=user_id).values_list("pk", flat=True))


@receiver(account_emptying)
def delete_files(sender: Any, user_id: uuid.UUID, until: float, **kwargs: Any) -> bool:
    mine = File.objects.filter(owner=user_id)
    while files := list(mine[:SLICE]):
        for file in files:
            delete_file(file=file)
            if time.monotonic() > until:
                return True
    return False


@receiver(account_deleting)
def note_later_files(sender: Any, user_id: uuid.UUID, **kwargs: Any) -> None:
    """Delete the content of files that were stored meanwhile once their rows are gone."""
    later = File.objects.filter(owner=user_id).order_by().values_list("sha256", flat=True).distinct()
    for sha256 in list(later):
        note_unneeded(user_id, sha256)


@receiver(account_deleted)
def delete_owners_folder(sender: Any, user_id: uuid.UUID, **kwargs: Any) -> None:
    delete_folder(folder_of(user_id))
