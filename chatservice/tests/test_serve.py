"""`manage.py serve` without any preparation: what the first start prints and which files it creates."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx2
from django.test import SimpleTestCase

from chatservice.testing import ROOT, Service, fake_upstreams, free_port, needs_dialect, wait_until
from chatservice.testing.sockets import Socket
from completions.tests.upstream_wire import TEXT

# The model of the default takes seconds of CPU to load; only the first start of one test shows that it does no harm.
NO_MODEL = {"SEARCH_EMBEDDER": "hashing"}
KEY = re.compile(r"^API key: +(cb_\w+)$", re.MULTILINE)
PASSWORD = re.compile(r"^Password: +(\S+)$", re.MULTILINE)


class FirstRunService(Service):
    """As `make run` starts it: it creates its own secrets and migrates its own database."""

    def start(self) -> Service:
        kept = {name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "KEY_PEPPER")}
        environment = {**kept, "DATABASE_URL": "", "HOST": "127.0.0.1", "PORT": str(self.port), **self.env}
        environment |= {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": "", "UPSTREAMS": fake_upstreams()}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        wait_until(self._is_ready, timeout=60, what="the first start")
        return self


class RunserverTest(SimpleTestCase):
    def test_daphne_serves_streams_and_websockets(self):
        needs_dialect("websocket")
        with tempfile.TemporaryDirectory() as directory:
            environment = {**Service().environment(), "DATABASE_URL": "", "VAR_DIR": directory, "ENV_FILE": os.devnull}
            self.manage(environment, "migrate", "--verbosity", "0")
            self.manage(environment, "create_user", "alice")
            secret = self.manage(environment, "create_api_key", "alice").split()[-1]
            port = free_port()
            log = Path(directory, "log")
            with log.open("wb") as output:
                command = [sys.executable, "manage.py", "runserver", str(port), "--noreload"]
                process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
            try:
                url = f"http://127.0.0.1:{port}"
                wait_until(lambda: process.poll() is not None or answers(f"{url}/readyz"), timeout=60, what="Daphne")
                headers = {"Authorization": f"Bearer {secret}"}
                with Socket(f"ws://127.0.0.1:{port}/ws/chat", additional_headers=headers) as link:
                    link.say(type="send", content="Hi", model="fake/ok")
                    self.assertEqual(link.until_end()[-1]["data"]["content"], TEXT)
                self.assertIn("Daphne", log.read_text())
            finally:
                process.terminate()
                process.wait(30)

    def manage(self, environment: dict[str, str], *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


def answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.HTTPError:
        return False


class FirstRunTest(SimpleTestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def service(self, **env: str) -> Service:
        service = FirstRunService(env={"VAR_DIR": str(self.directory), **env}, port=free_port())
        self.addCleanup(service.stop)
        return service.start()

    def test_account_and_key_are_printed_once_and_work(self):
        needs_dialect("openai_v1")
        first = self.service()
        log = first.log()
        [key], [password] = KEY.findall(log), PASSWORD.findall(log)
        for address in (f"{first.url}/docs", f"{first.url}/admin/", f"{first.url}/v1"):
            self.assertIn(address, log)
        headers = {"Authorization": f"Bearer {key}"}
        self.assertEqual(httpx2.get(f"{first.url}/v1/models", headers=headers).status_code, 200)
        self.sign_in(first.url, password)
        self.assertEqual(stat.S_IMODE((self.directory / "secrets.env").stat().st_mode), 0o600)
        self.assertEqual(first.stop(), 0)

        again = self.service(**NO_MODEL)
        self.assertEqual((KEY.findall(again.log()), PASSWORD.findall(again.log())), ([], []))
        self.assertEqual(httpx2.get(f"{again.url}/v1/models", headers=headers).status_code, 200)
        for secret in (key, password):
            self.assertNotIn(secret, again.log())
            stored = [path for path in self.directory.rglob("*") if path.is_file()]
            self.assertFalse(any(secret.encode() in path.read_bytes() for path in stored))

    def sign_in(self, url: str, password: str) -> None:
        with httpx2.Client(base_url=url) as browser:
            browser.get("/admin/login/")
            form = {"username": "admin", "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
            answer = browser.post("/admin/login/?next=/admin/", data=form, headers={"Referer": f"{url}/admin/login/"})
            self.assertEqual((answer.status_code, answer.headers.get("location")), (302, "/admin/"))
            self.assertEqual(browser.get("/admin/").status_code, 200)

    def test_with_https_everything_else_is_sent_there(self):
        plain = self.service(HTTPS="true", SECURE_SSL_REDIRECT="false", **NO_MODEL)
        plain.stop()
        env = {"VAR_DIR": str(self.directory), "HTTPS": "true", **NO_MODEL}
        service = FirstRunService(env=env, port=free_port())
        self.addCleanup(service.stop)
        service._is_ready = lambda: _redirects(service.url)  # type: ignore[method-assign]
        service.start()
        for path in ("/v1/models", "/docs", "/admin/"):
            answer = httpx2.get(f"{service.url}{path}", headers={"Authorization": "Bearer x"})
            self.assertEqual((answer.status_code, answer.headers["location"]), (301, f"https{service.url[4:]}{path}"))
        # An untrusted header must not cause a redirect: a client that already uses https would be redirected for ever.
        claimed = httpx2.get(f"{service.url}/v1/models", headers={"X-Forwarded-Proto": "https"})
        self.assertEqual(claimed.status_code, 500)
        self.assertIn("TRUSTED_PROXIES=1", claimed.text)


def _redirects(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/v1/models", timeout=2).status_code == 301
    except httpx2.HTTPError:
        return False
