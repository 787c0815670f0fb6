"""What the tools return, and the same as a text: for models, and for clients that show no structured content."""

from __future__ import annotations

import datetime as dt

import msgspec


class Result(msgspec.Struct, frozen=True, kw_only=True):
    def as_text(self) -> str:
        raise NotImplementedError


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """A message. `found` is false for one that is only the nearest by meaning. `url` opens it in the chat page."""

    conversation_id: str
    message_id: str
    title: str
    role: str
    date: dt.datetime
    snippet: str
    found: bool
    url: str


class Found(Result, frozen=True, kw_only=True):
    """`mode` is how it was searched, and `why` the reason if not by words and by meaning, or not reranked."""

    passages: list[Passage]
    mode: str
    why: str | None

    def as_text(self) -> str:
        found = sum(each.found for each in self.passages)
        lines = [f"{found} passages found, best first." if found else "Nothing found."]
        for place, each in enumerate(self.passages):
            if place == found:  # what was found comes first
                lines += ["", "Nearest by meaning:"]
            lines += [
                "",
                f"{named(each.title)} ({each.role}, {when(each.date)})",
                each.snippet,
                f"conversation {each.conversation_id}, message {each.message_id}",
                each.url,
            ]
        return "\n".join(lines)


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """A message; `cut` tells that only the beginning of its text is here."""

    id: str
    role: str
    date: dt.datetime
    status: str
    text: str
    cut: bool


class ConversationPart(Result, frozen=True, kw_only=True):
    """Messages of a conversation, oldest first. To read on, name the first or the last one of them as `around`."""

    id: str
    title: str
    date: dt.datetime
    url: str
    messages: list[Said]
    more_before: bool
    more_after: bool

    def as_text(self) -> str:
        lines = [f"{named(self.title)} (last changed {when(self.date)})", self.url]
        if self.more_before:
            lines += ["", f"(There are earlier messages: read around {self.messages[0].id}.)"]
        for each in self.messages:
            more = f"\n(Cut here: read around {each.id} for the whole text.)" if each.cut else ""
            lines += ["", f"## {each.role}, {when(each.date)}, message {each.id}", each.text + more]
        if self.more_after:
            lines += ["", f"(There are later messages: read around {self.messages[-1].id}.)"]
        return "\n".join(lines)


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    title: str
    created: dt.datetime
    changed: dt.datetime
    archived: bool
    pinned: bool
    tags: list[str]
    url: str


class Listing(Result, frozen=True, kw_only=True):
    """`next_cursor` gets the next page; null at the end."""

    conversations: list[Listed]
    next_cursor: str | None

    def as_text(self) -> str:
        lines = [
            f"- {named(each.title)} ({', '.join([when(each.changed), *each.tags])}), {each.id}\n  {each.url}"
            for each in self.conversations
        ]
        if self.next_cursor:
            lines.append(f"There are more: cursor {self.next_cursor}")
        return "\n".join(lines) or "No conversations."


class Lately(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation and the beginnings of its last two messages, `question` being the earlier one."""

    id: str
    title: str
    changed: dt.datetime
    question: str
    answer: str
    url: str


class RecentConversations(Result, frozen=True, kw_only=True):
    conversations: list[Lately]

    def as_text(self) -> str:
        lines = []
        for each in self.conversations:
            lines += [f"{named(each.title)} ({when(each.changed)}), {each.id}"]
            lines += [f"> {' '.join(text.split())}" for text in (each.question, each.answer) if text]
            lines += [each.url, ""]
        return "\n".join(lines).strip() or "No conversations."


def named(title: str) -> str:
    return " ".join(title.split()) or "Untitled"


def when(time: dt.datetime) -> str:
    return f"{time.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
