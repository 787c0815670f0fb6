"""Tells whether the other end of a TCP connection on this machine is a process of the service's own user.

An address does not tell: a proxy in front also connects from 127.0.0.1. The kernel knows which user owns each socket.
docs/guests.md explains the rule; principal.py applies it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import psutil

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
STATE = "connection"
"""Where the server puts a request's connection into the ASGI scope's `state`."""
UNKNOWN_USER = 65_534
"""The id that the kernel gives for users that a container does not map: it may be anybody."""


class Connection:
    """One connection to this server, for as long as it lives."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._client: tuple[Any, ...] = transport.get_extra_info("peername") or ()
        self._server: tuple[Any, ...] = transport.get_extra_info("sockname") or ()
        self._from_own_user: bool | None = None

    def is_from_own_user(self) -> bool:
        """Tell whether a process of our user is the other end, and serves nobody outside this machine.

        Blocks for a moment the first time. The answer holds for the connection's life: nobody else can use the same two
        endpoints before it is closed. Whether it is still open is checked last, so the look-up cannot have found a
        later connection between the same endpoints.
        """
        if self._from_own_user is None:
            self._from_own_user = holds_other_end(self._client, self._server) and self._is_open()
        return self._from_own_user

    def _is_open(self) -> bool:
        try:
            peer = self._transport.get_extra_info("socket").getpeername()
        except OSError:
            return False
        return peer == self._client and not self._transport.is_closing()


def connection_of(scope: dict[str, Any]) -> Connection | None:
    """Return the connection that a request came by; None if the server does not tell."""
    found: Connection | None = (scope.get("state") or {}).get(STATE)
    return found


def ip_of(address: str | bytes) -> Address | None:
    """Return an IP address, an IPv4 one also if it is written as IPv6; None for anything else."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def is_loopback(address: str | bytes) -> bool:
    parsed = ip_of(address)
    return parsed is not None and parsed.is_loopback


def is_local_name(host: str) -> bool:
    """Tell whether a host name can only mean this machine; Django's test client uses testserver."""
    return host in ("localhost", "testserver") or is_loopback(host)


class Endpoint(NamedTuple):
    """One end of a connection."""

    address: Address
    port: int


def holds_other_end(client: tuple[Any, ...], server: tuple[Any, ...]) -> bool:
    """Tell whether the end `client` of a connection to `server` is a process of our user, and not a proxy for others.

    Both are addresses in the form of Python's sockets. False if this cannot be found out.
    """
    if len(client) < 2 or len(server) < 2 or not hasattr(os, "geteuid") or os.geteuid() == UNKNOWN_USER:
        return False
    client_address, server_address = ip_of(client[0]), ip_of(server[0])
    if client_address is None or server_address is None:
        return False
    ends = Endpoint(client_address, client[1]), Endpoint(server_address, server[1])
    try:
        return _by_kernel(*ends)
    except OSError:  # not Linux, or the kernel does not answer in this container
        return _by_processes(*ends)


class _Process(NamedTuple):
    pid: int
    holds: bool
    """It holds the other end."""
    serves_others: bool
    """It listens beyond loopback."""


def _by_kernel(client: Endpoint, server: Endpoint) -> bool:
    listening = [each for family in (socket.AF_INET, socket.AF_INET6) for each in _listening(family)]
    found = _find(client, server)
    if found is None or found.state != ESTABLISHED or found.user != os.geteuid():
        return False
    serving = {each.inode for each in listening if each.user == os.geteuid() and not is_loopback(each.address)}
    return not serving or _is_no_proxy(_own_processes(found.inode, serving))


def _by_processes(client: Endpoint, server: Endpoint) -> bool:
    """Find out the same with psutil, which is slower but works on any system."""

    def looked_at() -> Iterator[_Process]:
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.uids().effective != os.geteuid():
                    continue
                connections = process.net_connections("tcp")
                holds = any(
                    each.status == psutil.CONN_ESTABLISHED
                    and (_endpoint(each.laddr), _endpoint(each.raddr)) == (client, server)
                    for each in connections
                )
                serves = any(
                    each.status == psutil.CONN_LISTEN and not is_loopback(each.laddr.ip) for each in connections
                )
                yield _Process(process.pid, holds, serves)

    return _is_no_proxy(looked_at())


