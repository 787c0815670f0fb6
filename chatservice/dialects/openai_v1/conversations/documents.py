"""The list of conversations, and of what a search finds in them, for the OpenAPI document: OpenAI has neither."""

from __future__ import annotations

from typing import Any

from chatservice.dialects.openai_v1.reference import schema
from chatservice.dialects.searching import FOUND as FOUND_HELP
from chatservice.dialects.searching import OTHERS

TEXT, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}


def _all_of(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


# A score that a search by words, or by meaning, does not give.
SCORE = {"type": ["number", "null"]}
LISTED = {"allOf": [schema("ConversationResource"), _all_of({"title": TEXT, "updated_at": INTEGER})]}
FOUND = {
    "allOf": [
        schema("ConversationItem"),
        _all_of(
            {
                "conversation_id": TEXT,
                "branch": {"type": "string", "enum": ["shown", "other version"]},
                "snippet": TEXT,
                "highlights": {
                    "type": "array",
                    "items": {"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2},
                    "description": "[start, end] of each match, in code points of `snippet`",
                },
                "score": {**NUMBER, "description": "0 to 1, comparable within one response"},
                "text_score": SCORE,
                "semantic_score": SCORE,
                "matched": {"type": "string", "enum": ["words", "meaning", "both"]},
                "found": {"type": "boolean", "description": FOUND_HELP},
                "others": {"type": ["integer", "null"], "description": OTHERS},
            }
        ),
    ]
}
NEXT_CURSOR = {"type": ["string", "null"], "description": "with `query`: the `cursor` of the next page"}
LIST = _all_of(
    {
        "object": {"type": "string", "enum": ["list"]},
        "data": {
            "type": "array",
            "items": {"anyOf": [LISTED, FOUND]},
            "description": "conversations; with `query`, the items that were found",
        },
        "first_id": TEXT,
        "last_id": TEXT,
        "has_more": {"type": "boolean"},
    }
)
CONVERSATION_LIST = {**LIST, "properties": {**LIST["properties"], "next_cursor": NEXT_CURSOR}}
