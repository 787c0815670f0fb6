"""Takes pictures, recordings and documents out of the messages of a question before it is accepted.

So neither the group commit nor a waiting question has them in memory. They become files of the owner; what is not to be
stored stays on the disk without a name until the run ends.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

from completions.exceptions import Refused
from completions.live import LIVE
from completions.prefixes import is_threaded
from completions.run_requests import RunHandle, RunRequest
from conversations.embedded_files import TakenOut, embedded_parts, take_out
from conversations.models import Conversation
from files.embedded import TAKEN_OUT, EmbeddedContent, taken_out
from files.exceptions import FilesFull
from files.threads import in_file_thread

_finishing: set[asyncio.Task[None]] = set()


async def accept_without_content(
    request: RunRequest, accept: Callable[[RunRequest], Awaitable[RunHandle]]
) -> RunHandle:
    """Accept a question, whose content becomes files first; raises Refused, FileRefused and FilesFull."""
    if next(embedded_parts(request.messages), None) is None:
        return await accept(request)
    if request.store:
        try:
            taken = await in_file_thread(_take_out, request, dict(taken_out()))
        except FilesFull:
            if not is_threaded(request):
                raise
            request = replace(request, store=False, not_kept="quota")
        else:
            return await _accept_stored(replace(request, messages=tuple(taken.messages)), taken, accept)
    request = replace(request, embedded=_adopt(request))
    try:
        handle = await accept(request)
    except BaseException:
        release(request)
        raise
    if handle.attached:
        release(request)
    return handle


async def _accept_stored(
    request: RunRequest, taken: TakenOut, accept: Callable[[RunRequest], Awaitable[RunHandle]]
) -> RunHandle:
    try:
        handle = await accept(request)
    except Refused:
        _finish_later(taken)
        raise
    # After anything else it may have been stored all the same: a sweep decides later.
    live = LIVE.get(handle.run_id) if handle.not_kept else None
    _finish_later(taken, after=live.task if live else None)
    return handle


def release(request: RunRequest) -> None:
    """Close what a question that is not stored had on the disk."""
    for content in request.embedded.values():
        content.close()


def _take_out(request: RunRequest, among: dict[str, EmbeddedContent]) -> TakenOut:
    return take_out(request.messages, owner_id=_owner_of(request), among=among)


def _owner_of(request: RunRequest) -> uuid.UUID:
    if request.conversation_id is not None:
        mine = Conversation.objects.visible_to(request.principal).filter(pk=request.conversation_id)
        if (owner_id := mine.values_list("owner_id", flat=True).first()) is not None:
            return owner_id
    return request.owner_id or request.principal.user_id


def _adopt(request: RunRequest) -> dict[str, EmbeddedContent]:
    """Return the content on the disk that the question needs; from now on it is the run's."""
    mine, adopted = taken_out(), {}
    for embedded in embedded_parts(request.messages):
        found = TAKEN_OUT.search(embedded.text)
        if found and found[1] in mine:
            adopted[found[1]] = mine.pop(found[1])
    return adopted


def _finish_later(taken: TakenOut, after: asyncio.Task[None] | None = None) -> None:
    task = asyncio.get_running_loop().create_task(_finish(taken, after))
    _finishing.add(task)
    task.add_done_callback(_finishing.discard)


async def _finish(taken: TakenOut, after: asyncio.Task[None] | None) -> None:
    if after is not None:
        await asyncio.wait([after])
    await in_file_thread(taken.finish)
