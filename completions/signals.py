"""Signals of this app. They carry ids, names and numbers, never content; all but the first two tell what is over.

Whoever listens must be quick: most are sent on the event loop that produces the answers. Durations are in seconds.
"""

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

# A run is over and its outcome is stored: once for each run, by the process that stored it.
# run_id: UUID; model: str, as it was asked for; upstream, end, error_code: str; input_tokens, output_tokens: int;
# cost: int | None, in millionths of the currency; seconds: float; first_token_seconds: float | None
run_finished = Signal()
# A question arrives. A receiver may return the W3C traceparent of the span that its run is to follow; the second one
# tells how that ended. traceparent: str; run_id: UUID | None; error_code: str
run_submitted = Signal()
run_submission_ended = Signal()
# A run begins and ends in this process, whatever becomes of it; in the context of the run's task.
run_started = Signal()  # run_id: UUID
run_left = Signal()  # run_id: UUID; end: str
upstream_asked = Signal()  # run_id: UUID; model, as the upstream calls it; upstream: str; conversation_id: UUID | None
# run_id: UUID; model, upstream, finish_reason, error_code: str; input_tokens, output_tokens: int | None;
# first_token_at: datetime | None
upstream_finished = Signal()
run_reaped = Signal()  # run_id: UUID; its process died; `run_finished` follows
lease_lost = Signal()  # run_id: UUID; a run that this process produced is not its own any more
# seconds: float; questions, chunks, results: int, what the batch stored; traceparents: list[str], of the questions;
# runs: list[UUID], those whose results were stored
batch_committed = Signal()
batch_failed = Signal()  # a batch could not be stored; it, or its parts, are tried again
sweep_finished = Signal()  # seconds: float; failed: bool
upstream_retried = Signal()  # upstream, error_code: str; a request is sent again
upstream_skipped = Signal()  # upstream, error_code: str; it did not begin to answer, and others have the model
