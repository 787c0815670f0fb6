"""Sends a probe by HTTP, as a message of MCP, or by one of the websockets, and reads the answer for comparison."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2
from websockets.exceptions import ConnectionClosed, InvalidStatus

from chatservice.testing import Service
from chatservice.testing.sockets import Socket
from tests.matrix.rows import Probe, Row, filled
from tests.matrix.subjects import Subject

TIMES = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?")
IDS = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
NUMBERS = re.compile(
    r'"(created|created_at|completed_at|retry_after|prompt_tokens|total_tokens|took_ms|tookMs)": ?[\d.]+'
)
# Parts that differ between two answers to the same question.
VARYING = {"date", "x-request-id", "openai-processing-ms", "content-length", "x-took-ms"}
MESSAGES = ("tool", "resources")
VERBS = ("query", "mutation", "subscription")


@dataclass(frozen=True, slots=True)
class Answer:
    """`outcome` is the status or code, `shown` every byte; `like` must be the same for a foreign and an unknown id."""

    outcome: str
    shown: str
    like: Any


def ask(subject: Subject, service: Service, row: Row, probe: Probe, values: Mapping[str, str]) -> Answer:
    """Ask with `values` in place of the placeholders; the subject's own ids replace those with `own.`."""
    known = {**values, "fresh": f"fresh-{uuid.uuid4().hex[:12]}"}
    known.update({f"own.{name}": value for name, value in (subject.own or values).items()})
    path, body, headers = (filled(each, known) for each in (probe.path, probe.body, probe.headers))
    if row.kind in ("frame", "subscription"):
        try:
            return (by_frame if row.kind == "frame" else by_subscription)(subject, service, body)
        except InvalidStatus as refused:  # a page of another site cannot even open the socket
            assert refused.response.status_code == 403
            return Answer("401", str(refused), "401")
    if row.kind in MESSAGES:
        return of_mcp(subject.http.post("/mcp", json=body))
    if row.kind in (*VERBS, "field"):
        return of_graph(subject.http.post("/graphql", json=body))
    return of_http(request(subject, row.kind, path, body, headers))


def request(
    subject: Subject, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None
) -> httpx2.Response:
    options: dict[str, Any] = {} if body is None else {"json": body}
    return subject.http.request(method, path, headers=dict(headers or {}), **options)


def of_http(response: httpx2.Response) -> Answer:
    headers = "\n".join(f"{name}: {value}" for name, value in sorted(response.headers.items()) if name not in VARYING)
    shown = f"{headers}\n\n{response.text}"
    size = len(response.content) if response.status_code >= 400 else None
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        return Answer("200", shown, plain(headers))  # the caller's own answer, whose number of chunks is random
    return Answer(str(response.status_code), shown, (response.status_code, size, plain(shown)))


def of_graph(response: httpx2.Response) -> Answer:
    answer = of_http(response)
    if response.status_code == 401:
        return answer
    return Answer(_outcome(response.json()), answer.shown, answer.like)


def of_mcp(response: httpx2.Response) -> Answer:
    """Read the answer to a JSON-RPC message: the code of its error, or of what a tool refused, or `ok`."""
    answer = of_http(response)
    if response.status_code == 401:
        return answer
    payload = response.json()
    refused = payload["error"].get("data") if "error" in payload else payload["result"].get("_meta")
    failed = "error" in payload or payload["result"].get("isError")
    return Answer(refused["code"] if failed else "ok", answer.shown, answer.like)


def _outcome(payload: dict[str, Any]) -> str:
    """Return the code of the first error; `null` when nothing was found, `ok` otherwise."""
    if errors := payload.get("errors"):
        return errors[0]["extensions"]["code"]
    return "null" if all(value is None for value in payload["data"].values()) else "ok"


def by_frame(subject: Subject, service: Service, frame: dict[str, Any]) -> Answer:
    """Send one frame, and read the result: a run to its end, or the one frame of a refusal."""
    with Socket(service.websocket_url, additional_headers=dict(subject.headers)) as socket:
        try:
            socket.say(**frame)
            frames = socket.until("error", "ai_complete", "idle", "stopping", "unsubscribed", "pong")
        except ConnectionClosed as closed:
            return Answer("401", str(closed.rcvd), "401")
    last = frames[-1]
    outcome = last["data"]["code"] if last["type"] == "error" else last["type"]
    if outcome == "unauthorized":  # whether this or the close arrives first is random
        return Answer("401", json.dumps(frames), "401")
    return _of_frames(outcome, frames)


def by_subscription(subject: Subject, service: Service, body: dict[str, Any]) -> Answer:
    url = f"{service.url.replace('http', 'ws')}/graphql"
    options: dict[str, Any] = {"subprotocols": ["graphql-transport-ws"], "additional_headers": dict(subject.headers)}
    with Socket(url, **options) as socket:
        try:
            socket.say(type="connection_init")
            socket.read()
            socket.say(type="subscribe", id="1", payload=body)
            frames = socket.until("complete", "error")
        except ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code == 4403
            return Answer("401", str(closed.rcvd), "401")
    first = frames[0]
    if first["type"] == "error":
        return _of_frames(first["payload"][0]["extensions"]["code"], frames)
    return _of_frames(_outcome(first["payload"]) if first["type"] == "next" else "nothing", frames)


def _of_frames(outcome: str, frames: list[dict[str, Any]]) -> Answer:
    shown = "\n".join(json.dumps(frame) for frame in frames)
    # The number of chunks in the caller's own answer is random.
    kinds = list(dict.fromkeys(frame["type"] for frame in frames))
    return Answer(outcome, shown, kinds if outcome in ("ai_complete", "ok") else plain(shown))


def plain(text: str) -> str:
    """Return a text without the parts that are new in every answer: ids, times, the caller's own new names."""
    text = NUMBERS.sub(r'"\1":0', TIMES.sub("TIME", IDS.sub("ID", text)))
    text = re.sub(r"chatcmpl-(echo-)?[0-9a-f]+", "ID", text)
    text = re.sub(r"(CANARY|WORD|KEY|nobody-|fresh-)?ID", "ID", text)
    return re.sub(r"(alice|guest|bob|nobody|fresh|staff)-[0-9a-f]{12}", "NAME", text)
