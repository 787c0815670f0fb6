"""`python -m tests.chaos.floods PORT SECONDS`: send long histories without a pause; print the responses.

It is a separate process, because the measuring one must be idle. CHAOS_KEYS has the keys, one per user.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections import Counter
from typing import Any

from tests.chaos import wire

LARGEST = 2_000
FAR_TOO_MANY = 9_000
BODY_BYTES = 4_150_000
PATH = "/v1/chat/completions"


def history(count: int, said: list[Any] | None = None) -> list[Any]:
    """Return new messages that, after `said`, together fill the largest permitted body."""
    messages = [*(said or [])]
    size = BODY_BYTES // (len(messages) + count) - 45
    mark = uuid.uuid4().hex
    for number in range(count):
        text = f"{mark} {number} ".ljust(max(size, 6), "x")[: max(size, 6)]
        messages.append({"role": "user" if number % 2 == 0 else "assistant", "content": text})
    return messages


async def flood(port: int, secret: str, until: float, seen: Counter[str]) -> None:
    """In turn: send the largest new history, another one after an answer, and one that is far too large."""

    async def ask(name: str, messages: list[Any]) -> list[Any]:
        """Return the history that ends in the answer, or nothing."""
        body = {"model": "echo", "messages": messages, "max_tokens": 3}
        try:
            answer = await wire.call(port, "POST", PATH, secret=secret, body=body, patience=60.0)
        except wire.Refused as refused:
            seen[f"{name} refused {refused.status}"] += 1
            if refused.status == 429:
                await asyncio.sleep(0.25)
            return []
        seen[f"{name} accepted"] += 1
        return [*messages, answer["choices"][0]["message"]]

    while time.monotonic() < until:
        await ask("new", history(LARGEST))
        if said := await ask("short", [{"role": "user", "content": uuid.uuid4().hex}]):
            await ask("branch", history(LARGEST, said))
        await ask("too long", history(FAR_TOO_MANY))


async def main(port: int, seconds: float) -> None:
    seen: Counter[str] = Counter()
    until = time.monotonic() + seconds
    await asyncio.gather(*(flood(port, secret, until, seen) for secret in os.environ["CHAOS_KEYS"].split()))
    print(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
