"""Converts `content` that is a list of parts, as Mistral sends it: into text, reasoning and what is neither."""

from __future__ import annotations

from typing import Any

from completions.exceptions import UpstreamInvalid

_TEXT = frozenset({"text", "output_text", "input_text"})
_REASONING = frozenset({"thinking", "reasoning", "reasoning_text", "summary_text"})
_NOTHING = frozenset({"type", "thinking", "reasoning", "text", "content", "closed"})
REASONINGS = ("reasoning_content", "reasoning", "thinking")
REFERENCES, OTHERS = "annotations", "content_parts"


class _Sorted:
    def __init__(self) -> None:
        self.fields: dict[str, str] = {"content": "", "reasoning": "", "refusal": ""}
        self.beside: dict[str, list[dict[str, Any]]] = {}

    def add(self, parts: list[Any], text_field: str = "content") -> None:
        for part in parts:
            if isinstance(part, str):
                self.fields[text_field] += part
            elif isinstance(part, dict):
                self._add(part, text_field)

    def _add(self, part: dict[str, Any], text_field: str) -> None:
        kind, text = part.get("type"), part.get("text")
        if not isinstance(kind, str):
            kind = "text" if "text" in part else ""
        if kind in _TEXT:
            text = text.get("value") if isinstance(text, dict) else text
            self.fields[text_field] += text if isinstance(text, str) else ""
        elif kind in _REASONING:
            inner = part.get("thinking") or part.get("reasoning") or part.get("text") or part.get("content")
            self.add(inner if isinstance(inner, list) else [inner], "reasoning")
            if not inner and part.keys() - _NOTHING:
                self.beside.setdefault(OTHERS, []).append(part)
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            self.fields["refusal"] += part["refusal"]
        elif part:
            self.beside.setdefault(REFERENCES if kind == "reference" else OTHERS, []).append(part)


def spread(message: dict[str, Any], counts: dict[str, int] | None = None) -> None:
    """Turn lists of parts in `content` and in the fields of reasoning into strings.

    Of the parts of content, thinking goes to `reasoning`, references to `annotations`, others to `content_parts`.
    The parts of a stream are numbered by `counts`, because its clients expect an index in lists. Raises
    UpstreamInvalid for content that is neither text nor parts.
    """
    for name in REASONINGS:
        if isinstance(value := message.get(name), list):
            reasons = _Sorted()
            reasons.add(value, "reasoning")
            message[name] = "".join(reasons.fields.values())
    if isinstance(message.get("thinking"), str) and not message.get("reasoning"):
        message["reasoning"] = message.pop("thinking")
    content = message.get("content")
    if content is None or isinstance(content, str):
        return
    if isinstance(content, dict) and ("type" in content or "text" in content):
        content = [content]
    if not isinstance(content, list):
        raise UpstreamInvalid()
    parts = _Sorted()
    parts.add(content)
    message["content"] = None
    for name, text in parts.fields.items():
        if text:
            said = message.get(name)
            message[name] = said + text if isinstance(said, str) else text
    for name, items in parts.beside.items():
        known = message.get(name)
        kept = items if counts is None else [_numbered(item, name, counts) for item in items]
        message[name] = [*known, *kept] if isinstance(known, list) else kept


def _numbered(item: dict[str, Any], name: str, counts: dict[str, int]) -> dict[str, Any]:
    counts[name] = counts.get(name, 0) + 1
    return {**item, "index": counts[name] - 1}
