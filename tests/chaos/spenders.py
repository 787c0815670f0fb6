"""Callers of every API whose requests count under budgets: kept or not, streamed or not, some with a longest answer."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import Any, ClassVar

from chatservice.dialects import DIALECTS
from tests.chaos import wire
from tests.chaos.cluster import Cluster
from tests.chaos.readers import ChatV1Reader, OpenAIReader, Reader
from tests.chaos.response_readers import ResponsesReader
from tests.chaos.socket_readers import READERS
from tests.chaos.verdict import Verdict

CODE = "insufficient_quota"
# The last where a busy machine did not store a question in time.
EXPECTED = (
    "cancelled",
    "stopped",
    "interrupted",
    "answer_not_kept",
    "shutting_down",
    "not_found",
    '"deleted"',  # a reader that waited for an answer whose conversation is gone
    "storage_unavailable",
)
MOST = 12
IN_LINE = 3


@dataclass
class Asked:
    """One request and what its caller was told; `status` is None where the connection broke."""

    reader: Reader
    status: int | None = None
    body: str = ""
    says_when: bool = True

    @property
    def prompt(self) -> str:
        return self.reader.prompt

    @property
    def is_refused(self) -> bool:
        return self.status == 429

    @property
    def is_surprising(self) -> bool:
        """Tell whether it was told an error that has nothing to do with kills, cancels and keys."""
        return (self.status or 0) >= 400 and not self.is_refused and not any(code in self.body for code in EXPECTED)


@dataclass
class Spending:
    """A running scenario, and what was asked in it."""

    cluster: Cluster
    verdict: Verdict
    seed: int
    over: bool = False
    """Nothing more is asked."""
    settled: bool = False
    """Nothing is reserved any more, or it took too long."""
    asked: list[list[Asked]] = field(default_factory=list)
    """What one caller's turn asked; twins are one turn."""
    deleted: dict[str, int] = field(default_factory=dict)
    """The runs that were deleted while they ran, with their process."""
    reserved: dict[uuid.UUID, tuple[int, int]] = field(default_factory=dict)
    """The tokens and the cost that were seen reserved for a run."""


class CompletionsReader(OpenAIReader):
    """With more in its body; its run has the prompt as its request id, so that one that is not kept is found."""

    more: ClassVar[dict[str, Any]] = {}

    async def begin(self, port: int, patience: float) -> None:
        body = {"model": self.model, "stream": True, "messages": [{"role": "user", "content": self.prompt}]}
        named = {"idempotency_key": self.key, "X_Request_Id": self.prompt}
        await self._read(port, "POST", "/v1/chat/completions", patience, body={**body, **self.more}, **named)


class ShortCompletions(CompletionsReader):
    name, more = "openai_v1 max_tokens", {"max_tokens": MOST}


class UnkeptCompletions(CompletionsReader):
    name, more = "openai_v1 store=false", {"store": False, "max_completion_tokens": MOST}


class UnkeptResponses(ResponsesReader):
    name = "responses store=false"
    resumes = False

    async def begin(self, port: int, patience: float) -> None:
        body = {"model": self.model, "input": self.prompt, "stream": True, "store": False, "max_output_tokens": MOST}
        named = {"idempotency_key": self.key, "X_Request_Id": self.prompt}
        await self._read(port, "POST", "/v1/responses", patience, body=body, **named)


class WholeCompletions(Reader):
    """Not streamed."""

    dialect, name = "openai_v1", "openai_v1 whole"
    path: ClassVar[str] = "/v1/chat/completions"
    more: ClassVar[dict[str, Any]] = {}

    def body(self) -> dict[str, Any]:
        return {"model": self.model, "messages": [{"role": "user", "content": self.prompt}], **self.more}

    async def begin(self, port: int, patience: float) -> None:
        options: dict[str, Any] = {"body": self.body(), "secret": self.api_user.secret, "patience": patience}
        options |= {"idempotency_key": self.key, "X_Request_Id": self.prompt}
        async with wire.request(port, "POST", self.path, **options) as answer:
            self._named(answer)
            self.text = self.text_of(json.loads(await answer.body()))
            self.finish("complete")

    def text_of(self, answer: dict[str, Any]) -> str:
        return answer["choices"][0]["message"]["content"] or ""


class UnkeptWhole(WholeCompletions):
    name, more = "openai_v1 whole store=false", {"store": False, "max_tokens": MOST}


