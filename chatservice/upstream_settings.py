"""The model server that OPENAI_BASE_URL and OPENAI_API_KEY name, and the model for titles; settings.py applies them."""

from __future__ import annotations

from typing import Any

from chatservice.environment import Environment

OPENAI_URL = "https://api.openai.com/v1"


def with_openai(upstreams: dict[str, Any], base_url: str, api_key: str) -> dict[str, Any]:
    """Return the upstreams with `openai` among them; what UPSTREAMS itself says of it goes before."""
    openai = {"base_url": base_url or OPENAI_URL, "api_key": api_key, "models": []}
    return {**upstreams, "openai": {**openai, **upstreams.get("openai", {})}}


# --- Titles (docs/chat-page.md explains titles by a model) ---------------------------------------


def title_settings(env: Environment) -> tuple[str, float]:
    """Return the model that writes titles, and how long it may take."""
    # The chat model that gives a conversation its title after the first answer, as clients name it; a small one will
    # do. By default none: the title repeats the question.
    model = env.str("TITLE_MODEL", default="").strip()
    # How long it may take; after that the title stays as it is.
    seconds = env.seconds("TITLE_SECONDS", default=20)
    return model, seconds
