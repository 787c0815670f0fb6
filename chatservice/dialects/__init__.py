"""The wire APIs, one folder each: the only place that knows a wire API.

`DIALECTS` maps a folder to the path it is mounted at. Delete a folder and its line, and that API is
gone; README.md beside this file has the recipe for adding one.
"""

from __future__ import annotations

DIALECTS = {
    "chat_v1": "v1/chat/",
    "openai_v1": "v1/",
    "chat": "chat/",
    "graphql": "graphql",
    "websocket": "ws/chat",
    "resources": "",
}
# What is no API: a dialect at the root does not answer for these.
PAGES = ("admin", "docs", "healthz", "login", "logout", "profile", "readyz", "schema", "static")


def dialect_of(path: str) -> str | None:
    """Return the folder of the dialect that `path` belongs to: the one with the longest mount."""
    path = path.strip("/") + "/"
    if path.partition("/")[0] in PAGES:
        return None
    owners = [name for name, mount in DIALECTS.items() if path.startswith(mount)]
    return max(owners, key=lambda name: len(DIALECTS[name]), default=None)
