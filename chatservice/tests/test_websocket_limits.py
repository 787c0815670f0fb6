"""A websocket client cannot fill our memory with fragments, with pings, or before it is authenticated."""

from __future__ import annotations

import contextlib
import socket
import time
import zlib
from collections.abc import Iterator

from chatservice.testing import ServiceTestCase, needs_dialect, running_service, tried_once
from scripts.procfs import resident_bytes, tree

MEBIBYTE = 1_048_576
GROWTH = 24 * MEBIBYTE
SECONDS = 1.5
MASK = b"\x00" * 4
TEXT, CONTINUED, PING, LAST, COMPRESSED = 0x01, 0x00, 0x09, 0x80, 0x40


def frame(opcode: int, data: bytes = b"") -> bytes:
    if len(data) < 126:
        return bytes([opcode, 0x80 | len(data)]) + MASK + data
    return bytes([opcode, 0x80 | 126]) + len(data).to_bytes(2, "big") + MASK + data


@tried_once
class WebSocketLimitTest(ServiceTestCase):
    def handshake(self, *headers: str) -> bytes:
        needs_dialect("websocket")
        lines = (
            "GET /ws/chat HTTP/1.1",
            f"Host: 127.0.0.1:{self.service.port}",
            f"Authorization: Bearer {self.alice.secret}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            *headers,
        )
        return "\r\n".join((*lines, "", "")).encode()

    @contextlib.contextmanager
    def connected(self, *headers: str) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=10) as link:
            link.sendall(self.handshake(*headers))
            assert b" 101 " in link.recv(2_000)
            yield link

    def closed_with(self, sent: bytes, *headers: str) -> int:
        """Return the code of the close frame that the service sends after `sent`."""
        with self.connected(*headers) as link:
            with contextlib.suppress(ConnectionError):
                link.sendall(sent)
            got = b""
            with contextlib.suppress(ConnectionError):
                while part := link.recv(65_536):
                    got += part
        place = got.rindex(b"\x88")
        return int.from_bytes(got[place + 2 : place + 4], "big")

    def test_fragments_are_counted_however_small(self) -> None:
        few = frame(TEXT) + frame(CONTINUED) * 900 + frame(CONTINUED | LAST, b"[]") + frame(0x88, b"\x03\xe8")
        self.assertEqual(self.closed_with(few), 1000)
        self.assertEqual(self.closed_with(frame(TEXT) + frame(CONTINUED) * 2_000), 1009)

    def test_what_is_compressed_is_measured_unpacked(self) -> None:
        pack = zlib.compressobj(9, wbits=-12)
        bomb = pack.compress(b"x" * 50_000_000) + pack.flush(zlib.Z_SYNC_FLUSH)
        bomb = bomb.removesuffix(b"\x00\x00\xff\xff")
        extension = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12"
        self.assertEqual(self.closed_with(frame(TEXT | LAST | COMPRESSED, bomb[:60_000]), extension), 1009)

    def test_what_only_one_of_the_parsers_takes_is_refused(self) -> None:
        with socket.create_connection(("127.0.0.1", self.service.port), timeout=10) as link:
            link.sendall(self.handshake(f"X: {'x' * 9_000}"))
            self.assertIn(b" 400 ", link.recv(2_000))
            self.assertEqual(link.recv(1), b"")

    def test_endless_frames_cost_no_memory(self) -> None:
        with running_service() as service:
            self.service = service
            assert service.process is not None
            for endless in (frame(CONTINUED), frame(PING | LAST, b"x" * 100), frame(TEXT | LAST)):
                self.flood(endless)
                before = peak = resident_bytes(tree(service.process.pid))
                for _ in range(4):
                    self.flood(endless)
                    peak = max(peak, resident_bytes(tree(service.process.pid)))
                self.assertLess(peak - before, GROWTH, endless)
            self.assertNotIn("Traceback", service.log())

    def flood(self, endless: bytes) -> None:
        """Send the same frame repeatedly over several sockets, and read nothing."""
        with contextlib.ExitStack() as stack:
            links = [stack.enter_context(self.connected()) for _ in range(8)]
            for link in links:
                link.settimeout(0.05)
                with contextlib.suppress(OSError):
                    link.send(frame(TEXT))
            block = endless * (65_536 // len(endless))
            until = time.monotonic() + SECONDS / 4
            while links and time.monotonic() < until:
                for link in list(links):
                    try:
                        link.send(block)
                    except TimeoutError:
                        pass
                    except OSError:
                        links.remove(link)
