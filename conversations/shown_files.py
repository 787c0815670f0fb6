"""The pictures and files of messages, as pages show them."""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass

from django.db.models import QuerySet
from django.template.defaultfilters import filesizeformat

from conversations.file_parts import address_in, reference_in
from conversations.message_files import files_of
from conversations.models import MessagePart
from files.media_types import label_of
from files.models import File, FileText
from files.public_ids import public_id
from files.thumbnails import has_thumbnail

KINDS = (MessagePart.Kind.IMAGE, MessagePart.Kind.FILE, MessagePart.Kind.AUDIO)
UNNAMED: dict[str, str] = {MessagePart.Kind.IMAGE: "Picture", MessagePart.Kind.AUDIO: "Recording"}


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A part of a message with a file of ours, or the `address` of one elsewhere; with neither the file is gone.

    `text_details` is a sentence about why its text is missing or incomplete, or ''.
    """

    kind: str
    given_name: str = ""
    file: File | None = None
    address: str = ""
    text_details: str = ""

    @property
    def name(self) -> str:
        return (self.file and self.file.name) or self.given_name or UNNAMED.get(self.kind, "File")

    @property
    def file_id(self) -> str:
        return public_id(self.file.pk) if self.file else ""

    @property
    def has_thumbnail(self) -> bool:
        return self.file is not None and has_thumbnail(self.file)

    @property
    def facts(self) -> str:
        """Return type and size, or why there are none."""
        if self.file is not None:
            return f"{label_of(self.file.media_type)}, {filesizeformat(self.file.size)}"
        return "at another site" if self.address else "no longer available"


def shown_files(parts: QuerySet[MessagePart]) -> dict[uuid.UUID, list[ShownFile]]:
    """Return what is shown of these parts by their message's id; by two queries."""
    shown: dict[uuid.UUID, list[ShownFile]] = defaultdict(list)
    for message_id, found in files_of(parts.filter(kind__in=KINDS)).items():
        for each in found:
            if (reference := reference_in(each.part.data)) is not None:
                # That it is being read is true for seconds, and pages stay open for hours.
                details = "" if each.state == FileText.State.WAITING else each.explanation
                shown[message_id].append(ShownFile(each.part.kind, reference.name, each.file, text_details=details))
            elif (elsewhere := address_in(each.part.data)) is not None:
                address, host = elsewhere
                shown[message_id].append(ShownFile(each.part.kind, host, address=address))
    return shown
