"""Reads whole answers (`chat.completion` bodies), and converts them into chunks and from events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from completions.assembly import WHOLE, Assembly, whole_choice
from completions.exceptions import UpstreamInvalid, UpstreamTruncated
from completions.providers.content_parts import spread
from completions.providers.failures import no_answer, reported
from completions.providers.reasons import Reason, error_in
from completions.providers.sanitize import clean_tree, decode_halves
from completions.providers.several_values import objects_in
from completions.providers.tool_calls import as_number, legacy_call, seed_of, whole_calls
from completions.types import Delta, ProviderEvent, StreamFinished, StreamStarted, Wire
from conversations.finish_reasons import MISSING, NO_REASONS

CHUNK = "chat.completion.chunk"


def read_object(raw: bytes, *secrets: str) -> dict[str, Any]:
    """Return the JSON object in the body of a 200. Raises ProviderError if it is an error or not an object."""
    body, is_clean = _decoded(raw, *secrets)
    return body if is_clean else _clean(body)


def _decoded(raw: bytes, *secrets: str) -> tuple[dict[str, Any], bool]:
    is_broken = False
    try:
        body, is_clean = decode_halves(raw.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        (body, is_broken), is_clean = objects_in(raw), False
        if not body:
            raise no_answer(raw, *secrets) from None
    if isinstance(body, list) and not is_broken:
        objects = [item for item in body if isinstance(item, dict)]
        body = objects[0] if len(objects) == 1 else body
    if reason := error_in(body):
        raise reported(reason, *secrets)
    if isinstance(body, str):
        raise no_answer(body.encode("utf-8", "replace"), *secrets)
    if not isinstance(body, dict):
        raise UpstreamInvalid()
    return body, is_clean


def read_answer(raw: bytes, *secrets: str) -> dict[str, Any]:
    """Return the body of a 200 as a `chat.completion`, altered only where it is not of OpenAI's shape.

    A missing finish reason is None. Raises ProviderError if the body is an error or not an answer.
    """
    body, is_clean = _decoded(raw, *secrets)
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UpstreamInvalid("The model's server sent an answer without choices.")
    choices = sorted(
        (_choice(choice, at, body, *secrets) for at, choice in enumerate(choices)), key=itemgetter("index")
    )
    body["choices"] = [{**choice, "index": at} for at, choice in enumerate(choices)]
    if not any(choice["finish_reason"] or _says_something(choice["message"]) for choice in body["choices"]):
        raise UpstreamTruncated()
    return body if is_clean else _clean(body)


def _clean(body: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(clean_tree(body))
    except RecursionError:
        raise UpstreamInvalid() from None


def _choice(choice: Any, position: int, body: dict[str, Any], *secrets: str) -> dict[str, Any]:
    if not isinstance(choice, dict):
        raise UpstreamInvalid()
    if choice.get("error") or choice.get("finish_reason") == "error":
        raise reported(error_in(choice) or Reason(), *secrets)
    message = choice.get("message") or choice.get("delta")
    if message is None and isinstance(choice.get("text"), str):
        message = {"role": "assistant", "content": choice.pop("text")}  # as text completions have it
    index = position if choice.get("index") is None else as_number(choice["index"])
    if not isinstance(message, dict) or index is None:
        raise UpstreamInvalid()
    spread(message)
    if message.get("tool_calls"):
        message["tool_calls"] = whole_calls(message["tool_calls"], seed_of(body, index))
    if message.get("function_call"):
        message["function_call"] = legacy_call(message["function_call"])
    reason = choice.get("finish_reason")
    rest = {name: value for name, value in choice.items() if name != "delta"}
    given = isinstance(reason, str) and reason not in NO_REASONS
    return {**rest, "index": index, "message": message, "finish_reason": reason if given else None}


def _says_something(message: dict[str, Any]) -> bool:
    return any(value for name, value in message.items() if name != "role")


def chunks_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the chunks in which a body from `read_answer` would have been streamed: answer, end, usage."""
    envelope = {name: value for name, value in body.items() if name not in ("choices", "usage")}
    if "object" in envelope:
        envelope["object"] = CHUNK
    opening, closing = [], []
    for choice in body["choices"]:
        message = choice["message"]
        if message.get("tool_calls"):
            numbered = [{**call, "index": at} for at, call in enumerate(message["tool_calls"])]
            message = {**message, "tool_calls": numbered}
        rest = {name: value for name, value in choice.items() if name not in ("message", "finish_reason")}
        opening.append({**rest, "delta": message, "finish_reason": None})
        end = {"index": choice["index"], "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
        closing.append(end)
    last = {**envelope, "choices": closing}
    usage = [{**envelope, "choices": [], "usage": body["usage"]}] if isinstance(body.get("usage"), dict) else []
    return [{**envelope, "choices": opening}, last, *usage]


def body_of(events: Iterable[ProviderEvent]) -> dict[str, Any]:
    """Return the body of an answer that was streamed without having been asked to."""
    assembly, texts = Assembly(), []
    scored: dict[int, dict[str, Any]] = {}
    envelope: dict[str, Any] = {}
    reason, usage = MISSING, None
    for event in events:
        if isinstance(event, StreamStarted):
            envelope = dict(event.envelope)
        elif isinstance(event, Delta):
            texts.append(event.text)
            assembly.feed(event.wire)
            _collect_logprobs(scored, event.wire)
        elif isinstance(event, StreamFinished):
            assembly.feed(event.wire)
            _collect_logprobs(scored, event.wire)
            reason, usage = event.finish_reason, event.usage
    choices = [_whole({"content": "".join(texts), **(assembly.extras() or {})}, reason, 0)]
    for at, sibling in enumerate(assembly.siblings(), 1):
        message = {name: value for name, value in sibling.items() if name != "finish_reason"}
        choices.append(_whole(message, sibling.get("finish_reason"), at))
    for choice in choices:
        choice["logprobs"] = scored.get(choice["index"])
    return {**envelope, "object": WHOLE, "choices": choices, **({"usage": usage} if usage else {})}


def _whole(message: Mapping[str, Any], reason: str | None, index: int) -> dict[str, Any]:
    end = None if reason == MISSING else reason
    return {**whole_choice(message, ""), "index": index, "finish_reason": end}


def _collect_logprobs(scored: dict[int, dict[str, Any]], chunks: Iterable[Wire]) -> None:
    """Add the log probabilities in `chunks` to those of each choice."""
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            found = choice.get("logprobs")
            if isinstance(found, dict):
                known = scored.setdefault(choice["index"], {"content": None, "refusal": None})
                for name, tokens in found.items():
                    if isinstance(tokens, list):
                        known[name] = known.get(name) or []
                        known[name].extend(tokens)
