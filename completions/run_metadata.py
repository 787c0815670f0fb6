"""The metadata of calls: pairs of short texts, stored with the run and indexed, so that answers are found by them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, TypeGuard

from django.db import transaction

from completions.models import Run, RunMetadata
from completions.types import Wire

MAX_PAIRS, MAX_KEY_CHARS, MAX_VALUE_CHARS = 16, 64, 512


def is_metadata(value: Any) -> TypeGuard[Mapping[str, str]]:
    """Tell whether a value is metadata as OpenAI's API has it; others are stored with a run, but not found by."""
    return (
        isinstance(value, Mapping)
        and len(value) <= MAX_PAIRS
        and all(len(key) <= MAX_KEY_CHARS for key in value)
        and all(isinstance(text, str) and len(text) <= MAX_VALUE_CHARS for text in value.values())
    )


def metadata_rows(run_id: uuid.UUID, user_id: uuid.UUID, parameters: Wire) -> list[dict[str, Any]]:
    """Return the rows by which a run with these parameters is found."""
    given = parameters.get("metadata")
    if not is_metadata(given):
        return []
    return [{"run": run_id, "user_id": user_id, "key": key, "value": value} for key, value in given.items()]


@transaction.atomic
def replace_metadata(*, run: Run, metadata: Mapping[str, str]) -> None:
    """Give a run other metadata instead of what it has."""
    locked = Run.objects.select_for_update().filter(pk=run.pk).first()
    if locked is None:
        return
    run.parameters = locked.parameters = {**locked.parameters, "metadata": dict(metadata)}
    locked.save(update_fields=["parameters"])
    locked.metadata_pairs.all().delete()
    RunMetadata.objects.bulk_create(
        RunMetadata(run=locked, user_id=locked.user_id, key=key, value=value) for key, value in metadata.items()
    )