class WholeResponses(WholeCompletions):
    name, path, more = "responses whole", "/v1/responses", {"max_output_tokens": MOST}

    def body(self) -> dict[str, Any]:
        return {"model": self.model, "input": self.prompt, **self.more}

    def text_of(self, answer: dict[str, Any]) -> str:
        return "".join(part["text"] for item in answer["output"] for part in item.get("content", ()))


class FirstInLine(ChatV1Reader):
    """Its conversation gets more questions while this one is answered."""

    name = "chat_v1 queue"
    conversation_id = ""

    def _named(self, answer: wire.Answer) -> None:
        super()._named(answer)
        self.conversation_id = answer.headers.get("x-conversation-id", "")

    async def ask_more(self, port: int, prompt: str) -> None:
        """Ask another question of the same conversation, which waits; its answer is not read."""
        path = f"/v1/chat/conversations/{self.conversation_id}/messages"
        body = {"content": prompt, "model": self.model, "when_busy": "queue"}
        await wire.call(port, "POST", path, secret=self.api_user.secret, body=body)


OWN = (ShortCompletions, UnkeptCompletions, UnkeptResponses, WholeCompletions, UnkeptWhole, WholeResponses, FirstInLine)
KINDS: tuple[type[Reader], ...] = READERS + tuple(each for each in OWN if each.dialect in DIALECTS)


async def ask(reader: Reader, port: int, *, more: int = 0) -> list[Asked]:
    """Ask once what is prepared, and `more` often in the same conversation; return what the caller was told."""
    asked = Asked(reader)
    work = [asyncio.create_task(_told(asked, _whole_attempt(reader, port)))]
    found = [asked]
    if isinstance(reader, FirstInLine):
        while not reader.conversation_id and not work[0].done():
            await asyncio.sleep(0.005)
        for number in range(more if reader.conversation_id else 0):
            waiting = Asked(ChatV1Reader(reader.api_user, f"{reader.prompt}w{number}", reader.model))
            found.append(waiting)
            work.append(asyncio.create_task(_told(waiting, reader.ask_more(port, waiting.prompt))))
    await asyncio.gather(*work)
    return found


async def _whole_attempt(reader: Reader, port: int) -> None:
    while not reader.ended:
        await reader.attempt(port)


async def _told(asked: Asked, asking: Any) -> None:
    try:
        await asking
    except wire.Refused as refused:
        asked.status, asked.body = refused.status, refused.text
        asked.says_when = refused.says_when or "It is not renewed" in refused.text
    except (wire.Cut, OSError, TimeoutError):
        return
    else:
        asked.status = 200
        if asked.reader.ended.startswith("error:4"):  # a socket's refusal has no status
            asked.status, asked.body = 429 if CODE in asked.reader.error else 400, asked.reader.error
        elif asked.reader.ended == f"error:{CODE}":
            asked.status, asked.body = 429, ""


def is_in_shape(asked: Asked) -> bool:
    """Tell whether a refusal has the shape of its API, names a budget, and says when it is renewed."""
    try:
        return asked.says_when and _is_in_shape(asked, json.loads(asked.body))
    except (ValueError, LookupError, TypeError):
        return False


def _is_in_shape(asked: Asked, told: Any) -> bool:
    match asked.reader.dialect:
        case "chat_v1":
            return told["success"] is False and told["error"]["code"] == CODE and "budget" in told["message"]
        case "openai_v1":
            error = told["error"]
            return (error["code"], error["type"]) == (CODE, CODE) and "budget" in error["message"]
        case "websocket":
            return told["code"] == CODE and "budget" in told["message"]
        case "graphql":
            return told[0]["extensions"]["code"] == CODE and "budget" in told[0]["message"]
    return told["error"]["code"] == CODE and "budget" in told["error"]["message"]


def by_prompt(cluster: Cluster) -> dict[str, list[Any]]:
    """Return the requests that the upstream saw, by their last message."""
    found: dict[str, list[Any]] = {}
    for each in cluster.upstream.posts:
        if each.at >= cluster.began and isinstance(each.body, dict) and each.body.get("messages"):
            content = each.body["messages"][-1].get("content")
            text = content[0]["text"] if isinstance(content, list) else str(content)
            found.setdefault(text, []).append(each)
    return found
