"""The calls of the OpenAI-compatible API that take ids, for the contract of each way to ask."""

from __future__ import annotations

import uuid

from chatservice.dialects.contract import Call, Ids


def named(prefix: str, text: str) -> str:
    """Return the id of this API for one of the store; a text that is none stays as it is."""
    try:
        return prefix + uuid.UUID(text).hex
    except ValueError:
        return text


def calls_with(ids: Ids) -> list[Call]:
    response = named("resp_", ids.run)
    conversation = named("conv_", ids.conversation)
    completion = named("chatcmpl-", ids.run)
    return [
        Call("GET", f"/v1/chat/completions/{completion}"),
        Call("POST", f"/v1/chat/completions/{completion}", {"metadata": {"topic": "x"}}),
        Call("DELETE", f"/v1/chat/completions/{completion}"),
        Call("GET", f"/v1/chat/completions/{completion}/messages"),
        Call("GET", f"/v1/conversations/{conversation}"),
        Call("POST", f"/v1/conversations/{conversation}", {"metadata": {"topic": "x"}}),
        Call("DELETE", f"/v1/conversations/{conversation}"),
        Call("GET", f"/v1/conversations/{conversation}/items"),
        Call("POST", f"/v1/conversations/{conversation}/items", {"items": [{"role": "user", "content": "x"}]}),
        Call("GET", f"/v1/conversations/{conversation}/items/{named('msg_', ids.message)}"),
        Call("DELETE", f"/v1/conversations/{conversation}/items/{named('msg_', ids.message)}"),
        Call("GET", f"/v1/files/{ids.file}"),
        Call("GET", f"/v1/files/{ids.file}/content"),
        Call("DELETE", f"/v1/files/{ids.file}"),
        Call("GET", f"/v1/responses/{response}"),
        Call("DELETE", f"/v1/responses/{response}"),
        Call("GET", f"/v1/responses/{response}/input_items"),
        Call("POST", f"/v1/responses/{response}/cancel", {}),
        Call("POST", "/v1/responses", {"model": "echo", "input": "Let me in", "conversation": conversation}),
        Call("POST", "/v1/responses/input_tokens", {"input": "Let me in", "conversation": conversation}),
    ]
