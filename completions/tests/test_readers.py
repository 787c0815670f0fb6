"""Following a run from any point: nothing missing, nothing repeated, one ending."""

from __future__ import annotations

import asyncio
import random
from unittest import mock

from completions import readers, services
from completions.cursors import BadCursor, Cursor
from completions.live import LIVE
from completions.models import Chunk, Run
from completions.readers import subscribe
from completions.run_requests import RunHandle
from completions.tests.asking import question
from completions.tests.committed import CommittedTestCase, endings, follow, text_of
from completions.types import Delta, Heartbeat, Resync, StreamStarted
from conversations.models import Conversation, Message
from conversations.services import delete_conversation
from foundation.database import in_database_thread


class ReaderTest(CommittedTestCase):
    def asked(self) -> RunHandle:
        """A finished run with many chunks."""

        async def test():
            handle = await services.submit(question(self.alice, "word " * 120))
            await follow(handle)
            return handle

        with self.settings(ECHO_DELAY=0.003, FLUSH_SECONDS=0.002):
            handle = self.in_loop(test)
        self.assertGreater(Chunk.objects.filter(run_id=handle.run_id).count(), 5)
        return handle

    def content(self, handle: RunHandle) -> str:
        return Message.objects.get(run=handle.run_id).content

    def test_every_cut_is_continued_without_a_hole_or_an_echo(self):
        handle = self.asked()
        content = self.content(handle)
        cuts = [(0, 0), *Chunk.objects.filter(run_id=handle.run_id).values_list("seq", "end")]

        async def test():
            return [(end, await follow(handle, after=Cursor(handle.run_id, seq, end))) for seq, end in cuts]

        for end, events in self.in_loop(test):
            self.assertEqual(content[:end] + text_of(events), content)
            self.assertEqual(len(endings(events)), 1)
            self.assertEqual(events[-1].end, len(content))

    def test_random_reconnects_while_it_is_written_lose_nothing(self):
        async def reader(handle: RunHandle) -> str:
            text, cursor = "", Cursor(handle.run_id)
            while True:
                left = random.randrange(1, 6)
                async for event in subscribe(handle.run_id, after=cursor):
                    if isinstance(event, Delta):
                        text += event.text
                        cursor = Cursor(handle.run_id, event.seq, event.end)
                    elif endings([event]):
                        return text
                    left -= 1
                    if not left:
                        break

        async def test():
            handle = await services.submit(question(self.alice, "word " * 60))
            return handle, await asyncio.gather(*(reader(handle) for _ in range(8)))

        with self.settings(ECHO_DELAY=0.003):
            handle, texts = self.in_loop(test)
        self.assertEqual(set(texts), {self.content(handle)})

    def test_a_reader_in_another_process_follows_what_is_written_here(self):
        async def test():
            handle = await services.submit(question(self.alice, "word " * 60))
            live = LIVE.pop(handle.run_id)  # another process has no such entry
            elsewhere = asyncio.create_task(follow(handle))
            await asyncio.sleep(0)
            LIVE[handle.run_id] = live
            here, there = await asyncio.gather(follow(handle), elsewhere)
            return handle, here, there

        with self.settings(ECHO_DELAY=0.01):
            handle, here, there = self.in_loop(test)
        self.assertEqual(text_of(here), text_of(there))
        self.assertEqual(text_of(there), self.content(handle))
        self.assertGreater(len([event for event in there if isinstance(event, Delta)]), 1)
        self.assertEqual([each.status for each in endings(there)], ["complete"])

    def test_a_cursor_that_fits_nothing_gets_the_whole_text_again(self):
        handle = self.asked()
        content = self.content(handle)
        cursors = [Cursor(handle.run_id, 1, 10**6), Cursor(handle.run_id, 10**6, 3), Cursor(handle.run_id, 2, 1)]

        async def test():
            return [await follow(handle, after=cursor) for cursor in cursors]

        for events in self.in_loop(test):
            self.assertIsInstance(events[0], Resync)
            self.assertEqual(text_of(events), content)
            self.assertEqual(len(endings(events)), 1)

    def test_when_the_pieces_are_gone_the_text_goes_on(self):
        handle = self.asked()
        content = self.content(handle)
        Chunk.objects.filter(run_id=handle.run_id).delete()

        async def test():
            return [
                (end, await follow(handle, after=Cursor(handle.run_id, seq, end)))
                for seq, end in ((0, 0), (3, 7), (9, len(content)))
            ]

        for end, events in self.in_loop(test, sound=False):
            self.assertEqual(content[:end] + text_of(events), content)

    def test_while_nobody_can_end_a_lost_run_its_reader_is_told_to_come_back(self):
        """The database can be read and takes no writes: on a full disk, no process ends what another one lost."""
        handle = self.asked()
        this = Run.objects.filter(pk=handle.run_id)
        [before] = this.values("state", "finished_at")
        this.update(state=Run.State.RUNNING, finished_at=None)

        async def test():
            events = [event async for event in subscribe(handle.run_id)]
            await in_database_thread(lambda: this.update(**before))
            return events

        with mock.patch.object(readers, "STORAGE_SECONDS", 0.3), self.settings(LEASE_SECONDS=0.3):
            events = self.in_loop(test)
        self.assertEqual(text_of(events), self.content(handle))
        self.assertEqual(endings(events), [readers.COME_BACK])

    def test_a_reader_hears_that_the_line_is_alive(self):
        async def test():
            handle = await services.submit(question(self.alice, "word"))
            return await follow(handle, idle=0.02)

        with self.settings(ECHO_DELAY=0.1):
            events = self.in_loop(test)
        self.assertTrue(any(isinstance(event, Heartbeat) for event in events))
        self.assertEqual(len([event for event in events if isinstance(event, StreamStarted)]), 1)

    def test_a_run_that_is_deleted_ends_for_its_readers(self):
        handle = self.asked()
        delete_conversation(conversation=Conversation.objects.get(runs=handle.run_id))

        async def test():
            return await follow(handle)

        self.assertEqual(len(endings(self.in_loop(test))), 1)
        self.assertFalse(Run.objects.filter(pk=handle.run_id).exists())


class CursorTest(CommittedTestCase):
    def test_a_cursor_is_read_back(self):
        cursor = Cursor(self.alice.pk, 3, 99)
        self.assertEqual(Cursor.parse(str(cursor)), cursor)

    def test_hostile_cursors_are_refused(self):
        run = self.alice.pk.hex
        for text in (
            *("", "-1", "1e9", "../x", "x" * 10_000, "\x00", f"{run}", f"{run}.1", f"{run}.1.2.3", f"{run}.-1.2"),
            *(f"{run}.1.2\n", f" {run}.1.2", f"{run.upper()}Z.1.2", f"{run}.1.٣", f"{run}.9999999999.1", f"{run}.1.2 "),
        ):
            with self.assertRaises(BadCursor, msg=text):
                Cursor.parse(text)
