"""What this service adds to OpenAI's schemas: a property is optional, and OpenAI's clients need not know it."""

from __future__ import annotations

from typing import Any

from chatservice.dialects import empty_answers, recalling
from chatservice.dialects.openai_v1.items import CALL_TYPES, RESULT_TYPES
from conversations.empty_answers import REASONS

EMPTY_REASON = {"type": "string", "enum": [str(reason) for reason in REASONS], "description": empty_answers.HELP}
RECALL = {
    "anyOf": [{"type": "boolean"}, recalling.SHAPE, {"type": "null"}],
    "description": recalling.HELP,
}
RECALLED = {
    "type": "array",
    "items": {"type": "object"},
    "description": "the passages of other conversations that were quoted to the model",
}
# Open Responses has them, and other model servers' APIs.
PENALTIES = {name: {"type": ["number", "null"]} for name in ("presence_penalty", "frequency_penalty")}
RAW_ITEM = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "type": {"type": "string", "not": {"enum": ["message", "reasoning", *CALL_TYPES, *RESULT_TYPES]}},
    },
    "required": ["id", "type"],
    "description": "an item of a tool that a model's server has, as it came",
}
# OpenAI's schema -> what its objects have here besides.
ADDITIONS: dict[str, dict[str, Any]] = {
    "CreateChatCompletionRequest": {"recall": RECALL},
    "CreateChatCompletionResponse": {"recalled": RECALLED, "empty_reason": EMPTY_REASON},
    "CreateChatCompletionStreamResponse": {"recalled": RECALLED, "empty_reason": EMPTY_REASON},
    "CreateResponse": {"recall": RECALL, **PENALTIES},
    "Response": {"recalled": RECALLED, "empty_reason": EMPTY_REASON, "store": {"type": "boolean"}, **PENALTIES},
}
# OpenAI's union -> what else may be there.
ALTERNATIVES: dict[str, dict[str, Any]] = {"ConversationItem": RAW_ITEM}
# Schema -> its property with an address that is given back as it was sent, whatever it is.
ADDRESSES = {"InputFileContent": "file_url", "InputImageContent": "image_url", "ComputerScreenshotContent": "image_url"}
# Schema -> properties that may be left out here.
OPTIONAL: dict[str, set[str]] = {"CreateChatCompletionRequest": {"model"}}
