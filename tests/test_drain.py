"""After SIGTERM: no new connections, readiness is red, earlier requests are finished, and no new ones accepted."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import time
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from chatservice.dialects import DIALECTS
from chatservice.dialects.problems import Problem
from chatservice.testing import Service, ServiceTestCase, needs_dialect, pause, rendered, tried_once, wait_until
from chatservice.testing.sockets import Socket
from completions.models import Run
from completions.tests.upstream_wire import TEXT

ASK = {
    "openai_v1": ("/v1/chat/completions", {"model": "fake/ok", "messages": [{"role": "user", "content": "Hi"}]}),
    "chat_v1": ("/v1/chat/conversations/stream", {"content": "Hi", "model": "fake/ok"}),
    "resources": ("/conversations/start", {"user_id": "1", "message": "Hi"}),
}
MUTATION = 'mutation { sendMessage(content: "Hi", model: "fake/ok") { runId } }'

GET = "GET /docs HTTP/1.1\r\n"
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def everything(link: socket.socket) -> bytes:
    """Return everything received until the service closes the connection."""
    got = b""
    while part := link.recv(65_536):
        got += part
    return got


@tried_once
class DrainTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.own = self.serve()

    def serve(self, **env: str) -> Service:
        service = Service(env={"DRAIN_SECONDS": "100", **env}).start()
        self.addCleanup(service.stop)
        return service

    def open(self, service: Service) -> HTTPConnection:
        """Return a connection that was used for one request already."""
        link = HTTPConnection("127.0.0.1", service.port, timeout=30)
        self.addCleanup(link.close)
        self.assertEqual(self.ask(link, "GET", "/healthz")[0].status, 200)
        return link

    def ask(self, link: HTTPConnection, method: str, path: str, body: Any = None) -> tuple[HTTPResponse, bytes]:
        headers = {**self.alice.headers, "Content-Type": "application/json"}
        link.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
        response = link.getresponse()
        return response, response.read()

    def begin_to_stop(self, service: Service) -> None:
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_refused(service.port), what="no new connection")

    def test_nothing_new_is_accepted_and_what_is_being_written_is_finished(self) -> None:
        needs_dialect("websocket")
        probes = {path: self.open(self.own) for path in ("/readyz", "/healthz")}
        questions = [(dialect, *ASK[dialect], self.open(self.own)) for dialect in ASK if dialect in DIALECTS]
        if "chat" in DIALECTS:
            made = json.loads(self.ask(self.open(self.own), "GET", "/chat/conversation")[1])
            place = made.get("conversationId") or made.get("conversation_id") or made["id"]
            self.ask(self.open(self.own), "POST", f"/chat/conversation/{place}/message", {"content": "Hi"})
            questions.append(("chat", f"/chat/conversation/{place}/stream", None, self.open(self.own)))
        if "graphql" in DIALECTS:
            questions.append(("graphql", "/graphql", {"query": MUTATION}, self.open(self.own)))
        upgrade = self.open(self.own)
        with Socket(self.own.websocket_url, additional_headers=self.alice.headers) as link:
            link.say(type="send", content="Hi", model="fake/held")
            first = link.until("ai_chunk")[-1]
            started = Run.objects.filter(user=self.alice.user).count()
            self.begin_to_stop(self.own)
            ready, text = self.ask(probes["/readyz"], "GET", "/readyz")
            self.assertEqual((ready.status, json.loads(text)), (503, {"status": "draining"}))
            self.assertEqual(self.ask(probes["/healthz"], "GET", "/healthz")[0].status, 200)
            for dialect, path, body, open_link in questions:
                refused, text = self.ask(open_link, "GET" if body is None else "POST", path, body)
                problem = Problem(503, "shutting_down", "The service is restarting.", retry_after=5)
                self.assertEqual((refused.status, refused.getheader("Retry-After")), (503, "5"), dialect)
                name = refused.getheader("X-Request-Id") or ""
                self.assertEqual(json.loads(text), rendered(dialect, problem, name))
                self.assertEqual(refused.getheader("Connection"), "close")
                self.assertTrue(refused.getheader("X-Request-Id"))
            upgrade.request("GET", "/ws/chat", headers={**self.alice.headers, **UPGRADE})
            refused = upgrade.getresponse()
            self.assertEqual((refused.status, refused.getheader("Retry-After")), (503, "5"))
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

    def test_whoever_was_connected_before_the_stop_is_answered(self) -> None:
        """The process is paused while clients connect and ask, so it gets the signal before their queued requests."""
        assert self.own.process is not None
        process = self.own.process
        pause(process.pid)
        body = json.dumps({"content": "Hi", "model": "fake/ok"}).encode()
        links = []
        for number in range(40):
            link = socket.create_connection(("127.0.0.1", self.own.port), timeout=30)
            self.addCleanup(link.close)
            question = number % 2 and "chat_v1" in DIALECTS
            head = f"POST {ASK['chat_v1'][0]} HTTP/1.1\r\nContent-Length: {len(body)}\r\n" if question else GET
            head += f"Host: 127.0.0.1\r\nAuthorization: Bearer {self.alice.secret}\r\n"
            head += "Content-Type: application/json\r\n\r\n"
            link.sendall(head.encode() + (body if question else b""))
            links.append((link, b"data: [DONE]" if question else b"</html>"))
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        for link, end in links:
            answer = everything(link)
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer[:300])
            self.assertIn(b"connection: close", answer.lower())
            self.assertIn(end, answer[-200:])
        self.assertEqual(process.wait(30), 0)

    def test_a_question_that_was_arriving_is_accepted_until_the_drain_is_over(self) -> None:
        needs_dialect("websocket")
        needs_dialect("chat_v1")
        service = self.serve(DRAIN_SECONDS="4")
        path, body = ASK["chat_v1"][0], json.dumps(ASK["chat_v1"][1]).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        head += f"Authorization: Bearer {self.alice.secret}\r\nContent-Type: application/json\r\n\r\n"
        arriving = []
        for _ in range(2):
            arriving.append(socket.create_connection(("127.0.0.1", service.port), timeout=30))
            self.addCleanup(arriving[-1].close)
            arriving[-1].sendall(head.encode() + body[:5])
        with Socket(service.websocket_url, additional_headers=self.alice.headers) as link:
            link.say(type="send", content="Hi", model="fake/held")
            link.until("ai_chunk")
            self.begin_to_stop(service)
            early, late = arriving
            early.sendall(body[5:])
            answer = everything(early)
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer[:300])
            self.assertIn(b"data: [DONE]", answer[-200:])
            link.until_end()  # interrupted: nobody would finish an answer that began after this point
            late.sendall(body[5:])
            answer = everything(late)
            self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer[:300])
            self.assertIn(b"retry-after: 5", answer.lower())
        self.assertEqual(service.stop(), 0)
        states = Run.objects.filter(user=self.alice.user).values_list("state", flat=True)
        self.assertEqual(sorted(states), ["complete", "interrupted"])

    def test_a_proxy_gets_no_refusal_for_what_it_had_sent(self) -> None:
        """Otherwise the proxy would pass the refusal on to its client instead of trying another process."""
        needs_dialect("websocket")
        service = self.serve(TRUSTED_PROXIES="1")
        asked, idle = self.open(service), self.open(service)
        with Socket(service.websocket_url, additional_headers=self.alice.headers) as link:
            link.say(type="send", content="Hi", model="fake/held")
            link.until("ai_chunk")
            assert service.process is not None
            pause(service.process.pid)
            asked.request("GET", "/docs", headers={**self.alice.headers, "X-Forwarded-For": "10.0.0.1"})
            service.process.send_signal(signal.SIGTERM)
            service.process.send_signal(signal.SIGCONT)
            response = asked.getresponse()
            self.assertEqual((response.status, response.getheader("Connection")), (200, "close"))
            # The proxy also learns in time that the other connection can no longer be used.
            idle.sock.settimeout(15)
            self.assertEqual(idle.sock.recv(1), b"")
            self.upstream.posts[-1].released = True
            link.until_end()
        self.assertEqual(service.stop(), 0)

    def test_the_next_process_starts_on_the_same_port_while_the_last_one_finishes(self) -> None:
        needs_dialect("websocket")
        with Socket(self.own.websocket_url, additional_headers=self.alice.headers) as link:
            link.say(type="send", content="Hi", model="fake/held")
            link.until("ai_chunk")
            self.begin_to_stop(self.own)
            following = Service(port=self.own.port)
            self.addCleanup(following.stop)
            following.start()
            self.assertEqual(following.port, self.own.port)
            self.upstream.posts[-1].released = True
            self.assertEqual(link.until_end()[-1]["data"]["content"], TEXT)
        self.assertEqual(self.own.stop(), 0)

    def test_a_peer_that_neither_reads_nor_answers_does_not_hold_up_the_stop(self) -> None:
        for model in ("fake/ok", "fake/ok:200:1000", "fake/ok:200:1000"):
            self.silent_peer(model)
        runs = Run.objects.filter(user=self.alice.user)
        wait_until(lambda: runs.count() == 3 and not runs.running().exists(), what="the answers")
        half = socket.create_connection(("127.0.0.1", self.own.port))
        self.addCleanup(half.close)
        half.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{")
        # Connections are accepted in order: a later one was answered, so this one has left the queue.
        self.open(self.own)
        began = time.monotonic()
        self.assertEqual(self.own.stop(), 0)
        half.settimeout(5)
        self.assertIn(b"503", half.recv(1000).split(b"\r\n")[0])
        self.assertNotIn("Traceback", self.own.log())
        # Less than the full drain time, because no answer is in progress.
        self.assertLess(time.monotonic() - began, 15)

    def silent_peer(self, model: str) -> None:
        """Open a websocket by hand, ask, and never read any of the answer."""
        needs_dialect("websocket")
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
