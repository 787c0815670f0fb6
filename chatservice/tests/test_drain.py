"""From SIGTERM on: nothing new on any surface, readiness is red, what is being written is finished."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import time

import httpx2

from chatservice.dialects import DIALECTS
from chatservice.testing import Service, ServiceTestCase, wait_until
from completions.models import Run
from completions.tests.upstream_wire import TEXT
from completions.tests.websocket_client import Socket

ASK = {
    "openai_v1": ("/v1/chat/completions", {"model": "fake/ok", "messages": [{"role": "user", "content": "Hi"}]}),
    "chat_v1": ("/v1/chat/conversations/stream", {"content": "Hi", "model": "fake/ok"}),
    "resources": ("/conversations/start", {"user_id": "1", "message": "Hi"}),
}
MUTATION = 'mutation { sendMessage(content: "Hi", model: "fake/ok") { runId } }'


class DrainTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.own = Service(env={"DRAIN_SECONDS": "100"}).start()
        self.addCleanup(self.own.stop)
        self.http = httpx2.Client(
            base_url=self.own.url,
            headers=self.alice.headers,
            timeout=30,
            trust_env=False,
            # The service lets go of a line that was idle for a while, just when somebody wants to use it again.
            limits=httpx2.Limits(max_keepalive_connections=0),
        )
        self.addCleanup(self.http.close)

    def test_nothing_new_is_accepted_and_what_is_being_written_is_finished(self) -> None:
        with Socket(self.own.websocket_url, additional_headers=self.alice.headers) as link:
            link.say(type="send", content="Hi", model="fake/held")
            first = link.until("ai_chunk")[-1]
            assert self.own.process is not None
            self.own.process.send_signal(signal.SIGTERM)
            wait_until(lambda: self.http.get("/readyz").status_code == 503, what="red readiness")
            self.assertEqual(self.http.get("/healthz").status_code, 200)
            started = Run.objects.filter(user=self.alice.user).count()
            for dialect, (path, body) in ASK.items():
                if dialect in DIALECTS:
                    refused = self.http.post(path, json=body)
                    self.assertEqual(refused.status_code, 503, (dialect, refused.text))
                    self.assertGreater(int(refused.headers["retry-after"]), 0)
            if "chat" in DIALECTS:
                made = self.http.get("/chat/conversation").json()
                place = made.get("conversationId") or made.get("conversation_id") or made["id"]
                self.http.post(f"/chat/conversation/{place}/message", json={"content": "Hi"})
                refused = self.http.get(f"/chat/conversation/{place}/stream")
                self.assertEqual((refused.status_code, "retry-after" in refused.headers), (503, True))
            if "graphql" in DIALECTS:
                [error] = self.http.post("/graphql", json={"query": MUTATION}).json()["errors"]
                self.assertEqual(error["extensions"]["code"], "shutting_down")
                self.assertGreater(error["extensions"]["retryAfter"], 0)
            link.say(type="send", id="late", content="Hi", model="fake/ok")
            frames = link.until("error")
            self.assertEqual(frames[-1]["data"]["code"], "shutting_down")
            self.assertGreater(frames[-1]["data"]["retry_after"], 0)
            self.assertEqual(Run.objects.filter(user=self.alice.user).count(), started)
            self.upstream.posts[-1].released = True
            last = link.until_end()[-1]
        self.assertEqual((last["type"], last["data"]["content"]), ("ai_complete", TEXT))
        self.assertEqual(Run.objects.get(pk=first["run_id"]).state, "complete")
        self.assertEqual(self.own.stop(), 0)

    def test_a_peer_that_neither_reads_nor_answers_does_not_hold_up_the_stop(self) -> None:
        for model in ("fake/ok", "fake/ok:200:1000", "fake/ok:200:1000"):
            self.silent_peer(model)
        runs = Run.objects.filter(user=self.alice.user)
        wait_until(lambda: runs.count() == 3 and not runs.running().exists(), what="the answers")
        half = socket.create_connection(("127.0.0.1", self.own.port))
        self.addCleanup(half.close)
        half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{")
        # Lines are taken in order: who came after it was answered, so it is not in the queue any more.
        self.assertEqual(self.http.get("/healthz").status_code, 200)
        began = time.monotonic()
        self.assertEqual(self.own.stop(), 0)
        half.settimeout(5)
        self.assertIn(b"503", half.recv(1000).split(b"\r\n")[0])
        self.assertNotIn("Traceback", self.own.log())
        # Not the whole drain: nothing is being written.
        self.assertLess(time.monotonic() - began, 15)

    def silent_peer(self, model: str) -> None:
        """Open a websocket by hand, ask, and never read a byte of the answer."""
        link = socket.create_connection(("127.0.0.1", self.own.port))
        self.addCleanup(link.close)
        link.sendall(
            f"GET /ws/chat HTTP/1.1\r\nHost: 127.0.0.1:{self.own.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {self.alice.secret}\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n".encode()
        )
        assert b" 101 " in link.recv(1000)
        frame = json.dumps({"type": "send", "content": "Hi", "model": model}).encode()
        link.sendall(b"\x81" + bytes([0x80 | len(frame)]) + b"\x00" * 4 + frame)
