"""Asking, watching, disconnecting and resuming on the websocket."""

from __future__ import annotations

import random
import time

from chatservice.testing import Service, second_service, wait_until
from chatservice.testing.sockets import Socket, SocketTestCase
from completions.models import Run
from completions.tests.upstream_wire import TEXT
from conversations.models import Conversation, Message
from conversations.services import delete_conversation


class StreamTests(SocketTestCase):
    def test_a_new_conversation_streams_and_is_stored_when_it_ends(self) -> None:
        with self.socket(self.alice) as socket:
            socket.say(type="send", id="q1", content="Hi", model="fake/ok", title="Greetings")
            frames = socket.until_end()
        first, last = frames[0], frames[-1]
        assert first["type"] == "conversation_created"
        assert first["data"]["conversationId"] == first["conversation_id"]
        assert first["data"]["userMessage"]["content"] == "Hi"
        assert last["type"] == "ai_complete"
        assert {frame["type"] for frame in frames[1:-1]} == {"ai_chunk"}
        assert "".join(frame["data"] for frame in frames[1:-1]) == TEXT
        for frame in frames:
            assert frame["id"] == "q1"
            assert frame["run_id"] == first["run_id"] and frame["conversation_id"] == first["conversation_id"]
            assert frame["cursor"].startswith(first["run_id"].replace("-", ""))
        message = last["data"]
        assert set(message) == {
            *("id", "conversation_id", "role", "content", "model", "status", "finish_reason"),
            *("usage", "parent_id", "created_at", "files"),
        }
        stored = Message.objects.get(pk=message["id"])
        assert message["content"] == stored.content == TEXT
        assert message["status"] == stored.status == "complete"
        assert message["parent_id"] == first["data"]["userMessage"]["id"] == str(stored.parent_id)
        assert (message["role"], message["finish_reason"], message["usage"]["total_tokens"]) == ("assistant", "stop", 9)
        conversation = Conversation.objects.get(pk=first["conversation_id"])
        assert conversation.title == "Greetings" and conversation.owner_id == self.alice.user.pk

    def test_a_second_question_goes_to_the_same_conversation_with_its_parameters(self) -> None:
        with self.socket(self.alice) as socket:
            first = socket.ask("One", model="fake/ok")
            where = first[0]["conversation_id"]
            socket.say(
                type="send", content="Two", conversation_id=where, model="fake/echo-body",
                temperature=0.5, parameters={"top_p": 0.25, "stop": ["x"], "unheard_of": {"a": 1}},
            )  # fmt: skip
            second = socket.until_end()
            branched = socket.ask(
                "Two again", model="fake/ok", conversation_id=where, parent_id=first[-1]["data"]["id"]
            )
        assert second[0]["type"] == "user_message"
        assert second[0]["data"]["parent_id"] == first[-1]["data"]["id"] == branched[0]["data"]["parent_id"]
        body = second[-1]["data"]["content"]
        assert '"temperature": 0.5' in body and '"unheard_of": {"a": 1}' in body and '"top_p": 0.25' in body

    def test_cuts_anywhere_lose_and_repeat_nothing(self) -> None:
        for _ in range(6):
            with self.socket(self.alice) as socket:
                socket.say(type="send", content="Hi", model="fake/slow:2ms:150")
                frame = socket.read()
            text, cursor, run_id, ends = "", frame["cursor"], frame["run_id"], 0
            while not ends:
                with self.socket(self.alice) as socket:
                    socket.say(type="subscribe", run_id=run_id, cursor=cursor)
                    assert socket.read()["type"] == "subscribed"
                    for _ in range(random.randint(1, 25)):
                        frame = socket.read()
                        cursor = frame["cursor"]
                        if frame["type"] != "ai_chunk":
                            assert frame["type"] == "ai_complete"
                            ends += 1
                            break
                        text += frame["data"]
            assert text == frame["data"]["content"] == Message.objects.get(run__pk=run_id).content == "token " * 150
            with self.socket(self.alice) as socket:  # also after the end: from any cursor, and from the last one
                socket.say(type="subscribe", run_id=run_id)
                frames = socket.until_end()
                assert "".join(frame["data"] for frame in frames if frame["type"] == "ai_chunk") == text
                socket.say(type="subscribe", run_id=run_id, cursor=cursor)
                assert [frame["type"] for frame in socket.until_end()] == ["subscribed", "ai_complete"]

    def test_a_cursor_nobody_gave_out_brings_the_whole_text_again(self) -> None:
        with self.socket(self.alice) as socket:
            run_id = socket.ask("Hi", model="fake/slow:1ms:50")[0]["run_id"]
            socket.say(type="subscribe", run_id=run_id, cursor=f"{run_id.replace('-', '')}.999999.3")
            frames = socket.until_end()
        assert [frame["type"] for frame in frames] == ["subscribed", "resync", "ai_complete"]
        assert frames[1]["data"] == frames[2]["data"]["content"]

    def test_two_sockets_see_the_same_and_leaving_stops_nothing(self) -> None:
        with self.socket(self.alice) as one, self.socket(self.alice) as two:
            one.say(type="send", content="Seen by two", model="fake/held:5ms:100")
            opening = one.read()
            two.say(type="subscribe", id="tab", conversation_id=opening["conversation_id"])
            subscribed = two.read()
            assert (subscribed["type"], subscribed["run_id"]) == ("subscribed", opening["run_id"])
            with self.socket(self.alice) as three:
                three.say(type="subscribe", run_id=opening["run_id"])
                three.read()
            self.upstream.release("Seen by two")
            first, second = one.until_end(), two.until_end()
            assert first[-1]["data"] == second[-1]["data"]
            for frames in (first, second):
                assert "".join(frame["data"] for frame in frames[:-1]) == "token " * 100
            two.say(type="subscribe", id="later", conversation_id=opening["conversation_id"])
            assert two.read() == {"type": "idle", "id": "later", "conversation_id": opening["conversation_id"]}

    def test_two_conversations_interleave_on_one_socket(self) -> None:
        with self.socket(self.alice) as socket:
            for name in ("a", "b"):
                socket.say(type="send", id=name, content=f"Interleaved {name}", model="fake/held:5ms:60")
            frames: list = []
            while {frame["id"] for frame in frames if frame["type"] == "ai_chunk"} != {"a", "b"}:
                frames.append(socket.read())
            self.upstream.release("Interleaved a")
            self.upstream.release("Interleaved b")
            while sum(frame["type"] == "ai_complete" for frame in frames) < 2:
                frames.append(socket.read())
            socket.expect_silence()
        order = [frame["id"] for frame in frames]
        assert order != sorted(order) and order != sorted(order, reverse=True)
        for name in ("a", "b"):
            mine = [frame for frame in frames if frame["id"] == name]
            assert [mine[0]["type"], mine[-1]["type"]] == ["conversation_created", "ai_complete"]
            assert "".join(frame["data"] for frame in mine[1:-1]) == mine[-1]["data"]["content"] == "token " * 60

    def test_stop_keeps_the_text_and_hangs_up_on_the_upstream(self) -> None:
        hangups = len(self.upstream.hangups)
        with self.socket(self.alice) as socket:
            socket.say(type="send", content="Hi", model="fake/slow:20ms:500")
            opening = socket.read()
            said = socket.read()["data"]
            socket.say(type="stop", id="s", run_id=opening["run_id"])
            assert self.upstream.wait_for_hangup(hangups + 1, timeout=1.0)
            frames = socket.until_end()
            said += "".join(frame["data"] for frame in frames if frame["type"] == "ai_chunk")
            answers = [frame for frame in frames if frame["type"] == "stopping"] or [socket.read()]
            assert answers == [
                {"type": "stopping", "id": "s", "run_id": opening["run_id"], "data": {"status": "in_progress"}}
            ]
            last = next(frame for frame in frames if frame["type"] == "ai_complete")
            assert last["data"]["status"] == "cancelled" and last["data"]["content"] == said
            assert Message.objects.get(pk=last["data"]["id"]).content == said
            socket.say(type="stop", id="again", run_id=opening["run_id"])
            assert socket.read()["data"] == {"status": "cancelled"}
            socket.expect_silence()

    def test_a_stopped_answer_goes_on_as_one_text(self) -> None:
        with self.socket(self.alice) as socket:
            socket.say(type="send", content="Hi", model="fake/slow:20ms:500")
            opening, _ = socket.read(), socket.read()
            socket.say(type="stop", run_id=opening["run_id"])
            stopped = socket.until("ai_complete")[-1]["data"]
            continue_answer = {"type": "continue", "message_id": stopped["id"], "model": "fake/ok", "client_id": "more"}
            posts = len(self.upstream.posts)
            for _ in range(2):
                socket.say(**continue_answer, id="more")
                frames = [frame for frame in socket.until_end() if frame["type"] != "stopping"]
                assert [frames[0]["type"], frames[-1]["type"]] == ["subscribed", "ai_complete"]
                assert frames[0]["data"]["message_id"] == frames[-1]["data"]["id"] != stopped["id"]
                said = "".join(frame["data"] for frame in frames[1:-1])
                assert said == frames[-1]["data"]["content"] == stopped["content"] + TEXT
            assert len(self.upstream.posts) == posts + 1
            socket.say(type="continue", id="whole", message_id=frames[-1]["data"]["id"])
            assert socket.read()["data"]["code"] == "nothing_to_continue"
            socket.say(**{**continue_answer, "parameters": {"n": 0}})
            assert socket.read()["data"]["code"] == "invalid_frame"
            for unknown in ("x", "0" * 32):
                socket.say(type="continue", message_id=unknown)
                assert socket.read()["data"]["code"] == "not_found"

    def test_what_the_model_thinks_is_told_to_who_asks_and_nobody_else(self) -> None:
        with self.socket(self.alice) as socket:
            socket.say(type="send", content="Think", model="fake/reasoning")
            frames = socket.until_end()
            run = frames[0]["run_id"]
            assert not [frame for frame in frames if frame["type"] == "ai_reasoning"]
            socket.say(type="subscribe", run_id=run, reasoning=True)
            frames = socket.until_end()
            thoughts = [frame for frame in frames if frame["type"] == "ai_reasoning"]
            assert "".join(frame["data"] for frame in thoughts) == "Let me think"
            assert "".join(frame["data"] for frame in frames if frame["type"] == "ai_chunk") == TEXT
            # From any cursor all of the text follows, also from one that came with what was thought.
            for frame in thoughts:
                socket.say(type="subscribe", run_id=run, cursor=frame["cursor"], reasoning=True)
                rest = socket.until_end()
                assert "".join(each["data"] for each in rest if each["type"] == "ai_chunk") == TEXT

    def test_unsubscribe_is_silent_and_the_run_goes_on(self) -> None:
        with self.socket(self.alice) as socket:
            socket.say(type="send", content="Left alone", model="fake/held:5ms:60")
            opening = socket.read()
            socket.say(type="unsubscribe", id="u", run_id=opening["run_id"])
            frames = socket.until("unsubscribed")
            assert all(frame["type"] == "ai_chunk" for frame in frames[:-1])
            socket.expect_silence()
            self.upstream.release("Left alone")
            wait_until(lambda: Run.objects.get(pk=opening["run_id"]).state == "complete", what="the end of the run")
            socket.expect_silence()

    def test_subscribing_again_replaces_and_one_terminal_frame_comes(self) -> None:
        with self.socket(self.alice) as socket:
            socket.say(type="send", id="1", content="Followed again", model="fake/held:5ms:80")
            opening = socket.read()
            for name in ("2", "3", "4"):
                socket.say(type="subscribe", id=name, run_id=opening["run_id"])
            frames = [socket.read()]
            while (frames[-1]["type"], frames[-1]["id"]) != ("ai_chunk", "4"):
                frames.append(socket.read())
            self.upstream.release("Followed again")
            frames += socket.until_end()
            socket.expect_silence()
        mine = [frame["data"] for frame in frames if frame["id"] == "4" and frame["type"] == "ai_chunk"]
        assert frames[-1]["id"] == "4" and "".join(mine) == "token " * 80

    def test_the_same_client_id_is_asked_once(self) -> None:
        posts = len(self.upstream.posts)
        with self.socket(self.alice) as socket:
            question = {"type": "send", "content": "Hi", "model": "fake/ok", "client_id": "c-1"}
            socket.say(**question)
            first = socket.until_end()
            socket.say(**question)
            again = socket.until_end()
            socket.say(**{**question, "content": "Something else"})
            assert socket.read()["data"]["code"] == "idempotency_mismatch"
        assert [frame["type"] for frame in again if frame["type"] != "ai_chunk"] == [
            "conversation_created", "ai_complete",
        ]  # fmt: skip
        assert again[-1]["data"] == first[-1]["data"] and again[0]["data"] == first[0]["data"]
        assert len(self.upstream.posts) == posts + 1

    def test_a_conversation_answers_one_question_at_a_time(self) -> None:
        with self.socket(self.alice) as socket:
            socket.say(type="send", content="Hi", model="fake/slow:20ms:500")
            opening = socket.read()
            where = opening["conversation_id"]
            socket.say(type="send", id="2", content="And?", conversation_id=where, model="fake/ok")
            refused = socket.until("error")[-1]
            assert (refused["id"], refused["data"]["code"]) == ("2", "conversation_busy") and "run_id" not in refused
            assert Message.objects.filter(conversation=where).count() == 2
            delete_conversation(conversation=Conversation.objects.get(pk=where))
            last = socket.until_end()[-1]
        assert last["type"] == "error" and last["data"]["code"] in ("deleted", "interrupted")

    def test_upstreams_that_fail_give_one_error_and_keep_the_text(self) -> None:
        cases = {
            "fake/http-500": ("upstream_error", ""),
            "fake/refuse": ("upstream_unreachable", ""),
            "fake/html-200": ("upstream_invalid", ""),
            "fake/truncated": ("upstream_truncated", "Hello"),
            "fake/reset:2": (None, "Hello"),
            "fake/no-such-fault": (None, ""),
        }
        with self.socket(self.alice) as socket:
            for model, (code, text) in cases.items():
                frames = socket.ask("Hi", model=model)
                last = frames[-1]
                assert last["type"] == "error" and last["run_id"] == frames[0]["run_id"], frames
                assert code is None or last["data"]["code"] == code, (model, last)
                assert "sk-" not in str(frames)
                message = Message.objects.get(run__pk=last["run_id"])
                assert (message.status, message.content) == ("failed", text), model
                shown = "".join(frame["data"] for frame in frames if frame["type"] == "ai_chunk")
                assert shown == text
            socket.expect_silence()

    def test_pings_are_answered_while_an_answer_streams(self) -> None:
        with self.socket(self.alice) as socket:
            socket.say(type="send", content="Hi", model="fake/slow:20ms:100")
            socket.read()
            began = time.monotonic()
            socket.say(type="ping", id="p")
            assert socket.until("pong")[-1] == {"type": "pong", "id": "p"}
            assert time.monotonic() - began < 1.0


