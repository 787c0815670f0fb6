"""The files of messages in the APIs beside OpenAI's: `file_ids` in what is asked, `files` in what is shown.

A message names files that its sender uploaded. Which kind of part each of them is follows from its media type.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.callers import Principal
from chatservice.dialects.file_references import find_files, refusal
from conversations.file_parts import content_with, part_of
from conversations.message_files import MessageFile, files_of
from conversations.models import Message, MessagePart
from files.models import FileText
from files.public_ids import public_id
from files.texts import UNSUPPORTED
from foundation.database import in_database_thread

MAX_FILES = 20
HELP = (
    f"ids of at most {MAX_FILES} files of the caller's, uploaded by `POST /v1/files`; the text may be empty beside them"
)
TEXT_STATES = (*FileText.State.values, UNSUPPORTED)
TEXT_HELP = f"whether its text was read: `{'`, `'.join(TEXT_STATES)}`"
DETAILS_HELP = "a sentence about why the text is missing or incomplete; null if there is nothing to say"


async def user_message(
    principal: Principal, text: str, file_ids: Sequence[str] | None, *, param: str = "file_ids"
) -> dict[str, Any]:
    """Return the chat message of a user who says `text` and attaches files; raises as `parts_of` does."""
    parts = await in_database_thread(lambda: parts_of(principal, file_ids, param=param)) if file_ids else []
    return {"role": "user", "content": content_with(text, parts)}


def parts_of(
    principal: Principal, file_ids: Sequence[str], *, role: str = Message.Role.USER, param: str = "file_ids"
) -> list[dict[str, Any]]:
    """Return the parts of a message of `role` for these files; in a thread that may use the database.

    Raises BadRequest, which names `param`, for a file that the caller does not have, for too many, and if all together
    are too large; and for another role than a user's, since no model takes files from anybody else.
    """
    if file_ids and role != Message.Role.USER:
        raise refusal(param, "Only a message of the role user has files.", code="validation_error")
    if len(file_ids) > MAX_FILES:
        raise refusal(param, f"At most {MAX_FILES} files.", code="validation_error")
    files = find_files(principal, [(f"{param}[{at}]", file_id) for at, file_id in enumerate(file_ids)])
    return [part_of(public_id(file.pk), file.media_type) for file in files]


class FileIds(serializers.ListField):
    """The field `file_ids` of a request."""

    def __init__(self, **options: Any) -> None:
        child = serializers.CharField()
        super().__init__(child=child, max_length=MAX_FILES, required=False, allow_null=True, help_text=HELP, **options)

    def to_internal_value(self, data: Any) -> list[str]:
        if isinstance(data, list) and len(data) > MAX_FILES:
            self.fail("max_length", max_length=MAX_FILES)  # before each of them is looked at
        if not isinstance(data, list) or not all(isinstance(each, str) for each in data):
            raise serializers.ValidationError("A list of ids of files.", "invalid")
        return data


class TextOrFiles(serializers.Serializer[Any]):
    """Base of a request whose text, the field `text_field`, may be blank only beside files."""

    text_field = "content"

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs[self.text_field].strip() and not attrs.get("file_ids"):
            raise serializers.ValidationError({self.text_field: ["This field may not be blank."]}, "blank")
        return attrs


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file that a message refers to. Of one that is gone, or that the reader may not see, only the id is known."""

    id: str
    name: str | None = None
    media_type: str | None = None
    bytes: int | None = None
    text: str | None = None
    text_details: str | None = None

    @classmethod
    def of(cls, found: MessageFile) -> Self:
        file, file_id = found.file, found.part.file_id
        assert file_id is not None
        if file is None:
            return cls(public_id(file_id))
        return cls(public_id(file_id), file.name, file.media_type, file.size, found.state, found.explanation or None)


Files = Mapping[uuid.UUID, Sequence[AttachedFile]]


def attached_files(messages: Iterable[Message]) -> Files:
    """Return the files of those messages that have any, by the message's id, in their order: by two queries."""
    with_parts = [message.pk for message in messages if message.has_parts]
    if not with_parts:
        return {}
    found = files_of(MessagePart.objects.filter(message__in=with_parts, file__isnull=False))
    return {pk: [AttachedFile.of(each) for each in files] for pk, files in found.items()}


def text_field() -> serializers.ChoiceField:
    """Return the field that tells whether the text of a file was read."""
    return serializers.ChoiceField(TEXT_STATES, allow_null=True, help_text=TEXT_HELP)


class FileShape(serializers.Serializer[Any]):
    """A file that a message refers to. Of one that was deleted, or expired, the other fields are null."""

    id = serializers.CharField()
    name = serializers.CharField(allow_null=True)
    media_type = serializers.CharField(allow_null=True, help_text="told from the content")
    bytes = serializers.IntegerField(allow_null=True)
    text = text_field()
    text_details = serializers.CharField(allow_null=True, help_text=DETAILS_HELP)


@extend_schema_field(FileShape(many=True))
class FilesField(serializers.Field[Any, Any, Any, Any]):
    """The field `files` of a message; `context["files"]` is what `attached_files` returned."""

    def __init__(self, **options: Any) -> None:
        super().__init__(source="*", **options)

    def to_representation(self, value: Message) -> Any:
        return FileShape(self.context["files"].get(value.pk, ()), many=True).data


class FilesMixin(serializers.BaseSerializer[Any]):
    """For a serializer of messages with the field `files`: leaves it out of messages without any."""

    def to_representation(self, instance: Message) -> dict[str, Any]:
        shape: dict[str, Any] = super().to_representation(instance)
        if not shape["files"]:
            del shape["files"]
        return shape
