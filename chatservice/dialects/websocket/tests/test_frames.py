"""How the websocket handles frames that are wrong, too large, too many, or about somebody else's things."""

from __future__ import annotations

import json
import random
import uuid

from chatservice.testing import running_service, tried_once
from chatservice.testing.sockets import Socket, SocketTestCase
from completions.models import Run
from conversations.models import Conversation, Message

DEEP = "[" * 40 + "]" * 40
WIDE = "{" + ",".join(f'"k{n}":1' for n in range(1001)) + "}"

KINDS: tuple[object, ...] = ("", "PING", "close", None, 1, [], {}, "x" * 999)

# A frame, and the code of its only error.
HOSTILE: list[tuple[str | bytes, str]] = [
    *((text, "invalid_json") for text in ("", " ", "{", "}", "nul", "{'type':'ping'}", '{"type":"ping"')),
    ("\ufeff{}", "unknown_type"),
    *((text, "invalid_json") for text in ("null", "1", '"ping"', "[]", "true", '[{"type":"ping"}]', "NaN", "1e999")),
    *((text, "invalid_json") for text in ('{"type":"ping",}', '{"a":NaN}', '{"a":1e999}', '{"a":"\x01"}')),
    ('{"type":"send","content":"\\ud800"}', "invalid_json"),
    ('{"type":"send","content":"\\udc00x"}', "invalid_json"),
    *((text, "invalid_json") for text in ("[" * 30000, "[" * 20000 + "]" * 20000, '{"a":' * 9000, "9" * 5000)),
    *((data, "binary_frame") for data in (b"", b"\x00\xff", b'{"type":"ping"}')),
    (f'{{"type":"ping","id":{DEEP}}}', "json_too_deep"),
    (f'{{"type":"send","content":"x","parameters":{{"a":{DEEP}}}}}', "json_too_deep"),
    (f'{{"type":"send","content":"x","parameters":{WIDE}}}', "json_too_wide"),
    ('{"type":"send","content":"a\\u0000b"}', "nul_character"),
    ('{"type":"send","content":"a","title":"\\u0000"}', "nul_character"),
    ('{"type":"send","content":"a","parameters":{"\\u0000":1}}', "nul_character"),
    ('{"type":"ping","\\u0000":1}', "nul_character"),
    *((json.dumps({"type": kind}), "unknown_type") for kind in KINDS),
    ("{}", "unknown_type"),
    *(
        (json.dumps({"type": "send", **fields}), "invalid_frame")
        for fields in (
            {},
            {"content": None},
            {"content": 1},
            {"content": ["a"]},
            {"content": {"text": "a"}},
            {"content": ""},
            {"content": " \n\t"},
            {"content": "a", "conversation_id": 1},
            {"content": "a", "conversation_id": ["x"]},
            {"content": "a", "parent_id": 7, "conversation_id": "x"},
            {"content": "a", "parent_id": str(uuid.uuid4())},
            {"content": "a", "model": 1},
            {"content": "a", "model": ""},
            {"content": "a", "model": "m" * 201},
            {"content": "a", "temperature": "hot"},
            {"content": "a", "temperature": True},
            {"content": "a", "temperature": 1, "parameters": {"temperature": 1}},
            {"content": "a", "parameters": []},
            {"content": "a", "parameters": "x"},
            {"content": "a", "parameters": {"messages": []}},
            {"content": "a", "parameters": {"model": "other"}},
            {"content": "a", "parameters": {"stream": False}},
            {"content": "a", "parameters": {"store": False}},
            {"content": "a", "parameters": {"n": 0}},
            {"content": "a", "parameters": {"n": 10**9}},
            {"content": "a", "parameters": {"top_p": "x"}},
            {"content": "a", "parameters": {"max_tokens": 1.5}},
            {"content": "a", "parameters": {"tools": {}}},
            {"content": "a", "title": 1},
            {"content": "a", "title": "t", "conversation_id": str(uuid.uuid4())},
            {"content": "a", "client_id": ""},
            {"content": "a", "client_id": "with space"},
            {"content": "a", "client_id": "x" * 256},
            {"content": "a", "client_id": 1},
            {"content": "a", "id": 1},
            {"content": "a", "id": "x" * 201},
            {"content": "a", "conversationId": str(uuid.uuid4())},
            {"content": "a", "user_id": str(uuid.uuid4())},
            {"content": "a", "role": "system"},
        )
    ),
    (json.dumps({"type": "send", "content": "a" * 262_145}), "message_too_long"),
    (json.dumps({"type": "send", "content": "a", "title": "t" * 201}), "title_too_long"),
    *(
        (json.dumps({"type": "send", "content": "a", "conversation_id": value}), "not_found")
        for value in ("", "x", "../x", str(uuid.uuid4()), "0" * 32, "{" + "0" * 30 + "}", "' OR 1=1 --", "x" * 10_000)
    ),
    *(
        (json.dumps(frame), "invalid_frame")
        for frame in (
            {"type": "stop"},
            {"type": "stop", "run_id": 1},
            {"type": "stop", "run_id": None},
            {"type": "subscribe"},
            {"type": "subscribe", "run_id": "x", "conversation_id": "y"},
            {"type": "subscribe", "conversation_id": "x", "cursor": "y"},
            {"type": "subscribe", "run_id": 1},
            {"type": "unsubscribe"},
            {"type": "ping", "extra": 1},
            {"type": "auth"},
            {"type": "auth", "key": 1},
        )
    ),
    *((json.dumps({"type": "stop", "run_id": value}), "not_found") for value in ("", "x", str(uuid.uuid4()))),
    *((json.dumps({"type": "subscribe", "run_id": value}), "not_found") for value in ("", "x", str(uuid.uuid4()))),
    (json.dumps({"type": "subscribe", "conversation_id": str(uuid.uuid4())}), "not_found"),
    *(
        (json.dumps({"type": "subscribe", "run_id": str(uuid.uuid4()), "cursor": cursor}), "bad_cursor")
        for cursor in ("", "x", "-1", "1e9", "../x", "x" * 10_000, "0" * 32 + ".-1.0", "0" * 32 + ".9999999999.0")
    ),
    (json.dumps({"type": "auth", "key": "cb_x"}), "already_authenticated"),
]  # fmt: skip


