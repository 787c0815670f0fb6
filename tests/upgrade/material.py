"""The messages, answers and imports of the recorded history.

`MESSAGES` is a conversation with every kind of message on OpenAI's wire, and some unknown kinds.
"""

from __future__ import annotations

from typing import Any

PIXEL = "data:image/png;base64,iVBORw0KGgo="
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "name": "ops", "content": [{"type": "text", "text": "Answer in English."}]},
    {"role": "user", "name": "Zoë", "content": "A lighthouse, please."},
    {"role": "assistant", "content": "Which one?", "refusal": None, "annotations": []},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "This one"},
            {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            {"type": "text", "text": "or that one?", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/lighthouse.png"}, "alt": "at night"},
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            CALL,
            {**CALL, "id": "c2", "extra_content": {"signature": "é"}},
            {"id": "c3", "type": "custom", "custom": {"name": "shell", "input": "ls"}},
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "42"},
    {
        "role": "tool",
        "tool_call_id": "c2",
        "content": [{"type": "text", "text": "forty"}, {"type": "text", "text": "two"}],
    },
    {"role": "tool", "tool_call_id": "c3", "content": "", "is_error": True},
    {"role": "assistant", "content": "Both.", "reasoning_content": "Hm.", "reasoning": "Hm", "reasoning_details": [{}]},
    {
        "role": "user",
        "content": [
            {"type": "file", "file": {"filename": "map.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "No:"}, {"type": "refusal", "refusal": "I cannot."}]},
    {
        "role": "user",
        "content": [{"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}, {"odd": [1]}],
    },
    {"role": "assistant", "content": None, "refusal": "I cannot."},
    {"role": "user", "content": []},
    {"role": "assistant", "content": None, "audio": {"id": "audio-1"}},
    {"role": "user", "content": [{"type": "text"}, {"type": "text", "text": ""}], "mood": {"a": [1, None, {"b": 0.5}]}},
    {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
    {"role": "function", "name": "f", "content": "done"},
    {
        "role": "assistant",
        "content": "See [1].",
        "annotations": [{"type": "url_citation", "url_citation": {"url": "x"}}],
    },
    {"role": "critic", "content": "Too long."},
    {"role": "user", "content": "Was that a whale at the harbour? 🐋", "name": "", "weight": 0},
]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
# The fault-injecting upstream's behaviours: one for each kind of answer and of failure.
STREAMED = (
    *("ok", "tools", "reasoning", "refusal", "unknown-fields", "logprobs", "n2", "usage-missing"),
    *("truncated", "500"),
)
WHOLE = ("tools", "rich-json", "context-length", "error-200")
BOATS = "Where do boats sleep?"

CHATGPT = {
    "title": "A storm at sea",
    "create_time": 1_700_000_000.25,
    "update_time": 1_700_000_900.0,
    "conversation_id": "chatgpt-1",
    "current_node": "d",
    "default_model_slug": "gpt-4o",
    "is_starred": True,
    "mapping": {
        "a": {"id": "a", "message": None, "parent": None, "children": ["b"]},
        "b": {
            "id": "b",
            "parent": "a",
            "message": {
                "author": {"role": "user"},
                "create_time": 1_700_000_001.5,
                "content": {
                    "content_type": "multimodal_text",
                    "parts": ["How high", {"content_type": "image_asset_pointer", "asset_pointer": "file://1"}],
                },
            },
        },
        "c": {
            "id": "c",
            "parent": "b",
            "message": {"author": {"role": "assistant"}, "content": {"content_type": "text", "parts": ["Ten metres."]}},
        },
        "d": {
            "id": "d",
            "parent": "b",
            "message": {
                "author": {"role": "assistant"},
                "content": {"content_type": "code", "language": "python", "text": "print(10)"},
                "metadata": {"finish_details": {"type": "max_tokens"}},
            },
        },
        # An export in this service's format, with parts that no API accepts.
        "e": {
            "id": "e",
            "parent": "d",
            "message": {
                "author": {"role": "tool", "name": "deck"},
                "content": {"content_type": "text", "parts": ["odd"]},
                "metadata": {
                    "chat_service": {
                        "position": 4,
                        "status": "failed",
                        "model": "",
                        "upstream": "elsewhere",
                        "finish_reason": "length",
                        "usage": {"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3}},
                        "parts": {
                            "content": "other",
                            "name": None,
                            "role": "critic",
                            "mood": {"a": [1, None, {"b": 0.5}]},
                        },
                    }
                },
            },
        },
    },
}
CLAUDE = {
    "uuid": "claude-1",
    "name": "Tides",
    "created_at": "2025-01-02T03:04:05.678901Z",
    "updated_at": "2025-01-02T03:05:00Z",
    "model": "claude-3",
    "is_archived": True,
    "chat_messages": [
        {
            "uuid": "m1",
            "sender": "human",
            "created_at": "2025-01-02T03:04:05Z",
            "content": [{"type": "text", "text": "When is the tide?"}],
            "attachments": [{"file_name": "tides.txt", "extracted_content": "High at noon."}],
            "files": [{"file_name": "bay.jpg"}],
        },
        {"uuid": "m2", "sender": "assistant", "content": [{"type": "text", "text": "At noon."}]},
    ],
}
LINE = {"custom_id": "line-1", "messages": [*MESSAGES[:7], {"role": "assistant", "content": "It is 42."}]}
