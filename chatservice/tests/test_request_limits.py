"""Settings bound everything that a client can send without a key: bytes, headers, time, connections."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chatservice.dialects.base import renderer_of
from chatservice.dialects.problems import Problem
from chatservice.testing import Service, ServiceTestCase, needs_dialect, running_service, tried_on, wait_until
from scripts.procfs import resident_bytes, tree

MEBIBYTE = 1_048_576
GROWTH = 20 * MEBIBYTE
ENDLESS = 20
HEAD = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOOD_SECONDS = 0.7


@contextlib.contextmanager
def connected(port: int, sent: bytes = b"", source: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0)) as link:
        link.sendall(sent)
        yield link


def everything(link: socket.socket) -> bytes:
    """Return everything received until the service closes the connection, in any way."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while part := link.recv(65_536):
            got += part
    return got


def answer(port: int, sent: bytes) -> bytes:
    with connected(port, sent) as link:
        return everything(link)


def status(answered: bytes) -> int:
    return int(answered.split(b" ", 2)[1]) if answered else 0


def is_open(link: socket.socket) -> bool:
    """Tell whether the service still holds this connection, over which it has sent nothing."""
    link.setblocking(False)
    try:
        return link.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        link.setblocking(True)


def flood(port: int, start: bytes, endless: bytes) -> int:
    """Send `start`, then `endless` repeatedly, on a new connection whenever one is closed; return the bytes sent."""
    until, sent = time.monotonic() + FLOOD_SECONDS, 0
    block = endless * max(1, 65_536 // len(endless))
    while time.monotonic() < until:
        with contextlib.suppress(OSError), connected(port, start) as link:
            link.settimeout(1)
            while time.monotonic() < until:
                sent += link.send(block)
    return sent


@tried_on("postgresql")
class SizeTest(ServiceTestCase):
    def refused(self, sent: bytes, code: int, setting: str) -> bytes:
        answered = answer(self.service.port, sent)
        self.assertEqual(status(answered), code, answered[:300])
        self.assertIn(setting.encode(), answered)
        self.assertIn(b"connection: close", answered.lower())
        self.assertIn(b"x-request-id: req_", answered.lower())
        return answered

    def test_headers_and_urls_are_bounded_each_by_its_setting(self) -> None:
        with running_service(MAX_HEADER_BYTES="2000", MAX_HEADERS="30", MAX_URL_BYTES="100") as service:
            self.service = service
            host = len(b"Host: 127.0.0.1\r\n")
            for over in (0, 1):
                name = b"X-Y: " + b"x" * (2_000 - host - len(b"X-Y: \r\n") + over) + b"\r\n"
                path = b"/" + b"x" * (99 + over)
                many = b"X: y\r\n" * (29 + over)
                got = [
                    status(answer(service.port, b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n" + name + b"\r\n")),
                    status(answer(service.port, b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n" + many + b"\r\n")),
                    status(answer(service.port, b"GET " + path + b" HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")),
                ]
                self.assertEqual(got, [431, 431, 414] if over else [200, 200, 404])

    def test_bodies_that_arrive_at_once_are_bounded_together(self) -> None:
        """Senders that stop just before the end hold no more than the setting says, and give it back."""
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 100000"
        head += b"\r\nAuthorization: Bearer cb_wrong\r\nContent-Type: application/json\r\n\r\n"
        with (
            running_service(MAX_ARRIVING_BYTES="250000") as service,
            connected(service.port, head + b" " * 99_999) as first,
            connected(service.port, head + b" " * 99_999),
        ):
            # The third meets the limit, unless the service has not read the others yet.
            wait_until(lambda: status(answer(service.port, head + b" " * 99_999)) == 503, what="a refusal")
            refusal = answer(service.port, head + b" " * 99_999)
            self.assertIn(b"retry-after: 5", refusal.lower())
            first.close()
            wait_until(lambda: status(answer(service.port, head + b" " * 100_000)) == 401, what="room")

    def test_whatever_does_not_end_is_refused(self) -> None:
        large = 500_000
        self.refused(HEAD + b"X: " + b"x" * large, 431, "MAX_HEADER_BYTES")
        self.refused(HEAD + b"x" * large, 431, "MAX_HEADER_BYTES")
        self.refused(HEAD + b"X:" + b" " * large, 431, "MAX_HEADER_BYTES")
        self.refused(HEAD + b"X: y\r\n" * 5_000, 431, "MAX_HEADERS")
        self.refused(b"GET /" + b"x" * large, 414, "MAX_URL_BYTES")
        self.refused(b"\r\n" * large, 431, "MAX_HEADER_BYTES")
        # Trailers and chunk extensions count towards the same limits.
        self.refused(CHUNKED + b"1\r\n{\r\n0\r\nX: " + b"x" * large, 431, "MAX_HEADER_BYTES")
        self.refused(CHUNKED + b"1\r\n{\r\n0\r\n" + b"X: y\r\n" * 5_000, 431, "MAX_HEADERS")
        self.refused(CHUNKED + b"1;" + b"x" * large, 431, "MAX_HEADER_BYTES")

    def test_trailers_in_one_packet_with_the_body_are_bounded(self) -> None:
        body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}).encode()
        start = CHUNKED.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer " + self.alice.secret.encode() + b"\r\n\r\n")
        whole = start + b"%x\r\n" % len(body) + body + b"\r\n0\r\n"
        self.refused(whole + b"X: y\r\n" * 101 + b"\r\n", 431, "MAX_HEADERS")
        self.refused(whole + b"X: " + b"x" * 19_000 + b"\r\n\r\n", 431, "MAX_HEADER_BYTES")

    def test_what_is_no_http_is_told_so(self) -> None:
        for sent in (b"GET no-slash HTTP/1.1\r\nHost: x\r\n\r\n", b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00"):
            self.refused(sent, 400, "not a valid HTTP request")

    def test_the_answer_has_the_shape_of_the_api_that_was_asked(self) -> None:
        needs_dialect("openai_v1")
        answered = self.refused(HEAD + b"X: " + b"x" * 21_000, 431, "MAX_HEADER_BYTES")
        problem = Problem(431, "headers_too_large", "The headers are too large: see the setting MAX_HEADER_BYTES.")
        self.assertEqual(json.loads(answered.partition(b"\r\n\r\n")[2]), renderer_of("openai_v1")(problem))

    def test_endless_requests_cost_no_memory(self) -> None:
        with running_service() as service:
            assert service.process is not None
            for start, endless in (
                (HEAD + b"X: ", b"x"),
                (HEAD, b"X-Header: y\r\n"),
                (b"GET /", b"x"),
                (CHUNKED + b"1;", b"x"),
                (CHUNKED + b"1\r\n{\r\n0\r\n", b"X-Trailer: y\r\n"),
                (b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
            ):
                flood(service.port, start, endless)  # allocations of the first use do not count as growth
                before = peak = resident_bytes(tree(service.process.pid))
                crowd = [threading.Thread(target=flood, args=(service.port, start, endless)) for _ in range(ENDLESS)]
                for each in crowd:
                    each.start()
                while any(each.is_alive() for each in crowd):
                    peak = max(peak, resident_bytes(tree(service.process.pid)))
                    time.sleep(0.05)
                self.assertLess(peak - before, GROWTH, (start, endless))
            self.assertNotIn("Traceback", service.log())

    def test_of_pipelined_requests_a_few_are_answered(self) -> None:
        answered = answer(self.service.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000)
        self.assertGreater(answered.count(b"HTTP/1.1 200"), 8)
        self.assertLess(answered.count(b"HTTP/1.1 200"), 30)
        self.assertEqual(answered.lower().count(b"connection: close"), 1)
        few = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 4 + b"GET /healthz HTTP/1.0\r\n\r\n"
        self.assertEqual(answer(self.service.port, few).count(b"HTTP/1.1 200"), 5)


@tried_on("postgresql")
class TimeTest(ServiceTestCase):
    own: Service

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        limits = {"HEADER_SECONDS": "2", "BODY_SECONDS": "2", "KEEP_ALIVE_SECONDS": "2", "SEND_SECONDS": "2"}
        cls.own = cls.enterClassContext(running_service(**limits))

    def setUp(self) -> None:
        super().setUp()
        self.service = self.own

    def dripping(self, start: bytes, drop: bytes) -> bytes:
        """Send a little repeatedly; return everything received until the service closes the connection."""
        with connected(self.service.port, start) as link:
            link.settimeout(0.1)
            until, got = time.monotonic() + 15, b""
            while time.monotonic() < until:
                with contextlib.suppress(TimeoutError):
                    try:
                        link.sendall(drop)
                        if not (part := link.recv(65_536)):
                            return got
                    except ConnectionError:
                        return got
                    got += part
        raise AssertionError("after 15 s it is still being listened to")

    def all_dripping(self, *clients: tuple[bytes, bytes]) -> list[bytes]:
        """Send all requests slowly and at the same time, because each only waits for a timeout."""
        with ThreadPoolExecutor(len(clients)) as pool:
            return list(pool.map(lambda client: self.dripping(*client), clients))

    def test_whoever_sends_nothing_is_let_go(self) -> None:
        self.assertEqual(answer(self.service.port, b""), b"")

    def test_headers_must_be_complete_in_time(self) -> None:
        second_request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + HEAD
        *first, second = self.all_dripping((HEAD, b""), (HEAD, b"X: y\r\n"), (second_request, b"X: y\r\n"))
        for answered in first:
            self.assertEqual(status(answered), 408, answered)
            self.assertIn(b"HEADER_SECONDS", answered)
        self.assertIn(b"HTTP/1.1 408", second.split(b"\r\n\r\n", 1)[1])

    def test_a_body_must_be_complete_in_time(self) -> None:
        start = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
        start += b"Authorization: Bearer " + self.alice.secret.encode() + b"\r\n\r\n"
        huge = start.replace(b"100000", b"100000000")
        *incomplete, unread = self.all_dripping((start, b""), (start, b"{"), (huge, b"x" * 10_000))
        for answered in incomplete:
            self.assertEqual(status(answered), 408, answered)
            self.assertIn(b"BODY_SECONDS", answered)
        # A body that is too large was answered at once; the service stops reading it and sends no second response.
        self.assertEqual((status(unread), unread.count(b"HTTP/1.1 ")), (413, 1))

    def test_a_connection_waits_so_long_for_its_next_request(self) -> None:
        request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        for answered in self.all_dripping((request, b""), (request, b"\r\n")):
            self.assertEqual(answered.count(b"HTTP/1.1 200"), 1)
            self.assertNotIn(b"HTTP/1.1 4", answered)

    def test_whoever_reads_nothing_is_let_go_however_little_waits(self) -> None:
        assert self.own.process is not None
        files = Path(f"/proc/{self.own.process.pid}/fd")
        held = len(list(files.iterdir()))
        with contextlib.ExitStack() as stack:
            for count in range(1, 16):
                link = stack.enter_context(socket.socket())
                link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
                link.connect(("127.0.0.1", self.own.port))
                link.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * count)
            wait_until(lambda: len(list(files.iterdir())) >= held + 10, what="the connections")
            wait_until(lambda: len(list(files.iterdir())) <= held + 1, timeout=30, what="the end of all of them")
        self.assertNotIn("Traceback", self.own.log())

    def test_an_answer_may_take_longer_than_a_request(self) -> None:
        needs_dialect("chat_v1")
        path, body = "/v1/chat/conversations/stream", {"content": "Hi", "model": "fake/held"}
        with self.alice.http.stream("POST", f"{self.service.url}{path}", json=body) as response:
            lines = response.iter_lines()
            self.assertTrue(next(line for line in lines if "ai_chunk" in line))
            time.sleep(5)
            self.upstream.posts[-1].released = True
            self.assertIn("data: [DONE]", list(lines))


@tried_on("postgresql")
class ConnectionTest(ServiceTestCase):
    def crowd(self, service: Service, count: int, source: str = "127.0.0.1", sent: bytes = HEAD) -> list[socket.socket]:
        links = []
        for _ in range(count):
            connection = connected(service.port, sent, source)
            links.append(connection.__enter__())
            self.addCleanup(connection.__exit__, None, None, None)
        return links

    def test_connections_without_complete_headers_are_few_of_one_address_and_in_all(self) -> None:
        with running_service(MAX_INCOMPLETE_CONNECTIONS_PER_IP="5", MAX_INCOMPLETE_CONNECTIONS="12") as service:
            first = self.crowd(service, 30)
            other = self.crowd(service, 3, "127.0.0.2", b"")
            wait_until(lambda: sum(map(is_open, first)) <= 5, what="few of the first address")
            self.assertTrue(all(map(is_open, other)))
            self.assertTrue(all(map(is_open, first[-5:])), "the youngest keep their place")
            self.assertIn("MAX_INCOMPLETE_CONNECTIONS_PER_IP", service.log())
            for number in range(3, 8):
                other += self.crowd(service, 4, f"127.0.0.{number}")
            wait_until(lambda: sum(map(is_open, first + other)) <= 12, what="few of all")
            self.assertTrue(all(map(is_open, other[-8:])))
            # Ordinary requests are answered meanwhile.
            self.assertEqual(self.guest.get(f"{service.url}/readyz").status_code, 200)

    def test_a_proxy_may_have_as_many_as_all_together(self) -> None:
        limits = {"MAX_INCOMPLETE_CONNECTIONS_PER_IP": "2", "MAX_INCOMPLETE_CONNECTIONS": "12"}
        with running_service(TRUSTED_PROXIES="1", **limits) as service:
            links = self.crowd(service, 20)
            wait_until(lambda: sum(map(is_open, links)) == 12, what="the limit of all")
            time.sleep(3)
            self.assertEqual(sum(map(is_open, links)), 12)

    def test_a_burst_of_requests_from_one_address_is_no_attack(self) -> None:
        with running_service(MAX_INCOMPLETE_CONNECTIONS_PER_IP="5") as service:
            links = self.crowd(service, 100, sent=b"GET /healthz HTTP/1.0\r\n\r\n")
            self.assertEqual({status(everything(link)) for link in links}, {200})

    def test_in_all_there_are_so_many_and_the_idle_ones_go_first(self) -> None:
        with running_service(MAX_CONNECTIONS="20") as service:
            idle = self.crowd(service, 19, sent=b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            for link in idle:
                self.assertEqual(status(link.recv(1_000)), 200)
            wait_until(lambda: sum(map(is_open, idle)) <= 18, what="places for newcomers")
            self.assertEqual(status(answer(service.port, b"GET /readyz HTTP/1.0\r\n\r\n")), 200)
            extra = self.crowd(service, 20, sent=b"")
            wait_until(lambda: sum(map(is_open, idle + extra)) <= 20, what="the limit")
            self.assertNotIn("Traceback", service.log())