class OtherProcessTests(SocketTestCase):
    def test_a_run_is_followed_and_stopped_from_another_process(self) -> None:
        other = second_service()
        with self.socket(self.alice) as here:
            here.say(type="send", content="Hi", model="fake/slow:10ms:1000")
            opening = here.read()
            with Socket(other.websocket_url, additional_headers=self.alice.headers) as there:
                there.say(type="subscribe", run_id=opening["run_id"])
                frames = [there.read(), there.read(), there.read()]
                there.say(type="stop", run_id=opening["run_id"])
                frames += there.until_end()
            text = "".join(frame["data"] for frame in frames if frame["type"] == "ai_chunk")
            last = next(frame for frame in frames if frame["type"] == "ai_complete")
            assert last["data"]["status"] == "cancelled" and last["data"]["content"] == text
            assert here.until_end()[-1]["data"] == last["data"]

    def test_kill_9_leaves_the_partial_answer_and_one_terminal_error(self) -> None:
        service = Service().start()
        try:
            with Socket(service.websocket_url, additional_headers=self.alice.headers) as socket:
                socket.say(type="send", content="Hi", model="fake/slow:10ms:3000")
                opening = socket.read()
                assert opening["type"] == "conversation_created"
                said, cursor = "", opening["cursor"]
                for _ in range(20):
                    frame = socket.read()
                    said, cursor = said + frame["data"], frame["cursor"]
                service.kill()
            service.start()
            with Socket(service.websocket_url, additional_headers=self.alice.headers) as socket:
                socket.say(type="subscribe", run_id=opening["run_id"], cursor=cursor)
                frames = socket.until_end()
                said += "".join(frame["data"] for frame in frames if frame["type"] == "ai_chunk")
                assert frames[-1]["type"] == "error" and frames[-1]["data"]["code"] == "interrupted"
                socket.expect_silence()
            message = Message.objects.get(run__pk=opening["run_id"])
            assert (message.status, message.content) == ("interrupted", said)
        finally:
            service.stop()
