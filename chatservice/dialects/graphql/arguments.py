"""Checks arguments: texts must be storable, ids well-formed. An error names its argument."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated

import strawberry
from django.conf import settings
from django.core.exceptions import PermissionDenied
from strawberry import ID

from accounts.callers import Principal
from accounts.guests import as_id, shares_local_space
from chatservice.dialects.attached_files import MAX_FILES
from chatservice.dialects.problems import NOT_FOUND, BadRequest
from conversations.storable import is_storable
from conversations.tags import read_tags

MODEL_CHARS = 200
FileIds = Annotated[
    list[ID] | None,
    strawberry.argument(
        description=f"At most {MAX_FILES} files of yours, uploaded by `POST /v1/files`. `content` may be empty beside "
        "them."
    ),
]


def invalid(name: str, wanted: str) -> BadRequest:
    """Return the error for an invalid argument."""
    return BadRequest(f"{name}: {wanted}", code="validation_error", param=name, details={name: [wanted]})


def text(value: str, name: str, *, limit: int, setting: str = "", blank: bool = False) -> str:
    """Return a text as it was sent; raises BadRequest if it is too long, empty or not storable.

    The refusal of a long text names the `setting` that the limit comes from, if any.
    """
    if not is_storable(value):
        raise invalid(name, "Text must not contain NUL characters or lone surrogates.")
    if not blank and not value.strip():
        raise invalid(name, "This must not be empty.")
    if limit and len(value) > limit:
        raise invalid(name, f"At most {limit} characters{f' ({setting})' if setting else ''}.")
    return value


def title(value: str, *, blank: bool = False) -> str:
    # 200 is the column's width, which fits whatever the setting allows.
    limit = min(settings.LIMIT_TITLE_CHARS or 200, 200)
    return text(value, "title", limit=limit, setting="LIMIT_TITLE_CHARS", blank=blank)


def content(value: str, file_ids: Sequence[ID] | None = None) -> str:
    """Return the text of a message, which may be empty only beside files; raises BadRequest."""
    limit = settings.LIMIT_MESSAGE_CHARS
    return text(value, "content", limit=limit, setting="LIMIT_MESSAGE_CHARS", blank=bool(file_ids))


def tags(value: Sequence[str], name: str = "tags") -> list[str]:
    """Return the tags as they are stored, each once; raises BadRequest."""
    try:
        return read_tags(value)
    except ValueError as error:
        raise invalid(name, str(error)) from error


def identifier(value: ID) -> uuid.UUID:
    """Return the id; raises not found for a malformed id, as for an unknown one."""
    pk = as_id(value)
    if pk is None:
        raise BadRequest(NOT_FOUND.message, code=NOT_FOUND.code, status=NOT_FOUND.status)
    return pk


def refuse_strangers(principal: Principal) -> None:
    """Raise for a guest who shares no local space: such a guest may open objects by their id, but not list any."""
    if not shares_local_space(principal):
        raise PermissionDenied("Without a key you can only open things by their id; lists need a key.")
