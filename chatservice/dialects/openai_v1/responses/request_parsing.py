"""Parses Responses requests: checks the fields we know, and keeps the others for an upstream that may know them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatservice.dialects.openai_v1.history import keeps
from chatservice.dialects.openai_v1.item_parsing import messages_from
from chatservice.dialects.openai_v1.items import RAW
from chatservice.dialects.openai_v1.metadata import read_metadata
from chatservice.dialects.openai_v1.responses.parameters import chat_parameters
from chatservice.dialects.openai_v1.responses.references import References
from chatservice.dialects.openai_v1.responses.shapes import ECHOED, ONLY_IF_GIVEN
from chatservice.dialects.openai_v1.responses.tools import hosted
from chatservice.dialects.problems import BadRequest
from completions.types import Wire

NUMBERS = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
INTEGERS = ("max_output_tokens", "max_tool_calls", "top_logprobs")
BOOLEANS = ("stream", "store", "background", "parallel_tool_calls")
STRINGS = ("instructions", "previous_response_id", "prompt_cache_key", "safety_identifier", "service_tier", "user")
OBJECTS = ("metadata", "reasoning", "text", "stream_options")
LISTS = ("tools", "include")
CHECKS: tuple[tuple[tuple[str, ...], tuple[type, ...], str], ...] = (
    (NUMBERS, (int, float), "a number"),
    (INTEGERS, (int,), "an integer"),
    (BOOLEANS, (bool,), "a boolean"),
    (STRINGS, (str,), "a string"),
    (OBJECTS, (dict,), "an object"),
    (LISTS, (list,), "a list"),
)
RANGES = {"temperature": (0, 2), "top_p": (0, 1), "top_logprobs": (0, 20), "max_output_tokens": (1, None)}
TRUNCATIONS = ("auto", "disabled")
# What says where a response is stored and how it is sent: not the upstream's to know.
OURS = frozenset(
    {"model", "input", "instructions", "stream", "stream_options", "store", "background"}
    | {"previous_response_id", "conversation", "metadata", "recall", "generate"}
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as far as it can be read without the store. `items` may still refer to stored ones."""

    body: Wire
    model: str
    items: tuple[Any, ...]
    conversation: str | None
    references: References
    given: tuple[dict[str, Any], ...]
    """The chat messages of the items that refer to nothing."""
    parameters: dict[str, Any]
    """What is asked of the model, in the words of chat completions."""

    @property
    def stores(self) -> bool:
        return keeps(self.body.get("store"))

    @property
    def is_background(self) -> bool:
        return bool(self.body.get("background"))

    @property
    def previous(self) -> str | None:
        return self.body.get("previous_response_id")

    @property
    def native(self) -> dict[str, Any]:
        return {name: value for name, value in self.body.items() if name not in OURS}

    @property
    def echo(self) -> dict[str, Any]:
        """Return the fields that the response repeats, and what is to be included in it."""
        given = {name: self.body[name] for name in (*ECHOED, *ONLY_IF_GIVEN) if self.body.get(name) is not None}
        if self.body.get("include"):
            given["include"] = self.body["include"]
        if "text" in given:
            given["text"] = {**ECHOED["text"], **given["text"]}
        if "tools" in given:
            given["tools"] = [_as_shown(tool) for tool in given["tools"]]
        if "reasoning" in given:
            given["reasoning"] = {**ECHOED["reasoning"], **given["reasoning"]}
        return given

    def messages(self, found: Mapping[str, Wire]) -> tuple[dict[str, Any], ...]:
        """Return the chat messages of the input; `found` are the stored items that it refers to."""
        if not self.references:
            return self.given
        return tuple(messages_from(self.references.replaced(self.items, found)))

    def only_for_responses(self) -> list[str]:
        """Return the types of hosted tools and of their items that the request needs: for an upstream with this API."""
        raw = [item for message in self.given for item in message.get(RAW, ())]
        return sorted({*hosted(self.body)[0], *(str(item["type"]) for item in raw)})


def read_request(body: Wire, *, needs_input: bool = True) -> Asked:
    """Return what a request asks for; raises BadRequest naming the field."""
    model = body.get("model", "default")
    if not isinstance(model, str) or not model or len(model) > 200:
        raise _invalid("model", "must be the name of a model")
    for names, types, wanted in CHECKS:
        for name in names:
            value = body.get(name)
            if value is not None and (not isinstance(value, types) or (types != (bool,) and isinstance(value, bool))):
                raise _invalid(name, f"must be {wanted}")
    for name, (least, most) in RANGES.items():
        value = body.get(name)
        if value is not None and (value < least or (most is not None and value > most)):
            raise _invalid(name, f"must be at least {least}" + (f" and at most {most}" if most is not None else ""))
    if body.get("truncation") not in (None, *TRUNCATIONS):
        raise _invalid("truncation", f"must be one of {', '.join(TRUNCATIONS)}")
    if not all(isinstance(each, str) for each in body.get("include") or ()):
        raise _invalid("include", "must be a list of strings")
    read_metadata(body.get("metadata"))
    items = _items(body.get("input"), needed=needs_input)
    references, conversation = References(items), _conversation(body.get("conversation"))
    previous = body.get("previous_response_id")
    if previous is not None and conversation is not None:
        raise _invalid("previous_response_id", "cannot be given together with 'conversation'")
    if body.get("background") and not keeps(body.get("store")):
        raise _invalid("background", "needs 'store' to be true: a response in the background is fetched later")
    given = tuple(messages_from(references.without(items)))  # a wrong item is refused before anything is looked up
    return Asked(body, model, items, conversation, references, given, chat_parameters(body))


def _as_shown(tool: Any) -> Any:
    """Return a tool as a response shows it: a function has all fields there."""
    is_function = isinstance(tool, Mapping) and tool.get("type") == "function"
    return {"description": None, "parameters": None, "strict": None, **tool} if is_function else tool


def _items(given: Any, *, needed: bool) -> tuple[Any, ...]:
    if isinstance(given, str):
        return ({"type": "message", "role": "user", "content": given},)
    if given is None and not needed:
        return ()
    if not isinstance(given, list) or (needed and not given):
        raise _invalid("input", "must be a string or a list of items")
    return tuple(given)


def _conversation(given: Any) -> str | None:
    if given is None:
        return None
    named = given.get("id") if isinstance(given, Mapping) else given
    if not isinstance(named, str):
        raise _invalid("conversation", "must be the id of a conversation, or an object with its 'id'")
    return named


def _invalid(param: str, must: str) -> BadRequest:
    return BadRequest(f"'{param}' {must}.", code="invalid_value", param=param)
