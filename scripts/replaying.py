"""Sends printed requests and reports their results, for replay_documents.py."""

from __future__ import annotations

import http.client
import json
import subprocess
import tempfile
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

JSON = {"Content-Type": "application/json"}
SECONDS = 60


class Failed(Exception):
    """The response is not the one printed in the document."""


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise Failed("no JSON") from None

    @property
    def events(self) -> list[str]:
        """Return the data of each event; fails if this is not a stream."""
        need(self.headers.get("content-type", "").startswith("text/event-stream"), "no event stream")
        blocks = self.body.decode().split("\n\n")
        lines = (
            [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")] for block in blocks
        )
        return ["\n".join(data) for data in lines if data]


def need(condition: object, what: str) -> None:
    if not condition:
        raise Failed(what)


def has(value: Any, *names: str) -> None:
    """Fail unless `value` is an object that begins with these keys, or a list of such objects."""
    for each in value if isinstance(value, list) else [value]:
        need(isinstance(each, dict), "no object")
        missing = [name for name in names if name not in each]
        need(not missing, f"without {', '.join(missing)}")


class Sender:
    """Sends one document's calls after the other; `failures` counts the failed ones."""

    def __init__(self, url: str, key: str, say: Callable[[str], None] = print) -> None:
        self.url, self.key, self.say = url.rstrip("/"), key, say
        self.calls = self.failures = 0

    def tell(self, document: str, call: str, status: object, problem: str = "") -> None:
        self.calls += 1
        self.failures += bool(problem)
        self.say(
            f"{'FAIL' if problem else 'PASS'}  {document:12} {call:58} {status}{f'  {problem}' if problem else ''}"
        )

    def send(self, method: str, path: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        place = urllib.parse.urlsplit(self.url)
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        link = kind(place.hostname or "127.0.0.1", place.port, timeout=SECONDS)
        try:
            link.request(method, path, body.encode() if body is not None else None, dict(headers or {}))
            response = link.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            link.close()

    def call(
        self,
        document: str,
        method: str,
        path: str,
        body: str | None = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        check: Callable[[Answer], None] = lambda answer: None,
    ) -> Answer:
        """Send one printed request, report the result, and return the response."""
        given = {**(JSON if body is not None else {}), **(headers or {})}
        answer, problem = Answer(0, {}, b""), ""
        try:
            answer = self.send(method, path, body, given)
            need(answer.status == status, f"not {status}: {answer.body[:200]!r}")
            check(answer)
        except Failed as failed:
            problem = str(failed)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        self.tell(document, f"{method} {path}", answer.status, problem)
        return answer

    def client(
        self,
        name: str,
        command: list[str],
        program: str,
        suffix: str,
        check: Callable[[subprocess.CompletedProcess], None],
    ) -> None:
        """Run a printed client with address and key replaced, and check its output."""
        program = program.replace("http://localhost:8000", self.url).replace("your_api_key_here", self.key)
        problem, code = "", "-"
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / f"client{suffix}"
            path.write_text(program)
            try:
                done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=SECONDS)
                code = str(done.returncode)
                check(done)
            except (Failed, subprocess.TimeoutExpired) as failed:
                problem = str(failed)
        self.tell("2-openai", name, f"exit {code}", problem)
