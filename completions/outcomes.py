"""How a run ended, from what its upstream said and what this process knows of it."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from completions import token_rates
from completions.assembly import WHOLE, Assembly, extras_of_message, says_more, whole_choice, with_finish_reasons
from completions.exceptions import CompletionError, ProviderError
from completions.live import LiveRun
from completions.run_results import RunResult
from completions.types import Wire
from conversations.finish_reasons import MISSING
from conversations.models import Message


def result_of(live: LiveRun, assembly: Assembly, response: Wire | None, error: CompletionError | None) -> RunResult:
    handle = live.handle
    # Text that the journal has not published yet is stored before this outcome or with it.
    content = live.text() + live.pending_text()
    extras, siblings = assembly.extras(), assembly.siblings()
    finish_reason = ""
    usage: Wire | None = None
    closing: tuple[Wire, ...] = ()
    envelope: Wire | None = live.started.envelope if live.started else None
    status = Message.Status.COMPLETE
    if response is not None:
        content, extras, siblings, finish_reason = _read_response(response)
        usage = response.get("usage")
        envelope = {name: value for name, value in response.items() if name not in ("choices", "usage")}
        choices = with_finish_reasons(response)["choices"]
        rebuilt = whole_choice({"content": content, **(extras or {})}, finish_reason)
        if handle.request.store and says_more(choices, rebuilt):
            closing = ({"object": WHOLE, "choices": choices},)
    elif live.stream_finished is not None:
        finish_reason, usage, closing = (
            live.stream_finished.finish_reason,
            live.stream_finished.usage,
            live.stream_finished.wire,
        )
    if error is not None:
        status = Message.Status.FAILED
    elif response is None and live.stream_finished is None:
        status = Message.Status.CANCELLED if live.cancelled else Message.Status.INTERRUPTED
    interrupted = status == Message.Status.INTERRUPTED
    return RunResult(
        run_id=live.run_id,
        message_id=handle.message_id,
        conversation_id=handle.conversation_id,
        status=status,
        content=content,
        extras=extras,
        siblings=siblings,
        finish_reason=finish_reason,
        usage=usage,
        sent=live.sent,
        upstream=live.upstream,
        model=str((envelope or {}).get("model") or handle.request.model),
        envelope=envelope,
        closing=closing,
        recalled=live.recalled,
        error_code=_code_of(error) if error else ("interrupted" if interrupted else ""),
        error_message=error.message if error else ("The answer was interrupted." if interrupted else ""),
        http_status=error.status if error else 200,
        retryable=isinstance(error, ProviderError) and error.retryable,
        retry_after=error.retry_after if error else None,
        token_counters=token_rates.keys_of(handle.request.principal),
        digest_before=handle.digest_before,
        first_token_at=live.first_token_at or (timezone.now() if response is not None else None),
        first_text_at=live.first_text_at,
    )


def _code_of(error: CompletionError) -> str:
    """Return the upstream's own error code if it sent one, else ours."""
    own = error.upstream_code if isinstance(error, ProviderError) else None
    return (own or error.code)[:60]


def _read_response(response: Wire) -> tuple[str, dict[str, Any] | None, tuple[Wire, ...], str]:
    """Return content, extras, further choices and finish reason of a whole answer."""
    choices = [(choice["message"], choice.get("finish_reason") or MISSING) for choice in response["choices"]]
    (first, reason), *others = choices
    siblings = tuple(
        {"role": "assistant", "content": message.get("content") or "", "finish_reason": why}
        | (extras_of_message(message) or {})
        for message, why in others
    )
    return first.get("content") or "", extras_of_message(first), siblings, reason
