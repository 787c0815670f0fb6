"""Bodies arrive encoded, with a byte order mark, or as a bomb: each API reads or refuses them in its own shape."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import IO, Any

import httpx2
from asgiref.sync import async_to_sync
from django.test import SimpleTestCase, override_settings

from chatservice.bodies import MAX_MEMBERS, read_bounded
from chatservice.dialects import DIALECTS
from chatservice.dialects.problems import BadRequest, Problem, too_large
from chatservice.testing import ServiceTestCase, needs_dialect, rendered, tried_once
from chatservice.testing.sockets import Socket
from conversations.models import Conversation
from scripts.procfs import resident_bytes, tree

BOM = b"\xef\xbb\xbf"
MEBIBYTE = 1_048_576
BROKEN = Problem(400, "invalid_content_encoding", "The body is not what its Content-Encoding says.")
UNKNOWN = Problem(415, "unsupported_content_encoding", "Send the body as it is, or encoded once: gzip, deflate.")
WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat_v1": ("/v1/chat/conversations", {"title": "Packed"}),
    "openai_v1": ("/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "Packed"}]}),
    "chat": ("/chat/conversation/{id}/message", {"content": "Packed"}),
    "graphql": ("/graphql", {"query": 'mutation { startConversation(title: "Packed") { id } }'}),
    "mcp": ("/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
    "resources": ("/conversations", {"title": "Packed"}),
}


@tried_once
class CodingTest(ServiceTestCase):
    def post(self, path: str, body: bytes, *codings: str) -> httpx2.Response:
        headers = [("Content-Type", "application/json"), *(("Content-Encoding", coding) for coding in codings)]
        return self.alice.http.post(path, content=body, headers=headers)

    def writes(self) -> list[tuple[str, str, bytes]]:
        talk = Conversation.objects.create(owner=self.alice.user)
        return [
            (name, path.format(id=talk.pk), json.dumps(body).encode())
            for name, (path, body) in WRITES.items()
            if name in DIALECTS
        ]

    def test_an_encoded_body_and_one_with_a_mark_are_read(self) -> None:
        for name, path, body in self.writes():
            expected = self.post(path, body).status_code
            self.assertLess(expected, 300)
            for what, sent, codings in (
                ("gzip", gzip.compress(body), ["gzip"]),
                ("x-gzip", gzip.compress(body), ["X-GZip"]),
                ("deflate", zlib.compress(body), ["deflate"]),
                ("in two members", gzip.compress(body[:5]) + gzip.compress(body[5:]), ["gzip"]),
                ("identity", body, ["identity"]),
                ("gzip and identity", gzip.compress(body), ["identity", "gzip"]),
                ("a mark", BOM + body, []),
                ("a mark within gzip", gzip.compress(BOM + body), ["gzip"]),
                ("a mark and blanks", BOM + b" \r\n" + body, []),
            ):
                with self.subTest(f"{name}: {what}"):
                    response = self.post(path, sent, *codings)
                    self.assertEqual(response.status_code, expected, response.text)
                    self.assertNotIn('"errors"', response.text)

    def test_what_cannot_be_decoded_is_refused_in_the_dialects_shape_and_nothing_is_stored(self) -> None:
        writes = self.writes()
        stored = Conversation.objects.filter(owner=self.alice.user).count()
        for name, path, body in writes:
            packed = gzip.compress(body)
            for what, sent, codings, problem in (
                ("not gzip", body, ["gzip"], BROKEN),
                ("cut", packed[:-9], ["gzip"], BROKEN),
                ("a wrong sum", packed[:-8] + b"\x00" * 8, ["gzip"], BROKEN),
                ("with more behind it", packed + b"x", ["gzip"], BROKEN),
                ("twice", gzip.compress(packed), ["gzip", "gzip"], UNKNOWN),
                ("several in one", packed, ["deflate, gzip"], UNKNOWN),
                ("brotli", packed, ["br"], UNKNOWN),
                ("nonsense", packed, ["x" * 100], UNKNOWN),
                ("a bomb", gzip.compress(b" " * 60 * MEBIBYTE, 9), ["gzip"], too_large().problem),
            ):
                with self.subTest(f"{name}: {what}"):
                    response = self.post(path, sent, *codings)
                    self.assertEqual(response.status_code, problem.status, response.text)
                    expected = rendered(name, problem, response.headers["x-request-id"])
                    self.assertEqual(response.json(), json.loads(json.dumps(expected)))
                    self.assertEqual(
                        response.headers.get("accept-encoding"), "gzip, deflate" if problem is UNKNOWN else None
                    )
        self.assertEqual(Conversation.objects.filter(owner=self.alice.user).count(), stored)

    def test_a_key_comes_first(self) -> None:
        for name, path, body in self.writes():
            headers = {"Content-Type": "application/json", "Content-Encoding": "br", "Authorization": "Bearer cb_x"}
            self.assertEqual(self.guest.post(path, content=body, headers=headers).status_code, 401, name)

    def test_a_read_without_a_body_has_no_coding(self) -> None:
        needs_dialect("chat_v1")
        response = self.alice.http.get("/v1/chat/conversations", headers={"Content-Encoding": "br"})
        self.assertEqual(response.status_code, 200)

    def test_bombs_take_no_memory(self) -> None:
        needs_dialect("openai_v1")
        bomb = gzip.compress(b" " * 100 * MEBIBYTE)
        assert self.service.process is not None
        self.post("/v1/chat/completions", bomb, "gzip")
        before = resident_bytes(tree(self.service.process.pid))
        for _ in range(20):
            self.assertEqual(self.post("/v1/chat/completions", bomb, "gzip").status_code, 413)
        self.assertLess(resident_bytes(tree(self.service.process.pid)) - before, 24 * MEBIBYTE)

    def test_a_websocket_frame_may_begin_with_a_mark(self) -> None:
        needs_dialect("websocket")
        with Socket(self.service.websocket_url, additional_headers=self.alice.headers) as socket:
            socket.raw('\ufeff{"type": "ping", "id": "1"}')
            self.assertEqual(socket.read(), {"type": "pong", "id": "1"})
        needs_dialect("graphql")
        url = self.service.websocket_url.replace("/ws/chat", "/graphql")
        offered = ["graphql-transport-ws"]
        with Socket(url, additional_headers=self.alice.headers, subprotocols=offered) as socket:
            socket.raw('\ufeff{"type": "connection_init"}')
            self.assertEqual(socket.read()["type"], "connection_ack")


class Counted:
    """Notes what is counted."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.on_disk: list[int] = []

    def __call__(self, size: int) -> None:
        self.sizes.append(size)

    def spooled(self, size: int) -> None:
        self.on_disk.append(size)


