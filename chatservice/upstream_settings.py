"""The model server that OPENAI_BASE_URL and OPENAI_API_KEY name, beside those of UPSTREAMS."""

from __future__ import annotations

from typing import Any

OPENAI_URL = "https://api.openai.com/v1"


def with_openai(upstreams: dict[str, Any], base_url: str, api_key: str) -> dict[str, Any]:
    """Return the upstreams with `openai` among them; what UPSTREAMS itself says of it goes before."""
    openai = {"base_url": base_url or OPENAI_URL, "api_key": api_key, "models": []}
    return {**upstreams, "openai": {**openai, **upstreams.get("openai", {})}}
