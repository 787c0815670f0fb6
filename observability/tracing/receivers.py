"""Makes spans of what the other packages tell by their signals. Each of these is called where an answer is produced."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from opentelemetry.trace import Span, SpanKind

from completions import signals
from foundation.logs.context import current
from observability.tracing import spans
from search.signals import searched

FINE = ("complete", "cancelled")


@dataclass(slots=True)
class Answer:
    """The open spans of a run of this process: the run's own and, while an upstream is asked, that of the call."""

    span: Span
    call: Span | None = None


_submissions: dict[str, Span] = {}
"""By traceparent."""
_answers: dict[uuid.UUID, Answer] = {}


def begin(**kwargs: Any) -> None:
    spans.begin()
    for signal, receiver in RECEIVERS:
        signal.connect(receiver, weak=False, dispatch_uid=f"traces.{receiver.__name__}")


def submitted(**kwargs: Any) -> str:
    span = spans.start("accept", current().traceparent)
    traceparent = spans.traceparent_of(span)
    _submissions[traceparent] = span
    return traceparent


def submission_ended(*, traceparent: str, run_id: uuid.UUID | None, error_code: str, **kwargs: Any) -> None:
    if (span := _submissions.pop(traceparent, None)) is None:
        return
    if run_id is not None:
        span.set_attribute("chatservice.run.id", str(run_id))
    if error_code:
        spans.fail(span, error_code)
    span.end()


def run_started(*, run_id: uuid.UUID, **kwargs: Any) -> None:
    context = current()
    attributes = {"chatservice.run.id": str(run_id), "chatservice.request.id": context.request_id}
    if context.user_id is not None:
        attributes["user.id"] = str(context.user_id)
    answer = _answers[run_id] = Answer(spans.start("answer", context.traceparent, attributes))
    spans.work_in(answer.span)


def upstream_asked(
    *, run_id: uuid.UUID, model: str, upstream: str, conversation_id: uuid.UUID | None, **kwargs: Any
) -> None:
    if (answer := _answers.get(run_id)) is None:
        return
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": upstream,
        "gen_ai.request.model": model,
        **({"gen_ai.conversation.id": str(conversation_id)} if conversation_id else {}),
    }
    parent = spans.traceparent_of(answer.span)
    answer.call = spans.start(f"chat {model}", parent, attributes, kind=SpanKind.CLIENT)
    spans.work_in(answer.call)


def upstream_retried(*, upstream: str, error_code: str, **kwargs: Any) -> None:
    _note("upstream is asked again", upstream, error_code)


def upstream_skipped(*, upstream: str, error_code: str, **kwargs: Any) -> None:
    _note("another upstream is asked", upstream, error_code)


def _note(event: str, upstream: str, error_code: str) -> None:
    run_id = current().run_id
    answer = _answers.get(run_id) if run_id else None
    if answer is not None and answer.call is not None:
        answer.call.add_event(event, {"gen_ai.provider.name": upstream, "error.type": error_code})


def upstream_finished(
    *,
    run_id: uuid.UUID,
    model: str,
    upstream: str,
    finish_reason: str,
    error_code: str,
    input_tokens: int | None,
    output_tokens: int | None,
    first_token_at: dt.datetime | None,
    **kwargs: Any,
) -> None:
    answer = _answers.get(run_id)
    if answer is None or (call := answer.call) is None:
        return
    answer.call = None
    call.set_attributes({"gen_ai.provider.name": upstream, "gen_ai.response.model": model[:200]})
    for name, count in (("input", input_tokens), ("output", output_tokens)):
        if count is not None:
            call.set_attribute(f"gen_ai.usage.{name}_tokens", count)
    if finish_reason:
        call.set_attribute("gen_ai.response.finish_reasons", [finish_reason[:40]])
    if first_token_at is not None:
        call.add_event("first token", timestamp=int(first_token_at.timestamp() * spans.NANOSECONDS))
    if error_code:
        spans.fail(call, error_code)
    call.end()
    spans.work_in(answer.span)


def committed(*, seconds: float, traceparents: list[str], runs: list[uuid.UUID], **kwargs: Any) -> None:
    """Make a span below each question and each answer that the commit has stored, though it was one for all."""
    parents = [each for each in traceparents if each]
    parents += [spans.traceparent_of(answer.span) for run_id in runs if (answer := _answers.get(run_id))]
    for parent in parents:
        spans.start("commit", parent, {"chatservice.commit.size": len(parents)}, seconds=seconds).end()


def run_finished(*, run_id: uuid.UUID, error_code: str, **kwargs: Any) -> None:
    if error_code and (answer := _answers.get(run_id)) is not None:
        spans.fail(answer.span, error_code)


def run_left(*, run_id: uuid.UUID, end: str, **kwargs: Any) -> None:
    if (answer := _answers.pop(run_id, None)) is None:
        return
    if end not in FINE:
        if answer.call is not None:
            spans.fail(answer.call, "interrupted")
        if end != "failed":  # otherwise `run_finished` has said why
            spans.fail(answer.span, "interrupted")
    if answer.call is not None:
        answer.call.end()
    answer.span.set_attribute("chatservice.run.state", end)
    answer.span.end()


def found(*, seconds: float, mode: str, **kwargs: Any) -> None:
    spans.start("search", current().traceparent, {"chatservice.search.mode": mode}, seconds=seconds).end()


RECEIVERS = (
    (signals.run_submitted, submitted),
    (signals.run_submission_ended, submission_ended),
    (signals.run_started, run_started),
    (signals.upstream_asked, upstream_asked),
    (signals.upstream_retried, upstream_retried),
    (signals.upstream_skipped, upstream_skipped),
    (signals.upstream_finished, upstream_finished),
    (signals.batch_committed, committed),
    (signals.run_finished, run_finished),
    (signals.run_left, run_left),
    (searched, found),
)
