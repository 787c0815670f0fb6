"""A client that sends what other clients refuse to send, over one connection at a time, and malformed HTTP."""

from __future__ import annotations

import http.client
import re
import socket
from dataclasses import dataclass
from typing import Any

from tests.hostile.inputs import Input

SECONDS = 10.0
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reply:
    """`status` is 0 if the service closed the connection without a response."""

    status: int
    headers: dict[str, str]
    text: str


NOTHING = Reply(0, {}, "")


class HostileClient:
    """Sends inputs as written, with a key unless they have their own."""

    def __init__(self, port: int, secret: str, *, seconds: float = SECONDS) -> None:
        self._port, self._secret, self._seconds = port, secret, seconds
        self._link: http.client.HTTPConnection | None = None

    def send(self, what: Input) -> Reply:
        """Send, and read the whole answer. Reconnect if an earlier answer closed the connection."""
        for again in (True, False):
            used = self._link is not None
            try:
                return self._send(what)
            except (http.client.HTTPException, ConnectionError, BrokenPipeError):
                self.close()
                if not (again and used):
                    break
        return NOTHING

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _send(self, what: Input) -> Reply:
        if self._link is None:
            self._link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self._seconds)
        link = self._link
        headers: dict[str, Any] = {"Host": f"127.0.0.1:{self._port}", "Authorization": f"Bearer {self._secret}"}
        headers.update(what.headers)
        if what.content is not None:
            headers["Content-Length"] = str(len(what.content))
        link.putrequest(what.method, what.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            link.putheader(name, value)
        try:
            link.endheaders(what.content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the service may have answered already
        response = link.getresponse()
        body = response.read()
        reply = Reply(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            body.decode(errors="replace"),
        )
        if response.will_close:
            self.close()
        return reply


def is_whole(got: bytes) -> bool:
    """Tell whether the first response in `got` has come to the end that its headers announce."""
    head, end, body = got.partition(b"\r\n\r\n")
    length = LENGTH.search(head)
    return bool(end) and (len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n"))


def raw_reply(port: int, sent: bytes) -> Reply:
    """Send bytes, and read the response until it is whole, the service closes, or sends nothing for a second."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as link:
        try:
            link.sendall(sent)
            link.settimeout(1.0)
            while chunk := link.recv(65_536):
                got += chunk
                if is_whole(got):
                    break
        except OSError:
            pass
    if not got:
        return NOTHING
    head, _, body = got.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    return Reply(int(line.split(" ")[1]), headers, body.decode(errors="replace"))


def raw_requests(secret: str) -> dict[str, bytes]:
    """Return bytes that no HTTP library would send."""
    key = f"Authorization: Bearer {secret}\r\n".encode()
    base = b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    post = b"POST /v1/chat/conversations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + key
    body = b'{"title": "raw"}'
    return {
        "two keys": base + key + key + b"\r\n",
        "two different keys": base + key + b"Authorization: Bearer cb_x\r\n\r\n",
        "key and nothing": base + key + b"Authorization: \r\n\r\n",
        "1000 keys": base + key * 1_000 + b"\r\n",
        "folded key": base + b"Authorization: Bearer\r\n " + secret.encode() + b"\r\n\r\n",
        "folded idempotency key": post + b"Idempotency-Key: a\r\n b\r\nContent-Length: 16\r\n\r\n" + body,
        "newline in a header": base + key + b"X-Y: a\nX-Evil: b\r\n\r\n",
        "CR in a header": base + key + b"Idempotency-Key: a\rb\r\n\r\n",
        "NUL in a header": base + key + b"Idempotency-Key: a\x00b\r\n\r\n",
        "vertical tab": base + key + b"X-Y: a\x0bb\x0c\r\n\r\n",
        "header without a colon": base + key + b"nonsense\r\n\r\n",
        "header with a space": base + key + b"X Y: a\r\n\r\n",
        "header without a name": base + key + b": a\r\n\r\n",
        "space before the colon": base + b"Authorization : Bearer " + secret.encode() + b"\r\n\r\n",
        "two hosts": base + b"Host: evil.example\r\n" + key + b"\r\n",
        "no host": b"GET /v1/models HTTP/1.1\r\n" + key + b"\r\n",
        "HTTP/1.0": b"GET /v1/models HTTP/1.0\r\n" + key + b"\r\n",
        "HTTP/0.9": b"GET /v1/models\r\n\r\n",
        "HTTP/9.9": b"GET /v1/models HTTP/9.9\r\nHost: x\r\n\r\n",
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "absolute address": b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n" + key + b"\r\n",
        "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n" + key + b"\r\n",
        "connect": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "no slash": b"GET v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n" + key + b"\r\n",
        "empty address": b"GET  HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "high bytes in the path": b"GET /chat/conversation/\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n" + key + b"\r\n",
        "NUL in the path": b"GET /chat/conversation/\x00 HTTP/1.1\r\nHost: 127.0.0.1\r\n" + key + b"\r\n",
        "fragment": b"GET /v1/models#x HTTP/1.1\r\nHost: 127.0.0.1\r\n" + key + b"\r\n",
        "60 KB path": b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + key + b"\r\n",
        "unknown method": b"FOO /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n" + key + b"\r\n",
        "long method": b"A" * 5_000 + b" /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "1 MB of headers": base + key + b"X-Y: " + b"x" * 1_000_000 + b"\r\n\r\n",
        "5000 headers": base + key + b"".join(b"X-%d: y\r\n" % n for n in range(5_000)) + b"\r\n",
        "negative length": post + b"Content-Length: -1\r\n\r\n" + body,
        "length of letters": post + b"Content-Length: x\r\n\r\n" + body,
        "length of another alphabet": post + "Content-Length: ٣\r\n\r\n".encode() + body,
        "length with a plus": post + b"Content-Length: +16\r\n\r\n" + body,
        "two lengths": post + b"Content-Length: 16\r\nContent-Length: 5\r\n\r\n" + body,
        "length 2^64": post + b"Content-Length: 18446744073709551616\r\n\r\n" + body,
        "length and chunks": post
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n"
        + body
        + b"\r\n0\r\n\r\n",
        "chunks twice": post + b"Transfer-Encoding: chunked, chunked\r\n\r\n10\r\n" + body + b"\r\n0\r\n\r\n",
        "unknown coding": post + b"Transfer-Encoding: xchunked\r\n\r\n10\r\n" + body + b"\r\n0\r\n\r\n",
        "huge chunk": post + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + body + b"\r\n0\r\n\r\n",
        "negative chunk": post + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + body + b"\r\n0\r\n\r\n",
        "chunk extension": post
        + b"Transfer-Encoding: chunked\r\n\r\n10;"
        + b"x" * 50_000
        + b"\r\n"
        + body
        + b"\r\n0\r\n\r\n",
        "trailers": post + b"Transfer-Encoding: chunked\r\n\r\n10\r\n" + body + b"\r\n0\r\nAuthorization: x\r\n\r\n",
        "chunks beyond the limit": post
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + (b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 20
        + b"0\r\n\r\n",
        "second request inside": post
        + b"Content-Length: 16\r\n\r\n"
        + body
        + b"GET /admin/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "nothing but newlines": b"\r\n" * 1_000,
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
        "random": bytes(range(256)) * 20 + b"\r\n\r\n",
    }
