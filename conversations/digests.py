"""Chain digests: each identifies a message together with everything before it. Pure.

All digests of a conversation begin with the same tag, derived from its first message, so they are neighbours in the
database's index. If they were spread over the index, a long history would change one of its pages for each message.
Chains from earlier versions have no tags and continue without them: `untagged` is their root.
"""

from __future__ import annotations

import contextlib
import functools
import json
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

# How models write the arguments of a tool call.
_SEPARATORS = ((",", ":"), (", ", ": "))
_SIGNIFICANT = ("tool_calls", "tool_call_id", "function_call", "name")


TAGGED, ROOT = ".", ".."
TAG_CHARS, HASH_CHARS = 4, 38


@functools.lru_cache(maxsize=1_000)
def root(owner_id: uuid.UUID) -> str:
    """Return the digest before the first message: it depends on the owner, so no two owners share a digest."""
    return f"{ROOT}{untagged(owner_id)[:-2]}"


@functools.lru_cache(maxsize=1_000)
def untagged(owner_id: uuid.UUID) -> str:
    """Return the root of a chain without tags."""
    return _encode(b"root" + owner_id.bytes)


def follow(parent: str, message: Mapping[str, Any]) -> str:
    """Return the digest of wire message `message` after the chain that ends in `parent`."""
    content = message.get("content")
    if isinstance(content, list):
        content = _plain(content)
    extra = {name: message[name] for name in _SIGNIFICANT if message.get(name)}
    text, rich = (content, None) if isinstance(content, str) else ("", content)
    body = f"{parent}\n{message.get('role')}\n{len(text) if rich is None and content is not None else -1}\n{text}"
    if extra or rich is not None:
        # Sorted, because PostgreSQL returns the keys of JSON in another order.
        body += "\n" + json.dumps([extra, rich], sort_keys=True)
    digest = _encode(body.encode("utf-8", "surrogatepass"))
    if not parent.startswith(TAGGED):
        return digest
    tag = digest[:TAG_CHARS] if parent.startswith(ROOT) else parent[1 : 1 + TAG_CHARS]
    return f"{TAGGED}{tag}{digest[-HASH_CHARS:]}"


def chain(start: str, messages: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the digest after each of `messages`, oldest first, of the chain with this root."""
    digests = []
    current = start
    for message in messages:
        current = follow(current, message)
        digests.append(current)
    return digests


def spellings(messages: Sequence[Mapping[str, Any]]) -> list[Sequence[Mapping[str, Any]]]:
    """Return these messages as they are, and as the answers among them may be stored, if that differs.

    Clients send back null for an empty text, add what they read in a tool call, and write its arguments anew.
    """
    if not any(_may_differ(message) for message in messages):
        return [messages]
    return [messages, *([_respelled(message, how) for message in messages] for how in (None, *_SEPARATORS))]


def _may_differ(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "assistant" and (message.get("content") is None or bool(message.get("tool_calls")))


def _respelled(message: Mapping[str, Any], separators: tuple[str, str] | None) -> Mapping[str, Any]:
    if not _may_differ(message):
        return message
    respelled = {**message, "content": "" if message.get("content") is None else message["content"]}
    if isinstance(calls := message.get("tool_calls"), list):
        respelled["tool_calls"] = [_call(call, separators) for call in calls]
    return respelled


def _call(call: Any, separators: tuple[str, str] | None) -> Any:
    if not isinstance(call, dict) or not isinstance(function := call.get("function"), dict):
        return call
    arguments: Any = function.get("arguments")
    if separators:
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            arguments = json.dumps(json.loads(arguments), separators=separators, ensure_ascii=False)
    return {
        "id": call.get("id"),
        "type": "function",
        "function": {"name": function.get("name"), "arguments": arguments},
    }


def _plain(parts: list[Any]) -> Any:
    """Return the text of a single text part, because the two are the same message; anything else unchanged."""
    if len(parts) == 1 and isinstance(parts[0], dict) and set(parts[0]) == {"type", "text"}:
        return parts[0]["text"]
    return parts


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode()
