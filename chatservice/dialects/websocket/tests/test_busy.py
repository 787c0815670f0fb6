"""`when_busy` of a `send` frame: a second question while an answer is written is refused, stops it, or waits for it."""

from __future__ import annotations

import uuid
from itertools import pairwise

from chatservice.testing import wait_until
from chatservice.testing.sockets import Frame, Socket, SocketTestCase
from completions.models import Run
from completions.tests.invariants import invariants


class BusyTests(SocketTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.marker = f"begin {uuid.uuid4().hex}"

    def begin(self, socket: Socket) -> Frame:
        socket.say(type="send", id="1", content=self.marker, model="fake/held")
        return socket.until("ai_chunk")[-1]

    def tearDown(self) -> None:
        wait_until(lambda: not Run.objects.filter(user=self.alice.user).to_stop(), what="the end")
        self.assertEqual(invariants([self.alice.user]), [])
        super().tearDown()

    def test_questions_wait_and_are_answered_in_order(self) -> None:
        with self.socket(self.alice) as socket:
            first = self.begin(socket)
            where, asked = first["conversation_id"], [first["run_id"]]
            for name in ("2", "3"):
                socket.say(
                    type="send", id=name, content=name, conversation_id=where, model="fake/ok", when_busy="queue"
                )
                stored = socket.read()
                assert (stored["id"], stored["type"]) == (name, "user_message"), stored
                assert Run.objects.get(pk=stored["run_id"]).state == "queued"
                asked.append(stored["run_id"])
            self.upstream.release(self.marker)
            # Each answer's frames are in order, but the end of one may come among the frames of the next.
            ends = [socket.until_end()[-1] for _ in range(3)]
        assert sorted((frame["id"], frame["type"]) for frame in ends) == [(name, "ai_complete") for name in "123"]
        runs = [Run.objects.get(pk=run_id) for run_id in asked]
        for before, after in pairwise(runs):
            assert before.finished_at is not None and after.started_at is not None
            assert before.finished_at <= after.started_at

    def test_a_question_instead_of_the_answer(self) -> None:
        with self.socket(self.alice) as socket:
            first = self.begin(socket)
            socket.say(
                type="send", id="2", content="Rather this", model="fake/ok",
                conversation_id=first["conversation_id"], when_busy="interrupt",
            )  # fmt: skip
            ends = {frame["id"]: frame for frame in (socket.until_end()[-1], socket.until_end()[-1])}
        assert (ends["1"]["data"]["status"], ends["2"]["data"]["status"]) == ("cancelled", "complete")
        assert ends["1"]["data"]["content"]

    def test_one_that_waits_is_found_and_stopped(self) -> None:
        with self.socket(self.alice) as socket, self.socket(self.alice) as other:
            first = self.begin(socket)
            where = first["conversation_id"]
            socket.say(type="send", id="2", content="two", conversation_id=where, when_busy="queue")
            waiting = socket.read()["run_id"]
            other.say(type="subscribe", conversation_id=where)
            assert other.read()["run_id"] == first["run_id"]
            other.say(type="stop", run_id=waiting)
            assert other.until("stopping")[-1]["data"] == {"status": "queued"}
            end = socket.until_end()[-1]
            assert (end["id"], end["data"]["status"], end["data"]["content"]) == ("2", "cancelled", "")
            self.upstream.release(self.marker)
            assert socket.until_end()[-1]["data"]["status"] == "complete"

    def test_what_is_refused(self) -> None:
        with self.socket(self.alice) as socket, self.socket(self.bob) as theirs:
            where = self.begin(socket)["conversation_id"]
            for wrong in ("Queue", "wait", "", 1, True):
                socket.say(type="send", id="x", content="x", conversation_id=where, when_busy=wrong)
                refused = socket.until("error")[-1]
                assert (refused["id"], refused["data"]["code"]) == ("x", "invalid_frame")
                assert "when_busy" in refused["data"]["message"]
            for when_busy in (None, "reject"):
                socket.say(type="send", content="x", conversation_id=where, when_busy=when_busy)
                assert socket.until("error")[-1]["data"]["code"] == "conversation_busy"
            for when_busy in ("queue", "interrupt"):
                theirs.say(type="send", content="x", conversation_id=where, when_busy=when_busy)
                assert theirs.until("error")[-1]["data"]["code"] == "not_found"
            self.upstream.release(self.marker)
            assert socket.until_end()[-1]["data"]["status"] == "complete"