@tried_once
class FrameTests(SocketTestCase):
    def test_hostile_frames_get_one_clear_error_and_store_nothing(self) -> None:
        assert len(HOSTILE) >= 60
        with self.socket(self.alice) as socket:
            for frame, code in HOSTILE:
                socket.raw(frame)
                answer = socket.read()
                assert answer["type"] == "error" and answer["data"]["code"] == code, (frame[:200], answer)
                assert len(json.dumps(answer)) < 2000 and "Traceback" not in str(answer)
                socket.expect_silence()
        assert not Conversation.objects.filter(owner=self.alice.user).exists()
        assert not Run.objects.filter(user=self.alice.user).exists()

    def test_random_frames_never_end_the_socket(self) -> None:
        values = [None, 1, -1.5, True, "", "x", "ä🙂", [], {}, [1], {"a": None}, str(uuid.uuid4()), "x" * 300]
        names = ["id", "content", "run_id", "conversation_id", "cursor", "parent_id", "title", "client_id", "key", "?"]
        with self.socket(self.alice) as socket:
            for _ in range(1500):
                kind = random.choice(["stop", "subscribe", "unsubscribe", "ping", "auth", "send"])
                frame = {"type": kind, **{name: random.choice(values) for name in random.sample(names, 4)}}
                frame.pop("content" if kind == "send" else "", None)
                text = json.dumps(frame)
                if random.random() < 0.3:
                    at = random.randrange(len(text))
                    text = text[:at] + random.choice('{}[]",:\\0 ') + text[at + 1 :]
                socket.raw(text)
                assert socket.read()["type"] in ("error", "pong", "unsubscribed"), text
            socket.expect_silence()

    def test_an_error_echoes_the_frame_s_id(self) -> None:
        with self.socket(self.alice) as socket:
            socket.say(type="send", id="mine", content="")
            assert socket.read()["id"] == "mine"
            socket.say(type="nonsense", id="yours")
            assert socket.read()["id"] == "yours"

    def test_foreign_ids_are_answered_like_unknown_ones(self) -> None:
        with self.socket(self.alice) as alice, self.socket(self.bob) as bob:
            alice.say(type="send", content="Secret", model="fake/slow:20ms:400")
            opening = alice.read()
            cursor = alice.read()["cursor"]
            run, where = opening["run_id"], opening["conversation_id"]
            question = opening["data"]["userMessage"]["id"]
            mine = bob.ask("Hi", model="fake/ok")[0]["conversation_id"]
            unknown = str(uuid.uuid4())
            pairs = [
                ({"type": "stop", "run_id": run}, {"type": "stop", "run_id": unknown}),
                ({"type": "subscribe", "run_id": run}, {"type": "subscribe", "run_id": unknown}),
                (
                    {"type": "subscribe", "run_id": run, "cursor": cursor},
                    {"type": "subscribe", "run_id": unknown, "cursor": cursor},
                ),
                ({"type": "subscribe", "conversation_id": where}, {"type": "subscribe", "conversation_id": unknown}),
                (
                    {"type": "send", "content": "x", "conversation_id": where},
                    {"type": "send", "content": "x", "conversation_id": unknown},
                ),
                (
                    {"type": "send", "content": "x", "conversation_id": mine, "parent_id": question},
                    {"type": "send", "content": "x", "conversation_id": mine, "parent_id": unknown},
                ),
            ]
            for stranger in (self.socket(self.bob), self.socket()):
                with stranger as socket:
                    for foreign, missing in pairs:
                        socket.say(**foreign)
                        answer = socket.read()
                        socket.say(**missing)
                        assert answer == socket.read(), foreign
                        assert answer["data"]["code"] == "not_found"
            bob.say(type="unsubscribe", run_id=run)
            assert bob.read()["type"] == "unsubscribed"
            assert Message.objects.filter(conversation=where).count() == 2
            alice.say(type="stop", run_id=run)
            assert alice.until_end()[-1]["data"]["status"] == "cancelled"
            bob.expect_silence()


