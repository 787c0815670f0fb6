"""Asks where an answer is being written: refused, after stopping that answer, or queued, as the request says."""

from __future__ import annotations

import asyncio
import time

from completions import services, stopping
from completions.exceptions import ConversationBusy
from completions.models import Run
from completions.run_requests import RunHandle, RunRequest, WhenBusy

PAUSE = 0.01  # seconds: others may be interrupting as well


async def submit(request: RunRequest) -> RunHandle:
    """Submit a request as `services.submit` does; an interrupting one first stops what its conversation is busy with.

    That is the answer being written, whose text is kept, and the questions that wait for it. Where it takes longer
    than PATIENCE, and where others keep interrupting, ConversationBusy is raised.
    """
    until = time.monotonic() + stopping.PATIENCE
    while True:
        try:
            # First: a request that is repeated joins its own run, and stops nothing.
            return await services.submit(request)
        except ConversationBusy:
            if request.when_busy != WhenBusy.INTERRUPT or time.monotonic() > until:
                raise
        await stopping.stop(Run.objects.filter(conversation=request.conversation_id))
        await asyncio.sleep(PAUSE)