class ReadBoundedTest(SimpleTestCase):
    """The same without a service: what is counted, and in which pieces it may arrive."""

    def read(self, body: bytes, coding: str = "gzip", *, piece: int = 7) -> tuple[IO[bytes], dict[str, Any], list[int]]:
        scope = {
            "path": "/",
            "headers": [(b"content-encoding", coding.encode()), (b"content-length", str(len(body)).encode())],
        }
        pieces = [body[at : at + piece] for at in range(0, len(body), piece)] or [b""]
        messages = [{"type": "http.request", "body": each, "more_body": True} for each in pieces]
        messages[-1]["more_body"] = False
        counted = Counted()

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        decoded, _ = async_to_sync(read_bounded)(scope, receive, counted)
        return decoded, scope, counted.sizes

    def test_it_may_arrive_in_any_pieces_and_the_decoded_bytes_are_counted(self) -> None:
        text = bytes(range(256)) * 40
        for packed in (gzip.compress(text), gzip.compress(text[:999]) + gzip.compress(b"") + gzip.compress(text[999:])):
            for piece in (1, 3, 1_000, 100_000):
                body, scope, counted = self.read(packed, piece=piece)
                self.assertEqual(body.read(), text)
                self.assertEqual(sum(counted), len(text))
                self.assertEqual(scope["headers"], [(b"content-length", str(len(text)).encode())])

    @override_settings(LIMIT_BODY_BYTES=1_000)
    def test_exactly_the_limit_fits_and_no_byte_more(self) -> None:
        for piece in (5, 500):
            self.assertEqual(len(self.read(gzip.compress(b"x" * 1_000), piece=piece)[0].read()), 1_000)
            with self.assertRaisesRegex(BadRequest, "at most 1000 bytes"):
                self.read(gzip.compress(b"x" * 1_001), piece=piece)

    @override_settings(LIMIT_BODY_BYTES=0)
    def test_without_a_limit_everything_fits(self) -> None:
        self.assertEqual(len(self.read(gzip.compress(b"x" * 9_000_000), piece=999)[0].read()), 9_000_000)

    def test_members_that_are_empty_come_to_an_end(self) -> None:
        self.assertEqual(self.read(gzip.compress(b"") * MAX_MEMBERS)[0].read(), b"")
        with self.assertRaises(BadRequest):
            self.read(gzip.compress(b"") * (MAX_MEMBERS + 1), piece=65_536)

    def test_a_coding_without_a_body_means_nothing(self) -> None:
        for coding in ("gzip", "br", "gzip, gzip"):
            self.assertEqual(self.read(b"", coding)[0].read(), b"")
