"""Probes report the state of a process, whatever the request's Host, scheme and method."""

from __future__ import annotations

import socket
from typing import ClassVar

from chatservice import __version__
from chatservice.testing import Service, ServiceTestCase, running_service, tried_once

HOSTS = (
    "Host: 10.0.0.1\r\n",
    "Host: evil.example\r\n",
    "Host: a b@c:d:e\r\n",
    "Host: \r\n",
    "Host: [::1\r\n",
    "Host: a\r\nHost: b\r\n",
    "",
)
SCHEMES = ("", "X-Forwarded-Proto: http\r\n", "X-Forwarded-Proto: https\r\n")
PATHS = ("/healthz", "/healthz/", "/readyz", "/readyz/")
OK = b'{"status":"ok"}'
ALIVE = f'{{"status":"ok","version":"{__version__}"}}'.encode()
# HAProxy's default is "OPTIONS / HTTP/1.0" without a Host, Apache's "OPTIONS *"; both take a redirect for success.
WITHOUT_PATH = (("OPTIONS", "/"), ("OPTIONS", "*"))


@tried_once
class ProbeTest(ServiceTestCase):
    own: ClassVar[Service]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        behind_a_proxy = {"HTTPS": "true", "TRUSTED_PROXIES": "1", "ALLOWED_HOSTS": "chat.example.org"}
        cls.own = cls.enterClassContext(running_service(**behind_a_proxy))

    def ask(self, method: str, path: str, headers: str, version: str) -> tuple[int, str, bytes]:
        """Return status, headers in lower case, and body."""
        with socket.create_connection(("127.0.0.1", self.own.port), timeout=20) as link:
            link.sendall(f"{method} {path} HTTP/{version}\r\n{headers}Connection: close\r\n\r\n".encode())
            got = b""
            while part := link.recv(65_536):
                got += part
        head, _, body = got.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), head.decode().lower(), body

    def test_probes_are_answered_before_hosts_and_redirects(self) -> None:
        asked = [(method, path) for path in PATHS for method in ("GET", "HEAD", "OPTIONS", "POST")]
        for method, path in (*asked, *WITHOUT_PATH):
            for host in HOSTS:
                for scheme in SCHEMES:
                    for version in ("1.0", "1.1"):
                        with self.subTest(f"{method} {path} {version}", host=host, scheme=scheme):
                            status, head, body = self.ask(method, path, host + scheme, version)
                            wanted = ALIVE if path.startswith("/healthz") else OK
                            self.assertEqual((status, body), (200, b"" if method == "HEAD" else wanted))
                            self.assertIn("cache-control: no-store", head)
                            self.assertIn("x-request-id: ", head)
                            self.assertNotIn("location:", head)
                            self.assertNotIn("set-cookie:", head)
                            # HTTP/1.0 clients do not understand chunked bodies.
                            self.assertNotIn("transfer-encoding", head)

    def test_everything_else_keeps_to_hosts_and_https(self) -> None:
        for path in ("/", "/healthz/x", "/readyz.html", "/v1/models", "/docs", "/admin/"):
            self.assertEqual(self.ask("GET", path, "Host: 10.0.0.1\r\n", "1.1")[0], 400, path)
            self.assertEqual(self.ask("GET", path, "Host: chat.example.org\r\n", "1.1")[0], 301, path)
