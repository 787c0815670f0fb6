"""What a model answers that is good enough for other people's checks: a pure function of the request's body.

Small rules in place of knowledge: it calls the tools that a question asks for, fills schemas, does sums, repeats
what it is told to, remembers what was said, sees that there is a picture, and thinks where it is asked to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from completions.tests.clever_schemas import fill

Body = dict[str, Any]
ESSAY = "The sea is wide and deep, and it is never the same twice. "
CAPITALS = {
    "australia": "Canberra",
    "england": "London",
    "france": "Paris",
    "germany": "Berlin",
    "italy": "Rome",
    "japan": "Tokyo",
}
# What a tool is for is in its name; these words of it say nothing.
FILLERS = {"get", "set", "send", "call", "current", "do", "run", "my", "the", "a", "of", "to", "tool"}
PLACE = re.compile(r"\b(?:in|for|and|of|at)\s+([A-Z]\w+(?:\s[A-Z]\w+)*)")
SUM = re.compile(r"(\d+) ([-+*/×]) (\d+)")
EXACTLY = re.compile(r"\b(?:exactly|verbatim)\b[^:]*:\s*(.+)", re.DOTALL)
FACT = re.compile(r"\b(?:my|the) +([\w' ]{2,40}?)\s+is\s+(?:called\s+)?[`'\"]?([\w-]+)", re.IGNORECASE)
PET = re.compile(r"\ba\s+(\w+)\s+called\s+([\w-]+)", re.IGNORECASE)
ASKED_FACT = re.compile(r"\bwhat(?:'s|\s+is|\s+was)\s+(?:my|the)\s+([\w' ]{2,40}?)\s*\?", re.IGNORECASE)
KEYS = re.compile(r'"(\w+)"(.{0,14})')
TOKEN = re.compile(r"\s*\S+|\s+$")
MAX_COUNT = 1_000


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer: what was thought, what is said, which tools are called with what."""

    text: str = ""
    reasoning: str = ""
    calls: Sequence[tuple[str, Body]] = field(default_factory=tuple)


def reply_to(body: Body) -> Reply:
    """Return the answer to a chat completion."""
    messages: list[Body] = [each for each in body.get("messages") or [] if isinstance(each, dict)]
    question = last_question(messages)
    reasoning = f"The question is: {question[:60]}" if thinks(body) else ""
    calls = tuple(tool_calls(body, messages, question))
    return Reply("" if calls else said(body, messages, question), reasoning, calls)


def thinks(body: Body) -> bool:
    template = body.get("chat_template_kwargs")
    off = isinstance(template, dict) and template.get("enable_thinking") is False
    return not off and body.get("reasoning_effort") not in (None, "none", "minimal")


def last_question(messages: Sequence[Body]) -> str:
    return next((text_of(each) for each in reversed(messages) if each.get("role") == "user"), "")


def text_of(message: Body) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else ""


def parts_of(messages: Sequence[Body]) -> list[str]:
    """Return the kinds of what a question holds besides text."""
    content = next((each.get("content") for each in reversed(messages) if each.get("role") == "user"), None)
    return (
        [str(part.get("type")) for part in content if part.get("type") != "text"] if isinstance(content, list) else []
    )


# Tools.


def tool_calls(body: Body, messages: Sequence[Body], question: str) -> Iterator[tuple[str, Body]]:
    """Yield what is called: whatever the question names, or anything at all where a call is required."""
    tools, must = allowed_tools(body)
    # A result ends the calling, even where a client repeats `required` with it.
    if not tools or messages[-1].get("role") == "tool":
        return
    chosen = [tool for tool in tools if is_meant(tool, question)] or (tools[:1] if must else [])
    calls = [
        (str(tool["name"]), fill(tool.get("parameters") or {}, question, place=place))
        for tool in chosen
        for place in (PLACE.findall(question) if len(chosen) == 1 else PLACE.findall(question)[:1]) or [""]
    ]
    yield from calls[:1] if body.get("parallel_tool_calls") is False else calls


