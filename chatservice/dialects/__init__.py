"""The wire APIs, one folder each: the only place that knows a wire API.

`DIALECTS` maps a folder to the path it is mounted at. Delete a folder and its line, and that API is
gone; README.md beside this file has the recipe for adding one.
"""

from __future__ import annotations

DIALECTS = {
    "chat_v1": "v1/chat/",
    "openai_v1": "v1/",
}


def dialect_of(path: str) -> str | None:
    """Return the folder of the dialect that `path` belongs to: the one with the longest mount."""
    owners = [name for name, mount in DIALECTS.items() if path.lstrip("/").startswith(mount)]
    return max(owners, key=lambda name: len(DIALECTS[name]), default=None)
