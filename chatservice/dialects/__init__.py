"""The wire APIs, one folder each; no code outside of them knows a wire API.

`DIALECTS` maps each folder to the path it is mounted at. To remove an API, delete its folder and its line here;
README.md beside this file explains how to add one.
"""

from __future__ import annotations

DIALECTS = {
    "chat_v1": "v1/chat/",
    "openai_v1": "v1/",
    "chat": "chat/",
    "graphql": "graphql",
    "mcp": "mcp",
    "websocket": "ws/chat",
    "resources": "",
}
# Paths of an API below the mount of another one.
INSIDE = {"openai_v1": "v1/chat/completions/"}
# Paths that belong to no API: the dialect mounted at the root does not answer below these.
PAGES = ("admin", "docs", "files", "healthz", "login", "logout", "profile", "readyz", "schema", "static")


def dialect_of(path: str) -> str | None:
    """Return the folder of the dialect that `path` belongs to: the one with the longest matching mount."""
    path = path.strip("/") + "/"
    if path.partition("/")[0] in PAGES:
        return None
    mounts = [*DIALECTS.items(), *((name, inside) for name, inside in INSIDE.items() if name in DIALECTS)]
    owners = {mount: name for name, mount in mounts if path.startswith(mount)}
    return owners[max(owners, key=len)] if owners else None
