"""A long answer arrives in bounded frames, from any cursor, live or stored: a slow reader holds one frame in memory."""

from __future__ import annotations

from typing import Any

from completions.cursors import Cursor
from completions.models import Chunk
from completions.run_requests import RunHandle
from completions.run_results import RunResult
from completions.tests.asking import accept_one, end_run, question, store_text
from completions.tests.committed import CommittedTestCase, endings, follow, text_of
from completions.types import MAX_CHARS, Delta, Resync, portions

CHUNKS = [f"{n:04}" * 750 for n in range(30)]
TEXT = "".join(CHUNKS)


class LongAnswerTest(CommittedTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.handle = self.long_answer()

    def long_answer(self) -> RunHandle:
        """Store a finished run of many long chunks."""
        handle = accept_one(question(self.alice, "Tell me everything"))
        chunks, end = [], 0
        for seq, text in enumerate(CHUNKS, 1):
            end += len(text)
            chunks.append((handle.run_id, Delta(text, (), seq, end)))
        result = RunResult(
            run_id=handle.run_id,
            message_id=handle.message_id,
            conversation_id=handle.conversation_id,
            status="complete",
            content=TEXT,
            finish_reason="stop",
        )
        store_text(chunks)
        end_run(result)
        return handle

    def events(self, after: Cursor | None = None) -> list[Any]:
        async def test() -> list[Any]:
            return await follow(self.handle, after=after)

        events = self.in_loop(test)
        self.assertEqual(len(endings(events)), 1)
        self.assertTrue(all(len(event.text) <= MAX_CHARS for event in events if isinstance(event, Delta | Resync)))
        return events

    def test_it_is_whole_from_its_start_and_from_every_piece(self) -> None:
        self.assertEqual(text_of(self.events()), TEXT)
        for seq in (1, 2, 15, 29, 30):
            end = len("".join(CHUNKS[:seq]))
            events = self.events(Cursor(self.handle.run_id, seq, end))
            self.assertFalse([event for event in events if isinstance(event, Resync)])
            self.assertEqual(text_of(events), TEXT[end:])

    def test_a_cursor_that_fits_nothing_begins_again_and_is_whole(self) -> None:
        for seq, end in ((3, 1), (31, len(TEXT)), (99, 10**8), (0, 7)):
            events = self.events(Cursor(self.handle.run_id, seq, end))
            self.assertEqual(len([event for event in events if isinstance(event, Resync)]), 1, (seq, end))
            self.assertEqual(text_of(events), TEXT)

    def test_its_text_goes_on_when_the_pieces_are_gone(self) -> None:
        Chunk.objects.filter(run_id=self.handle.run_id).delete()
        self.assertEqual(text_of(self.events()), TEXT)
        for end in (1, MAX_CHARS, len(TEXT) - 1, len(TEXT)):
            self.assertEqual(text_of(self.events(Cursor(self.handle.run_id, 3, end))), TEXT[end:])
        [resync, *_] = [each for each in self.events(Cursor(self.handle.run_id, 3, 10**8)) if isinstance(each, Resync)]
        self.assertTrue(TEXT.startswith(resync.text))


def test_what_is_buffered_is_stored_in_pieces_that_fit_a_frame() -> None:
    call = {"choices": [{"index": 0, "delta": {"tool_calls": []}}]}
    buffered = [Delta("a"), Delta("b" * 3 * MAX_CHARS), Delta("c"), *[Delta("", (call,)) for _ in range(100)]]
    chunks = portions(buffered)
    assert "".join(chunk.text for chunk in chunks) == "a" + "b" * 3 * MAX_CHARS + "c"
    assert max(len(chunk.text) for chunk in chunks) <= MAX_CHARS
    assert sum(each == call for chunk in chunks for each in chunk.wire) == 100
    assert len(chunks) < 10
    assert portions([Delta("one")]) == [Delta("one")]
    assert portions([]) == []
