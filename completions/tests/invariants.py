"""What must be true of every run at any moment, after any failure."""

from __future__ import annotations

from collections.abc import Iterable

from accounts.models import User
from completions.models import Chunk, Run
from conversations.models import Message


def invariants(users: Iterable[User], *, all_over: bool = True) -> list[str]:
    """Return what is wrong with the runs of `users`; with `all_over`, a run in progress is also wrong."""
    wrong: list[str] = []
    runs = Run.objects.filter(user__in=list(users)).select_related("message")
    for run in runs:
        wrong += [f"run {run.pk} ({run.state}): {text}" for text in _of_run(run, all_over=all_over)]
    orphans = Message.objects.filter(
        conversation__owner__in=list(users), status=Message.Status.IN_PROGRESS, run=None
    ).count()
    if orphans:
        wrong.append(f"{orphans} messages are in progress without a run")
    return wrong


def _of_run(run: Run, *, all_over: bool) -> list[str]:
    wrong: list[str] = []
    over = run.is_over
    if all_over and not over:
        wrong.append(f"still {run.state}")
    if over != (run.finished_at is not None):
        wrong.append(f"finished_at is {run.finished_at}")
    if bool(run.error_code) != (run.state in (Run.State.FAILED, Run.State.INTERRUPTED)):
        wrong.append(f"error code {run.error_code!r}")
    chunks = list(Chunk.objects.filter(run_id=run.pk).order_by("seq"))
    if [chunk.seq for chunk in chunks] != list(range(1, len(chunks) + 1)):
        wrong.append(f"pieces are numbered {[chunk.seq for chunk in chunks]}")
    length = 0
    for chunk in chunks:
        length += len(chunk.text)
        if chunk.end != length:
            wrong.append(f"piece {chunk.seq} ends at {chunk.end}, not {length}")
    message = run.message
    if message is None:
        return wrong + (["pieces of an answer that is not kept"] if chunks else [])
    status = Message.Status.IN_PROGRESS if not over else run.state
    if message.status != status:
        wrong.append(f"the message is {message.status}")
    text = "".join(chunk.text for chunk in chunks)
    if over and chunks and message.content != text:
        wrong.append(f"the message has {len(message.content)} characters, its pieces {len(text)}")
    return wrong