def allowed_tools(body: Body) -> tuple[list[Body], bool]:
    """Return the functions that may be called, and whether one must be."""
    tools = [each["function"] for each in body.get("tools") or [] if each.get("type") == "function"]
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, str):
        return ([] if choice == "none" else tools), choice == "required"
    allowed = choice.get("allowed_tools")
    if isinstance(allowed, dict):
        names = {each.get("function", each).get("name") for each in allowed.get("tools") or []}
        return [tool for tool in tools if tool["name"] in names], allowed.get("mode") == "required"
    wanted = (choice.get("function") or choice).get("name")
    return [tool for tool in tools if tool["name"] == wanted], True


def is_meant(tool: Body, question: str) -> bool:
    words = re.findall(r"[a-z]+", question.lower())
    names = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(tool["name"])).lower())
    return any(word.startswith(name) for name in set(names) - FILLERS for word in words)


# Text.


def said(body: Body, messages: Sequence[Body], question: str) -> str:
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return json.dumps(fill(wanted["json_schema"].get("schema") or {}, question), ensure_ascii=False)
    if wanted.get("type") == "json_object" or re.search(r"\bJSON\b", question):
        return json.dumps(object_as_told(question))
    results = [text_of(each) for each in messages if each.get("role") == "tool"]
    if messages and messages[-1].get("role") == "tool":
        return f"The tools say: {'; '.join(results)}"
    return from_the_question(question) or from_memory(messages, question) or seen(messages) or otherwise(question)


def object_as_told(question: str) -> Body:
    """Return an object with the keys that a question quotes; it is told which of them are numbers."""
    user: Body = {"name": "Ada", "pets": ["Byron", "Babbage"]}
    if '"user"' in question:
        return {"user": user}
    return {key: 36 if "number" in after else "Ada" for key, after in KEYS.findall(question)} or {"answer": "Ada"}


def from_the_question(question: str) -> str:
    if exactly := EXACTLY.search(question):
        return exactly[1].strip()
    if found := SUM.search(question):
        left, operator, right = int(found[1]), found[2], int(found[3])
        results = {"+": left + right, "-": left - right, "/": left // (right or 1)}
        return str(results.get(operator, left * right))
    if found := re.search(r"\bcount (?:from (\d+) )?to (\d+)", question, re.IGNORECASE):
        first, last = int(found[1] or 1), int(found[2])
        return " ".join(str(number) for number in range(first, min(last, first + MAX_COUNT) + 1))
    if "capital" in question.lower():
        return next((city for land, city in CAPITALS.items() if land in question.lower()), "")
    return ""


def from_memory(messages: Sequence[Body], question: str) -> str:
    """Return what was said before about what is asked now; the latest word counts."""
    if re.search(r"\binstructions\b", question, re.IGNORECASE):
        told = [text_of(each) for each in messages if each.get("role") in ("system", "developer")]
        return " | ".join(told) or "There are none."
    if not (asked := ASKED_FACT.search(question)):
        return ""
    facts: dict[str, str] = {}
    for message in messages:
        if message.get("role") != "assistant":
            text = text_of(message)
            facts |= {name.lower(): value for name, value in FACT.findall(text)}
            facts |= {f"{animal.lower()}'s name": name for animal, name in PET.findall(text)}
    about = asked[1].lower()
    return facts.get(about) or facts.get(about.removesuffix("'s name")) or "I do not know."


def seen(messages: Sequence[Body]) -> str:
    kinds = {"image_url": "image", "input_audio": "sound", "file": "file"}
    parts = [kinds.get(kind, kind) for kind in parts_of(messages)]
    return f"I see {len(parts)}: {', '.join(parts)}." if parts else ""


def otherwise(question: str) -> str:
    if re.search(r"\b(essay|at length|story)\b", question, re.IGNORECASE):
        return (ESSAY * 20).strip()
    if re.search(r"\b(hello|hi|hey)\b", question, re.IGNORECASE):
        return "Hello!"
    return f"You said: {question[:200]}" if question else "There is no question."


# Tokens.


def tokens(text: str) -> list[str]:
    """Return the text cut into words, each with the space before it."""
    return TOKEN.findall(text)


def count_tokens(value: Any) -> int:
    """Return how many tokens all texts within a value have."""
    if isinstance(value, str):
        return len(tokens(value))
    if isinstance(value, dict):
        return sum(map(count_tokens, value.values()))
    return sum(map(count_tokens, value)) if isinstance(value, list) else 0
