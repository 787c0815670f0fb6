"""deploy/nginx and deploy/Caddyfile by the real programs: streams, sockets, uploads, metrics, an absent process."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from django.test import SimpleTestCase
from websockets.sync.client import connect

from chatservice.testing import CLOSED_PORT, ROOT, ServiceTestCase, free_port, needs_dialect, tried_on, wait_until
from conftest import CI
from scripts.nginx import running_nginx
from tests.nginx import need_nginx

DEPLOY = ROOT / "deploy"
FILES = DEPLOY / "nginx"
NAME = "chat.example.org"
CADDY_OPTIONS = (
    "{{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\tstorage file_system {home}\n}}\n"
)


class ProxyCase:
    """What holds behind either; `front` runs one in front of two processes, of which the second is away."""

    too_large = frozenset({413})

    def front(self) -> Iterator[int]:
        raise NotImplementedError

    def check(self) -> None:
        needs_dialect("openai_v1", "chat_v1")
        needs_dialect("websocket")
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        with contextmanager(self.front)() as port:
            url = f"https://localhost:{port}"
            with httpx2.Client(base_url=url, verify=trusting, timeout=30, trust_env=False) as http:
                http.headers.update({**self.alice.headers, "Host": self.host(port)})
                wait_until(lambda: self.answers(http), what="the proxy")
                self.check_requests(http)
                self.check_stream(http)
            headers = {**self.alice.headers}
            there = f"wss://localhost:{port}/ws/chat"
            with connect(there, ssl=trusting, additional_headers=headers, proxy=None) as socket:
                socket.send('{"type": "send", "content": "Hi"}')
                while '"ai_complete"' not in str(socket.recv(30)):
                    pass

    def host(self, port: int) -> str:
        return f"localhost:{port}"

    def answers(self, http: httpx2.Client) -> bool:
        try:
            return http.get("/readyz").status_code == 200
        except httpx2.HTTPError:
            return False

    def check_requests(self, http: httpx2.Client) -> None:
        for _ in range(6):  # every second one would be for the process that is away, which Caddy notices
            self.assertEqual(http.get("/v1/chat/conversations?q=canary").status_code, 200)
        for path in ("/metrics", "/metrics/", "//metrics", "/%6detrics"):
            answer = http.get(f"{http.base_url}".rstrip("/") + path)
            self.assertEqual((answer.status_code, "chat_" in answer.text), (404, False), path)
        self.assertEqual(http.get("/shared/canary/pictures/canary").status_code, 404)
        small, large = b"x" * 100_000, b"x" * (102 * 2**20)
        sent = http.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("a.txt", small)})
        self.assertEqual(sent.status_code, 200, sent.text)
        try:
            refused = http.post("/v1/files", content=large, headers={"Content-Type": "application/octet-stream"})
            self.assertIn(refused.status_code, self.too_large)
        except httpx2.WriteError:
            pass  # closed before all of it was sent

    def check_stream(self, http: httpx2.Client) -> None:
        """The first words arrive long before the last ones."""
        body = {"model": "fake/slow:20ms:50", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            arrived = [(time.monotonic(), part) for part in answer.iter_raw()]
        self.assertIn(b"[DONE]", arrived[-1][1])
        self.assertGreater(len(arrived), 10)
        self.assertGreater(arrived[-1][0] - arrived[0][0], 0.5)


@tried_on("sqlite")
class NginxTest(ProxyCase, ServiceTestCase):
    def test_what_matters_works(self):
        self.check()

    def front(self) -> Iterator[int]:
        program = need_nginx()
        port, plain = free_port(), free_port()
        with tempfile.TemporaryDirectory(prefix="nginx-") as directory:
            home = Path(directory)
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
                + ["-keyout", home / "privkey.pem", "-out", home / "fullchain.pem"],
                check=True,
                capture_output=True,
            )
            text = (FILES / "chat.conf").read_text()
            for here, there in (
                ("listen [::]:80;", ""),
                ("listen [::]:443 ssl http2;", ""),
                ("listen 80;", f"listen 127.0.0.1:{plain};"),
                ("listen 443 ", f"listen 127.0.0.1:{port} "),
                ("/etc/nginx/tls", str(home)),
                ("/var/log/nginx/", f"{home}/"),
                (f"server_name {NAME}", "server_name localhost"),
            ):
                self.assertIn(here, text)
                text = text.replace(here, there)
            (home / "chat.conf").write_text(text)
            upstream = (FILES / "chat-upstream.conf").read_text()
            upstream = upstream.replace(":8001", f":{self.service.port}").replace(":8002", f":{CLOSED_PORT}")
            (home / "chat-upstream.conf").write_text(upstream)
            with running_nginx(program, home, f"include {home}/*.conf;", port):
                yield port
                told = httpx2.get(f"http://127.0.0.1:{plain}/x?y", trust_env=False, headers={"Host": "localhost"})
                self.assertEqual((told.status_code, told.headers["location"]), (301, "https://localhost/x?y"))
            log = (home / "access.log").read_text()
            self.assertIn('"GET /v1/chat/conversations" 200', log)
            self.assertIn('"GET /shared" 404', log)
            self.assertNotIn("canary", log + (home / "error.log").read_text())


@tried_on("sqlite")
class CaddyTest(ProxyCase, ServiceTestCase):
    too_large = frozenset({413, 502})  # before 2.7 the upstream was blamed

    def test_what_matters_works(self):
        if shutil.which("caddy") is None:
            (pytest.fail if CI else pytest.skip)("needs Caddy: apt-get install caddy")
        self.check()

    def front(self) -> Iterator[int]:
        port = free_port()
        with tempfile.TemporaryDirectory(prefix="caddy-") as directory:
            text = (DEPLOY / "Caddyfile").read_text()
            for here, there in (
                (f"{NAME} {{\n", f"localhost:{port} {{\n\ttls internal\n"),
                (":8001", f":{self.service.port}"),
                (":8002", f":{CLOSED_PORT}"),
            ):
                self.assertIn(here, text)
                text = text.replace(here, there)
            file = Path(directory, "Caddyfile")
            file.write_text(CADDY_OPTIONS.format(home=directory) + text)
            process = subprocess.Popen(
                ["caddy", "run", "--config", file, "--adapter", "caddyfile"],
                env={**os.environ, "HOME": directory},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                yield port
            finally:
                process.terminate()
                process.wait(timeout=20)


class PageTest(SimpleTestCase):
    def test_the_page_shows_the_lines_that_are_used(self):
        used = {
            re.sub(r"\s+", " ", line.partition("#")[0]).strip()
            for line in (FILES / "chat.conf").read_text().splitlines()
        }
        page = (ROOT / "docs" / "proxies.md").read_text()
        shown = re.findall(r"^```nginx\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0]
        for line in shown.splitlines():
            self.assertIn(re.sub(r"\s+", " ", line.partition("#")[0]).strip(), used)
