"""Parses chat completion requests: checks the parameters we know, passes the others to the upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accounts.callers import Principal
from chatservice.dialects.idempotency import idempotency_key
from chatservice.dialects.openai_v1.history import keeps
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.run_requests import make_run_request
from completions.recall import read_recall
from completions.run_requests import RunRequest

NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
INTEGERS = ("n", "max_tokens", "max_completion_tokens", "seed", "top_logprobs")
BOOLEANS = ("stream", "store", "logprobs", "parallel_tool_calls")
OBJECTS = ("metadata", "stream_options", "logit_bias")
LISTS = ("tools", "functions")
CHECKS: tuple[tuple[tuple[str, ...], tuple[type, ...], str], ...] = (
    (NUMBERS, (int, float), "a number"),
    (INTEGERS, (int,), "an integer"),
    (BOOLEANS, (bool,), "a boolean"),
    (OBJECTS, (dict,), "an object"),
    (LISTS, (list,), "a list"),
)
OURS = ("model", "messages", "stream", "recall", "usage")


def wants_cost(body: Mapping[str, Any]) -> bool:
    """Tell whether the usage object shall have the cost: `"usage": {"include": true}`, as OpenRouter has it."""
    usage = body.get("usage")
    return isinstance(usage, Mapping) and usage.get("include") is True


def ask_from(body: Mapping[str, Any], *, principal: Principal, idempotency: str | None) -> RunRequest:
    """Return the run request made from a request body; raises BadRequest naming the parameter."""
    model = body.get("model", "default")
    if not isinstance(model, str) or not model or len(model) > 200:
        raise _invalid("model", "'model' must be the name of a model.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "'messages' must be a list with at least one message.")
    for index, message in enumerate(messages):
        _check_message(index, message)
    for names, types, wanted in CHECKS:
        for name in names:
            value = body.get(name)
            if value is not None and (not isinstance(value, types) or (types != (bool,) and isinstance(value, bool))):
                raise _invalid(name, f"'{name}' must be {wanted}.")
    if body.get("n") is not None and not 1 <= body["n"] <= 128:
        raise _invalid("n", "'n' must be between 1 and 128.")
    try:
        recall = read_recall(body.get("recall"))
    except ValueError as error:
        raise _invalid("recall", f"'recall': {error}") from error
    metadata = body.get("metadata")
    return make_run_request(
        principal,
        model=model,
        key=idempotency_key(idempotency),
        identity=("openai_v1", dict(body)),
        messages=tuple(messages),
        parameters={name: value for name, value in body.items() if name not in OURS},
        stream=bool(body.get("stream")),
        threaded=True,
        exclusive=False,
        store=keeps(body.get("store")),
        end_user=str(body.get("safety_identifier") or body.get("user") or "")[:200],
        recall=recall,
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _check_message(index: int, message: Any) -> None:
    where = f"messages[{index}]"
    if not isinstance(message, dict):
        raise _invalid(where, f"'{where}' must be an object.")
    role = message.get("role")
    if not isinstance(role, str) or not role or len(role) > 64:
        raise _invalid(f"{where}.role", f"'{where}.role' must be a role such as 'user'.")
    content = message.get("content")
    if content is None and role == "user":
        raise _invalid(f"{where}.content", f"'{where}.content' is missing.")
    if content is not None and not isinstance(content, (str, list)):
        raise _invalid(f"{where}.content", f"'{where}.content' must be a string or a list of parts.")
    if isinstance(content, list) and not all(isinstance(part, dict) for part in content):
        raise _invalid(f"{where}.content", f"'{where}.content' must be a list of objects.")


def _invalid(param: str, message: str) -> BadRequest:
    return BadRequest(message, code="invalid_value", param=param)