def _endpoint(address: Any) -> Endpoint | None:
    parsed = ip_of(address.ip) if address else None
    return Endpoint(parsed, address.port) if parsed else None


def _is_no_proxy(processes: Iterable[_Process]) -> bool:
    """Tell whether one of our processes is the other end, and neither it nor this service listens beyond loopback."""
    known = {each.pid: each for each in processes}
    serving = {pid for pid, each in known.items() if each.serves_others}
    holders = [pid for pid, each in known.items() if each.holds]
    if not holders or os.getpid() not in known or os.getpid() in serving:
        return False
    return all(serving.isdisjoint(_with_forkers(pid)) for pid in holders)


def _with_forkers(pid: int) -> list[int]:
    """Return a process and its parents that run the same program: socat, for example, forks per connection."""
    found = [pid]
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        command = process.cmdline()
        for parent in process.parents():
            if parent.cmdline() != command:
                break
            found.append(parent.pid)
    return found


def _own_processes(inode: int, serving: set[int]) -> Iterator[_Process]:
    """Yield our user's processes: whether each has this socket, and one that listens beyond loopback."""
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError):  # the process has ended
            if entry.name.isdigit() and entry.stat().st_uid == os.geteuid():
                held = _sockets_of(entry.path)
                yield _Process(int(entry.name), inode in held, not held.isdisjoint(serving))


def _sockets_of(process: str) -> set[int]:
    found = set()
    for entry in os.scandir(f"{process}/fd"):
        with contextlib.suppress(OSError):  # the socket was closed meanwhile
            target = os.readlink(entry.path)
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    return found


# --- Linux: sock_diag(7), the interface behind `ss`: one look-up, however many sockets exist

ESTABLISHED, LISTEN = 1, 10  # as in tcp_states.h
SOCK_DIAG, BY_FAMILY = 4, 20
REQUEST, DUMP = 0x1, 0x300
ERROR, DONE = 2, 3
MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence, port
QUESTION = struct.Struct("=4BI")  # family, protocol, extensions, padding, states
ENDS = struct.Struct("!HH16s16s")  # ports and addresses, local and remote
ANY_COOKIE = struct.pack("=IQ", 0, 2**64 - 1)  # on any interface
DETAILS = struct.Struct("=IQIIIII")  # interface, cookie, expires, two queues, user, inode


class Socket(NamedTuple):
    """A TCP socket as the kernel describes it."""

    state: int
    address: bytes
    user: int
    inode: int


def _find(local: Endpoint, remote: Endpoint) -> Socket | None:
    family = socket.AF_INET if local.address.version == 4 else socket.AF_INET6
    ends = ENDS.pack(local.port, remote.port, local.address.packed, remote.address.packed)
    try:
        return next(_ask_kernel(family, 1 << ESTABLISHED, ends, REQUEST), None)
    except FileNotFoundError:  # there is no such socket
        return None


def _listening(family: int) -> Iterator[Socket]:
    return _ask_kernel(family, 1 << LISTEN, bytes(ENDS.size), REQUEST | DUMP)


def _ask_kernel(family: int, states: int, ends: bytes, flags: int) -> Iterator[Socket]:
    """Yield the TCP sockets of our network namespace in these states; raises OSError if the kernel refuses."""
    if not hasattr(socket, "AF_NETLINK"):
        raise OSError(errno.EAFNOSUPPORT, "no netlink on this system")
    question = QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0, states) + ends + ANY_COOKIE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as kernel:
        kernel.settimeout(1)  # the kernel answers immediately or never
        kernel.sendall(MESSAGE.pack(MESSAGE.size + len(question), BY_FAMILY, flags, 0, 0) + question)
        while True:
            answer = kernel.recv(65_536)
            while answer:
                length, kind, *_ = MESSAGE.unpack_from(answer)
                body, answer = answer[MESSAGE.size : length], answer[(length + 3) & ~3 :]
                if kind == ERROR:
                    number = -struct.unpack_from("=i", body)[0]
                    raise OSError(number, os.strerror(number))
                if kind == DONE:
                    return
                address = ENDS.unpack_from(body, 4)[2]
                *_, user, inode = DETAILS.unpack_from(body, 4 + ENDS.size)
                yield Socket(body[1], address[:4] if body[0] == socket.AF_INET else address, user, inode)
            if not flags & DUMP:
                return
