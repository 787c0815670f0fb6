"""Sends a webhook: one POST, to an address that is checked as it is connected to.

The check is in the making of the socket, so that no name can mean one address when it is checked and another when it
is connected to. Redirects are not followed, and of a response only the status and Retry-After count.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import aiohttp

from webhooks.networks import may_reach

SECONDS = 10.0
"""How long one attempt may take, from the name's look-up to the response's headers and a little of its body."""
MAX_READ_BYTES = 16_384
SECONDS_ONLY = re.compile("[0-9]{1,9}")
"""A Retry-After; one that is a date is not heeded."""
USER_AGENT = "chatservice-webhooks"


@dataclass(frozen=True, slots=True)
class Message:
    url: str
    body: str
    headers: dict[str, str]


class Sent(NamedTuple):
    """The status of a response, or the class of the error that there was in place of one.

    `retry_after` are the seconds that the receiver asks to wait, 0 if it does not.
    """

    status: int | None
    error: str = ""
    retry_after: int = 0

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class AddressNotAllowed(OSError):
    """The receiver's address is in no network that webhooks may reach."""


def send(messages: Sequence[Message]) -> list[Sent]:
    """Send messages to one receiver, all at once; returns what became of each. Blocks for about SECONDS."""
    return asyncio.run(_send_all(messages))


async def _send_all(messages: Sequence[Message]) -> list[Sent]:
    is_encrypted = all(message.url.startswith("https:") for message in messages)

    def checked_socket(found: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        family, kind, protocol, _, address = found
        if not may_reach(str(address[0]), is_encrypted=is_encrypted):
            raise AddressNotAllowed("the address is not allowed")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    connector = aiohttp.TCPConnector(socket_factory=checked_socket)
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        return await asyncio.gather(*(_send(session, message) for message in messages))


async def _send(session: aiohttp.ClientSession, message: Message) -> Sent:
    headers = {**message.headers, "Content-Type": "application/json", "User-Agent": USER_AGENT}
    try:
        async with session.post(
            message.url, data=message.body.encode(), headers=headers, allow_redirects=False
        ) as response:
            retry_after = response.headers.get("Retry-After", "")
            result = Sent(response.status, retry_after=int(retry_after) if SECONDS_ONLY.fullmatch(retry_after) else 0)
            try:
                # What is short is read, so that the connection can be used again.
                await response.content.readexactly(MAX_READ_BYTES)
            except (asyncio.IncompleteReadError, aiohttp.ClientError, TimeoutError):
                pass
            return result
    except aiohttp.ClientConnectorError as error:
        return Sent(None, type(error.os_error).__name__)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return Sent(None, type(error).__name__)
