"""Sends questions to a running service, and reads the answers in a form that can be compared between versions.

A question is plain JSON: `who` asks, `ask` is an HTTP request line, "websocket" (one frame is sent, and the answer is
read to its end), "subscription" (of GraphQL) or a command "manage.py …"; `body` and `headers` go with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import httpx2
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

Question = dict[str, Any]
Record = dict[str, Any]

# Headers that are part of an API; the server sets all others.
HEADERS = ("x-total-count", "link", "x-conversation-id", "x-message-id", "x-run-id", "retry-after", "location")
# Types of the frames that end an answer: on the websocket, and in a GraphQL subscription.
LAST_FRAMES = ("ai_complete", "error", "idle")
LAST_OF_SUBSCRIPTION = ("complete", "error")
# Fields that differ each time: a search's duration, and a key's last use.
VARYING = ("took_ms", "tookMs", "last_used_at")
# The same inside texts: a duration, and the time and signature in a search's cursor.
VARYING_TEXT = re.compile(r"(?<= in )\d+(?= ms)|(:|%3A)[0-9A-Za-z]{6}(:|%3A)[\w-]{43}\b")
FENCED = re.compile(r"^```json\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


class Asker:
    """Asks as any user who has a key in `keys`; others are guests. `manage` runs a command and returns its output."""

    def __init__(self, url: str, keys: Mapping[str, str], manage: Callable[..., str]) -> None:
        self.url = url
        self.keys = dict(keys)
        self.manage = manage
        self.http = httpx2.Client(base_url=url, timeout=30, trust_env=False)

    def close(self) -> None:
        self.http.close()

    def credential(self, who: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[who]}"} if who in self.keys else {}

    def ask(self, question: Question) -> Any:
        """Return the answer to a question, without the parts that differ each time."""
        kind, _, rest = question["ask"].partition(" ")
        who, body = question.get("who", ""), question.get("body")
        if kind == "manage.py":
            printed = self.manage(*rest.split())
            return settled(read_text(printed) if printed.startswith("[") else read_lines(printed))
        if kind == "websocket":
            return settled(self.frames("/ws/chat", who, [body], LAST_FRAMES))
        if kind == "subscription":
            frames = [{"type": "connection_init"}, {"type": "subscribe", "id": "1", "payload": body}]
            return settled(self.frames("/graphql", who, frames, LAST_OF_SUBSCRIPTION))
        headers = {**self.credential(who), **question.get("headers", {})}
        options: dict[str, Any] = {} if body is None else {"json": body}
        return answer_of(self.http.request(kind, rest, headers=headers, **options))

    def frames(self, path: str, who: str, sent: list[Any], last: tuple[str, ...]) -> list[Any]:
        """Send frames, and return the frames received until one of the types in `last`, or until the socket closes."""
        options: dict[str, Any] = {"subprotocols": ["graphql-transport-ws"]} if path == "/graphql" else {}
        url = f"{self.url.replace('http', 'ws', 1)}{path}"
        with connect(url, additional_headers=self.credential(who), max_size=None, proxy=None, **options) as socket:
            with suppress(ConnectionClosed):  # frames received before can still be read
                for frame in sent:
                    socket.send(json.dumps(frame))
            frames: list[Any] = []
            try:
                while not frames or frames[-1]["type"] not in last:
                    frames.append(json.loads(socket.recv(30)))
            except ConnectionClosed as closed:
                frames.append({"closed": closed.rcvd.code if closed.rcvd else None})
            return frames


def answer_of(response: httpx2.Response) -> dict[str, Any]:
    """Return the part of an HTTP response that belongs to an API."""
    kind = response.headers.get("content-type", "").partition(";")[0]
    read = {"text/event-stream": events_of, "application/x-ndjson": read_lines}.get(kind, read_text)
    headers = {name: response.headers[name] for name in HEADERS if name in response.headers}
    answer = {"status": response.status_code, "type": kind, "headers": headers, "body": read(response.text)}
    return {name: settled(value) for name, value in answer.items() if value}


def read_text(text: str) -> Any:
    """Return JSON parsed, and any other text as its lines."""
    try:
        return json.loads(text)
    except ValueError:
        return read_lines(text)


def read_lines(text: str) -> list[Any]:
    """Return the lines of a text, parsed if all are JSON; in Markdown, names in JSON are sorted."""
    lines = text.splitlines()
    try:
        return [json.loads(line) for line in lines]
    except ValueError:
        return FENCED.sub(lambda found: json.dumps(json.loads(found[1]), sort_keys=True), text).splitlines()


def events_of(text: str) -> list[dict[str, Any]]:
    """Return the events of a stream with their fields, JSON parsed."""
    events = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields: dict[str, Any] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name:
                fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        if str(fields.get("data", ""))[:1] == "{":
            fields["data"] = json.loads(fields["data"])
        if fields:
            events.append(fields)
    return events


def settled(value: Any) -> Any:
    """Return an answer without the parts that differ each time."""
    if isinstance(value, str):
        return VARYING_TEXT.sub("", value)
    if isinstance(value, dict):
        return {name: "" if name in VARYING else settled(each) for name, each in value.items()}
    return [settled(each) for each in value] if isinstance(value, list) else value