@tried_once
class LimitTests(SocketTestCase):
    def test_each_limit_at_its_value_and_one_more(self) -> None:
        limits = {
            "LIMIT_WS_FRAME_BYTES": "2000",
            "LIMIT_MESSAGE_CHARS": "100",
            "LIMIT_TITLE_CHARS": "10",
            "LIMIT_JSON_DEPTH": "5",
            "LIMIT_JSON_KEYS": "10",
            "LIMIT_STREAMS_PER_USER": "2",
        }
        with running_service(**limits) as service:
            with Socket(service.websocket_url, additional_headers=self.alice.headers) as socket:
                assert socket.ask("ä" * 100, title="t" * 10, model="fake/ok")[-1]["type"] == "ai_complete"
                socket.say(type="send", content="ä" * 101)
                assert socket.read()["data"]["code"] == "message_too_long"
                socket.say(type="send", content="x", title="t" * 11)
                assert socket.read()["data"]["code"] == "title_too_long"
                for depth, kind in ((3, "ai_complete"), (4, "error")):
                    parameters = {"x": json.loads("[" * depth + "]" * depth)}
                    socket.say(type="send", content="x", model="fake/ok", parameters=parameters)
                    assert socket.until("ai_complete", "error")[-1]["type"] == kind, depth
                for keys, kind in ((10, "ai_complete"), (11, "error")):
                    parameters = {f"k{n}": n for n in range(keys)}
                    socket.say(type="send", content="x", model="fake/ok", parameters=parameters)
                    assert socket.until("ai_complete", "error")[-1]["type"] == kind, keys

                runs = []
                for name in ("1", "2"):
                    socket.say(type="send", id=name, content="x", model="fake/slow:50ms:1000")
                    runs.append(socket.until("conversation_created")[-1]["run_id"])
                stored = Run.objects.filter(user=self.alice.user).count()
                socket.say(type="send", id="3", content="x", model="fake/ok")
                refused = socket.until("error")[-1]
                assert (refused["id"], refused["data"]["code"]) == ("3", "rate_limit_exceeded")
                assert Run.objects.filter(user=self.alice.user).count() == stored
                socket.say(type="unsubscribe", run_id=runs[0])
                socket.until("unsubscribed")
                socket.say(type="send", id="4", content="x", model="fake/ok")
                while (frame := socket.until_end()[-1])["id"] != "4":
                    pass
                assert frame["type"] == "ai_complete"
                for run in runs:
                    socket.say(type="stop", run_id=run)
                awaited = {"stopping": 2, "ai_complete": 1}  # in either order; nobody follows the first run
                while any(awaited.values()):
                    kind = socket.read()["type"]
                    if kind in awaited:
                        awaited[kind] -= 1

                socket.raw(json.dumps({"type": "ping"}).ljust(2000))
                assert socket.read()["type"] == "pong"
                socket.raw(json.dumps({"type": "ping"}).ljust(2001))
                assert socket.closed()[1] == 1009
            # The subscriptions of the first socket are released when it closes.
            with Socket(service.websocket_url, additional_headers=self.alice.headers) as socket:
                assert socket.ask("x", model="fake/ok")[-1]["type"] == "ai_complete"

    def test_0_turns_limits_off(self) -> None:
        limits = ("FRAME_BYTES", "FRAMES_PER_SECOND")
        with (
            running_service(**{f"LIMIT_WS_{name}": "0" for name in limits}, LIMIT_MESSAGE_CHARS="0") as service,
            Socket(service.websocket_url, additional_headers=self.alice.headers) as socket,
        ):
            frames = socket.ask("x" * 100_000, model="fake/ok")
            assert len(frames[0]["data"]["userMessage"]["content"]) == 100_000

    def test_too_many_frames_a_second_are_refused_and_a_flood_ends_the_socket(self) -> None:
        with running_service(LIMIT_WS_FRAMES_PER_SECOND="20") as service:
            with Socket(service.websocket_url, additional_headers=self.alice.headers) as socket:
                for _ in range(60):
                    socket.say(type="ping")
                answers = [socket.read() for _ in range(60)]
                pongs = sum(answer["type"] == "pong" for answer in answers)
                assert 20 <= pongs <= 40
                refused = next(answer for answer in answers if answer["type"] == "error")
                assert refused["data"]["code"] == "rate_limit_exceeded" and refused["data"]["retry_after"] == 1
            with Socket(service.websocket_url, additional_headers=self.alice.headers) as socket:
                try:
                    for _ in range(2000):
                        socket.say(type="ping")
                except Exception:  # the service has closed the socket meanwhile
                    pass
                assert socket.closed()[1] == 4429
