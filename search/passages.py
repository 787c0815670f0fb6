"""What is indexed of a message and the turns before it: the text for its terms, and the passages to embed. Pure.

A passage contains date, author and text; then, as far as the embedder reads, the two turns before it. A message with
fewer turns before it gets the title of its conversation instead.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass

# Texts are measured in quarters of a token: an ASCII character is about one, any other about two to four.
ASCII_COST, OTHER_COST = 1, 3
OVERLAP = 0.2  # of a window that the next window repeats
MAX_WINDOWS = 64  # of one message: about twelve thousand words
MAX_FILE_WINDOWS = 256  # of the files of one message together: about thirty thousand words, a hundred pages
CONTEXT_SHARE = 0.4  # of a passage, at most, for the turns before the message
WHITESPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class MessageText:
    """What the index reads of a message. `author` is a name, or the role."""

    author: str
    content: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A text to embed, and the window of the message (in code points) that it stands for."""

    text: str
    start: int
    end: int


def day(at: dt.datetime) -> str:
    """Return a date in the form that people use in questions: 8 May 2023."""
    return f"{at.day} {at:%B %Y}"


def indexed_text(message: MessageText, at: dt.datetime, previous: tuple[MessageText, ...], title: str) -> str:
    """Return the text whose words find a message: its content, author and day."""
    heading = title if len(previous) < 2 else ""
    return f"{message.author}\n{message.content}\n{day(at)}\n{heading}"


def passages(
    message: MessageText,
    at: dt.datetime,
    previous: tuple[MessageText, ...],
    title: str,
    *,
    tokens: int,
    windows_at_most: int = MAX_WINDOWS,
) -> list[Passage]:
    """Return the passages of a message; `previous` are up to two turns before it, the nearest first."""
    room = tokens * 4
    context = [f"{turn.author}: {turn.content}" for turn in previous]
    if len(previous) < 2 and title:
        context.append(title)
    head = f"{day(at)}\n{message.author}: "
    # Short messages leave more room for their context; long ones need little of it.
    own = room - cost(head) - min(int(room * CONTEXT_SHARE), sum(map(cost, context)))
    found = []
    for start, end in windows(message.content, max(own, room // 4), windows_at_most):
        text = head + message.content[start:end]
        left = room - cost(text)
        for turn in context:
            piece = beginning(turn, left // 2 if turn is not context[-1] else left)
            if not piece:
                break
            text += f"\n{piece}"
            left -= cost(piece) + 1
        found.append(Passage(text, start, end))
    return found


def windows(text: str, room: int, at_most: int = MAX_WINDOWS) -> Iterator[tuple[int, int]]:
    """Yield overlapping parts of `text` that cost at most `room`, cut between words if there are any."""
    start = 0
    for _ in range(at_most):
        end = start + len(beginning(text[start : start + room], room))
        if end >= len(text):
            yield start, len(text)
            return
        end = _cut(text, start, end)
        yield start, end
        back = end - int((end - start) * OVERLAP)
        start = max(_cut(text, start, back), start + 1)


def beginning(text: str, room: int) -> str:
    """Return as much of `text` as costs at most `room`."""
    if text.isascii():
        return text[: max(room, 0)]
    for at, character in enumerate(text):
        room -= ASCII_COST if character.isascii() else OTHER_COST
        if room < 0:
            return text[:at]
    return text


def cost(text: str) -> int:
    return len(text) if text.isascii() else sum(ASCII_COST if c.isascii() else OTHER_COST for c in text)


def _cut(text: str, start: int, end: int) -> int:
    """Move `end` back to the last white space in the second half of the window, if there is any."""
    for at in range(end, (start + end) // 2, -1):
        if WHITESPACE.match(text, at - 1):
            return at
    return end
