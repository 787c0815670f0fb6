"""Signals of this app."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from django.dispatch import Signal


class EndedRun(NamedTuple):
    """How a run ended whose answer is stored: `status` is a value of `Run.State`."""

    run_id: uuid.UUID
    status: str
    finish_reason: str = ""


runs_ended = Signal()  # runs: list[EndedRun]; in the transaction that stores how they ended, also in the journal's
sweeping = Signal()  # in the reaper's thread of every process that serves, every SWEEP_SECONDS
