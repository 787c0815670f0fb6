"""Parses the many shapes of `GET /models`: OpenAI's, OpenRouter's, vLLM's, llama.cpp's, Ollama's, a bare list."""

from __future__ import annotations

from typing import Any

from completions.exceptions import UpstreamInvalid
from completions.providers.sanitize import decode_json
from completions.types import ModelInfo


def parse_models(raw: bytes, *, owned_by: str) -> list[ModelInfo]:
    """Return the models in the upstream's order, each id once, with `owned_by` as default. Raises UpstreamInvalid."""
    try:
        body = decode_json(raw)
    except ValueError:
        raise UpstreamInvalid() from None
    rows = body
    if isinstance(body, dict):
        rows = body.get("data") if isinstance(body.get("data"), list) else body.get("models")
    if not isinstance(rows, list):
        raise UpstreamInvalid()
    models: dict[str, ModelInfo] = {}
    for row in rows:
        model = _model(row, owned_by)
        if model is not None:
            models.setdefault(model.id, model)
    return list(models.values())


def _model(row: Any, owned_by: str) -> ModelInfo | None:
    if isinstance(row, str):
        row = {"id": row}
    if not isinstance(row, dict):
        return None
    name = row.get("id") or row.get("name") or row.get("model")
    if not isinstance(name, str):
        return None
    owner, created = row.get("owned_by"), row.get("created")
    if isinstance(created, bool) or not isinstance(created, int | float) or not 0 <= created < 1 << 40:
        created = 0
    return ModelInfo(name, owner if isinstance(owner, str) and owner else owned_by, int(created))
