"""HTTP/1.0 knows no chunks: its clients get each body as it is, until the connection closes."""

from __future__ import annotations

import json
import socket

from chatservice.testing import ServiceTestCase, needs_dialect, sse_data, tried_once

PATH = "/v1/chat/completions"


@tried_once
class OldHttpTest(ServiceTestCase):
    def ask(self, version: str, *headers: str, path: str = PATH, body: dict | None = None) -> tuple[str, str]:
        """Send one request; return head and body of everything that arrives until the connection closes."""
        data = json.dumps(body).encode() if body is not None else b""
        lines = [
            f"{'POST' if body is not None else 'GET'} {path} HTTP/{version}",
            f"Host: 127.0.0.1:{self.service.port}",
            f"Authorization: Bearer {self.alice.secret}",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
            *headers,
        ]
        got = b""
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=20) as link:
            link.sendall("\r\n".join((*lines, "", "")).encode() + data)
            while part := link.recv(65_536):
                got += part
        head, _, rest = got.decode().partition("\r\n\r\n")
        return head.lower(), rest

    def question(self) -> dict:
        needs_dialect("openai_v1")
        return {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "One two three four"}]}

    def text_of(self, body: str) -> str:
        events = sse_data(body)
        self.assertEqual(events[-1], "[DONE]")
        parts = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1]]
        return "".join(parts)

    def test_a_stream_has_no_marks_of_chunks_and_ends_with_the_connection(self) -> None:
        for version, *headers in (
            ("1.0",),
            ("1.0", "Connection: keep-alive"),
            ("1.0", "Expect: 100-continue"),
            ("1.0", "Accept: text/event-stream", "Connection: close"),
        ):
            with self.subTest(version, headers=headers):
                head, body = self.ask(version, *headers, body=self.question())
                self.assertTrue(head.startswith("http/1.1 200 "), head)
                self.assertNotIn("transfer-encoding", head)
                self.assertNotIn("content-length", head)
                self.assertIn("connection: close", head)
                self.assertTrue(body.startswith("data: {"), body[:40])
                self.assertTrue(body.endswith("data: [DONE]\n\n"), body[-40:])
                self.assertIn("One two three four", self.text_of(body))

    def test_an_export_comes_whole(self) -> None:
        needs_dialect("chat_v1")
        head, body = self.ask("1.0", path="/v1/chat/me/export")
        self.assertNotIn("transfer-encoding", head)
        self.assertTrue(all(map(json.loads, body.splitlines())))

    def test_what_has_a_length_keeps_it(self) -> None:
        for headers in ((), ("Connection: keep-alive",)):
            head, body = self.ask("1.0", *headers, path="/healthz")
            self.assertIn(f"content-length: {len(body)}", head)
            self.assertIn("connection: close", head)
            self.assertEqual(json.loads(body)["status"], "ok")

    def test_http_1_1_still_gets_chunks(self) -> None:
        head, body = self.ask("1.1", "Connection: close", body=self.question())
        self.assertIn("transfer-encoding: chunked", head)
        size, _, rest = body.partition("\r\n")
        self.assertEqual(rest[int(size, 16) :][:2], "\r\n")
        self.assertTrue(body.endswith("0\r\n\r\n"))
