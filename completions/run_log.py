"""The line that is logged for each run that this process has ended."""

from __future__ import annotations

import logging

from django.conf import settings
from django.utils import timezone

from completions.exceptions import CompletionError
from completions.live import LiveRun
from usage.ledger import Charge
from usage.money import MILLION

logger = logging.getLogger(__name__)


def log_end(live: LiveRun, state: str, charge: Charge | None = None, error: CompletionError | None = None) -> None:
    """Log how a run ended and, if it was charged, what it used. The error's code is ours: an upstream's may be text."""
    if not logger.isEnabledFor(logging.INFO):
        return
    fields = {
        "run_id": live.run_id,
        "state": state,
        "model": live.handle.request.model,
        "upstream": live.upstream,
        "duration_ms": round((timezone.now() - live.began_at).total_seconds() * 1_000, 1),
        "error_code": error.code if error else None,
    }
    if charge is not None:
        fields |= {"input_tokens": charge.tokens.input, "output_tokens": charge.tokens.output}
        if charge.cost is not None:
            fields |= {"cost": charge.cost / MILLION, "currency": settings.CURRENCY}
    logger.info("run ended", extra=fields)
