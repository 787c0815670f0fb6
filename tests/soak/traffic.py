"""Users who ask all the time, through nginx and by every API, and come back until their answer is over."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chatservice.dialects import DIALECTS
from tests.chaos import wire
from tests.chaos.cluster import ApiUser
from tests.chaos.picture_reader import PICTURE_READERS
from tests.chaos.readers import Disagreement, Reader
from tests.chaos.socket_readers import READERS
from tests.chaos.verdict import Verdict

MODELS = ("fake/numbered:5ms:30", "fake/numbered:0:20", "fake/numbered:20ms:300", "fake/numbered:10ms:80")
PATIENCE = (2.0, 5.0, 20.0)
"""After how many seconds without a byte a user leaves and comes back; a stream has a heartbeat every 15 s."""
PLAIN_PATIENCE = 60.0
THINKING = (0.2, 1.0)
COMES_BACK = (0.1, 0.5)
GIVE_UP = 150.0
AWAY = (429, 502, 503, 504)
LEFT = "TimeoutError"
"""What wire.Cut says when the client itself has left."""


class PlainReader(Reader):
    """It asks without a stream; the same question with the same key gets the same answer."""

    dialect = "openai_v1"
    name = "openai_v1, plain"
    resumes = False

    async def begin(self, port: int, patience: float) -> None:
        body = {"model": self.model, "messages": [{"role": "user", "content": self.prompt}]}
        options: dict[str, Any] = {"secret": self.api_user.secret, "body": body, "idempotency_key": self.key}
        options["patience"] = max(patience, PLAIN_PATIENCE)
        async with wire.request(port, "POST", "/v1/chat/completions", **options) as answer:
            text = await answer.body()
            self._named(answer)
        self.text = json.loads(text)["choices"][0]["message"]["content"]
        self.finish("complete")


PLAIN_READERS: tuple[type[Reader], ...] = tuple(each for each in (PlainReader,) if each.dialect in DIALECTS)
KINDS = READERS + PICTURE_READERS + PLAIN_READERS


class Trouble(NamedTuple):
    """A cut or a refusal, which only a fault excuses. `at` is in Unix seconds."""

    at: float
    kind: str
    text: str


@dataclass
class Traffic:
    """`front` is nginx's port."""

    seed: int
    front: int
    users: list[ApiUser]
    verdict: Verdict
    seen: list[Reader] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    over: bool = False

    async def run(self) -> None:
        """Ask until `over`, and return when every question has its end."""
        await asyncio.gather(*(self._post(number) for number in range(len(self.users))))

    async def _post(self, number: int) -> None:
        rng = random.Random(f"{self.seed} poster {number}")
        count = 0
        while not self.over:
            count += 1
            kind = KINDS[(number + count) % len(KINDS)]
            await self.ask(kind(self.users[number], f"canary p{number}q{count}", rng.choice(MODELS)), rng)
            await asyncio.sleep(rng.uniform(*THINKING))

    async def ask(self, reader: Reader, rng: random.Random) -> None:
        """Ask, and come back until the answer is over."""
        self.seen.append(reader)
        where = f"{reader.prompt} ({reader.name}, seed {self.seed})"
        try:
            async with asyncio.timeout(GIVE_UP):
                await self._insist(reader, rng, where)
        except (Disagreement, TimeoutError) as error:
            self.verdict.broken(f"{where}: {type(error).__name__} {error}, {reader.ended or 'no end'}")
        self.verdict.facts[f"by {reader.name}"] += 1
        reader.raw.clear()  # for half an hour of them

    async def _insist(self, reader: Reader, rng: random.Random, where: str) -> None:
        prepared = False
        patience = rng.choice(PATIENCE)
        while not reader.ended:
            try:
                if not prepared:
                    await reader.prepare(self.front)
                    prepared = True
                await reader.attempt(self.front, patience=patience)
                continue
            except wire.Cut as cut:
                if str(cut) == LEFT:
                    self.verdict.facts["times that a client left and came back"] += 1
                else:
                    self._trouble("cut", f"{where}: {cut}")
            except OSError as error:
                self._trouble("cut", f"{where}: {error!r}")
            except wire.Refused as refused:
                self._refused(refused, where)
            await asyncio.sleep(rng.uniform(*COMES_BACK))
        if reader.error:  # the status of a request without a stream
            self._trouble("error", f"{where}: {reader.ended} {reader.error[:200]}")
            self.verdict.expect(reader.ended != "error:500", f"{where}: {reader.error[:200]}")

    def _refused(self, refused: wire.Refused, where: str) -> None:
        if refused.is_from_proxy:
            return self._trouble("refused by nginx", f"{where}: {refused.status}")
        self._trouble("refused", f"{where}: {refused}")
        self.verdict.expect(refused.status in AWAY, f"{where}: {refused}")
        self.verdict.expect(refused.says_when, f"{where}: refused without saying when to come back: {refused}")

    def _trouble(self, kind: str, text: str) -> None:
        self.troubles.append(Trouble(time.time(), kind, text))

    def between(self, began: float, ended: float) -> Iterator[Trouble]:
        return (each for each in self.troubles if began <= each.at <= ended)
