"""Frames follow the rules of the EventSource specification."""

from __future__ import annotations

import uuid

import pytest

from chatservice.dialects.chat.stream import TokenStream
from chatservice.testing import sse_events
from completions.types import Delta, Resync, RunFinished

RUN = uuid.UUID(int=7)


def said(*pieces: str) -> str:
    wire, end, frames = TokenStream(RUN), 0, [b""]
    for seq, piece in enumerate(pieces, 1):
        end += len(piece)
        frames.append(wire.frame(Delta(piece, (), seq, end)))
    return "".join(event["data"] for event in sse_events(b"".join(frames).decode()))


@pytest.mark.parametrize(
    "pieces",
    [
        ("Hello", ", how", " can I", " help you?"),
        ("  two spaces", "   three"),
        ("\n",),
        ("\n\n", "\n"),
        ("a\nb", "\n", "c\n"),
        ("data: x", "\nid: 5\n", ": comment"),
        ("wör", "ld 🙂", "\u2028\u0085"),
    ],
)
def test_every_character_survives(pieces: tuple[str, ...]) -> None:
    assert said(*pieces) == "".join(pieces)


@pytest.mark.parametrize("pieces", [("a\r\nb",), ("a\r", "\nb"), ("a\rb",), ("a\r", "b")])
def test_every_kind_of_line_end_is_one_line_end(pieces: tuple[str, ...]) -> None:
    assert said(*pieces) == "a\nb"


def test_the_printed_frames() -> None:
    frame = TokenStream(RUN).frame(Delta(" can I", (), 3, 16))
    assert frame == f"id: {RUN.hex}.3.16\ndata:  can I\n\n".encode()


def test_the_opening_names_the_run_before_it_says_anything() -> None:
    assert TokenStream(RUN).opening() == f"retry: 1000\nid: {RUN.hex}.0.0\n\n".encode()


def test_an_error_stands_one_after_the_text_and_a_good_end_says_nothing() -> None:
    wire = TokenStream(RUN)
    wire.frame(Delta("Hel", (), 1, 3))
    assert wire.frame(RunFinished("complete", "stop")) == b""
    [event] = sse_events(
        wire.frame(RunFinished("failed", error_code="x", error_message="Y.", http_status=502)).decode()
    )
    assert event == {"event": "error", "id": f"{RUN.hex}.2.3", "data": '{"code":"x","message":"Y."}'}


def test_a_resync_carries_the_whole_text() -> None:
    [event] = sse_events(TokenStream(RUN).frame(Resync("a\nb", 4)).decode())
    assert event == {"event": "resync", "id": f"{RUN.hex}.4.3", "data": "a\nb"}
