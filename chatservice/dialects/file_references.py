"""Refuses requests that refer to files which the caller does not have, or to more than go to a model at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.conf import settings

from accounts.callers import Principal
from chatservice.dialects.problems import BadRequest
from conversations.file_parts import reference_in
from files.models import File
from files.public_ids import key_of
from foundation.database import in_database_thread

Named = tuple[str, Any]
"""Where a request names a file, and the id that it has there."""
ANSWERS = ("reasoning", "function_call", "custom_tool_call")


def references_in(entries: Sequence[Any], where: str) -> list[Named]:
    """Return the files that these messages or items refer to."""
    return [named for at, entry in enumerate(entries) for named in _in_entry(entry, f"{where}[{at}]")]


def new_references_in(entries: Sequence[Any], where: str) -> list[Named]:
    """Return the files that the new ones of these messages or items refer to: those after the last answer.

    What is older was new once. If its file is gone, the model is told so, and the history can still be sent. An answer
    at the end is to be continued.
    """
    start = next((at for at in reversed(range(len(entries) - 1)) if _is_answer(entries[at])), 0)
    return [named for at in range(start, len(entries)) for named in _in_entry(entries[at], f"{where}[{at}]")]


def _is_answer(entry: Any) -> bool:
    return isinstance(entry, Mapping) and (entry.get("role") == "assistant" or entry.get("type") in ANSWERS)


def _in_entry(entry: Any, where: str) -> Iterable[Named]:
    if not isinstance(entry, Mapping):
        return
    for field in ("content", "output"):
        parts = entry.get(field)
        for number, part in enumerate(parts if isinstance(parts, list) else ()):
            if (reference := reference_in(part)) is not None:
                yield f"{where}.{field}[{number}].{reference.path}", reference.file_id


async def check_files(principal: Principal, named: Sequence[Named]) -> None:
    """Raise BadRequest for a file that the caller does not have, and if all together are too large."""
    if named:
        await in_database_thread(find_files, principal, named)


def find_files(principal: Principal, named: Sequence[Named]) -> list[File]:
    """Return the files in their order, or raise as `check_files` does; in a thread that may use the database."""
    keys = [(param, key_of(file_id)) for param, file_id in named]
    known = File.objects.visible_to(principal).in_bulk([key for _, key in keys if key])
    files: list[File] = []
    total, limit = 0, settings.LIMIT_CONTENT_BODY_BYTES
    for param, key in keys:
        file = known.get(key) if key else None
        if file is None:
            raise refusal(param, "There is no such file.", code="file_not_found")
        total += file.size
        if limit and total > limit:
            message = f"The files of a request hold at most {limit} bytes (LIMIT_CONTENT_BODY_BYTES)."
            raise refusal(param, message, code="request_too_large", status=413)
        files.append(file)
    return files


def refusal(param: str, message: str, **options: Any) -> BadRequest:
    """Return the refusal of one parameter, for those APIs that name it and for those that explain each field."""
    return BadRequest(message, param=param, details={param: [message]}, **options)
