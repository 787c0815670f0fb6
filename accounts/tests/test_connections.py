"""Finding the process at the other end of a connection, in each supported way, with real sockets and processes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from django.test import SimpleTestCase

from accounts import connections
from accounts.connections import Connection, Endpoint, holds_other_end, ip_of

WAYS: list[Callable[[Endpoint, Endpoint], bool]] = [connections._by_processes]
if sys.platform == "linux":
    WAYS.append(connections._by_kernel)
CONNECTS = """
import os, socket, sys
def connect():
    link = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    sys.stdin.read()
"""
CLIENT = CONNECTS + "connect()\n"
LISTENS = CONNECTS + "outer = socket.create_server(('0.0.0.0', 0))\n"
# Like nginx: the process that accepts connections also opens them.
PROXY = LISTENS + "connect()\n"
# Like socat: it forks for each connection, and the child closes the listening socket.
FORKING = LISTENS + "if os.fork(): os.wait()\nelse: outer.close(); connect()\n"
# A server starts another program, as a remote terminal starts a shell.
STARTED = LISTENS + "import subprocess\nsubprocess.run([sys.executable, '-c', sys.argv[2], sys.argv[1]])\n"
NOBODY = "exec 3<>/dev/tcp/127.0.0.1/$0; cat >&2"  # bash, because other accounts may not be allowed to run this Python


class OtherEndTest(SimpleTestCase):
    def setUp(self) -> None:
        self.server = self.closing(socket.create_server(("127.0.0.1", 0)))
        self.port = self.server.getsockname()[1]

    def closing(self, each: Any) -> Any:
        self.addCleanup(each.close)
        return each

    def accept(self, server: socket.socket | None = None) -> socket.socket:
        link, _ = (server or self.server).accept()
        return self.closing(link)

    def assert_ours(self, link: socket.socket, ours: bool) -> None:
        client, server = link.getpeername(), link.getsockname()
        ends = [Endpoint(ip_of(each[0]), each[1]) for each in (client, server)]  # type: ignore[arg-type]
        for way in WAYS:
            with self.subTest(way.__name__):
                self.assertIs(way(*ends), ours)
        self.assertIs(holds_other_end(client, server), ours)

    @contextlib.contextmanager
    def process(self, *command: str, **options: Any) -> Iterator[socket.socket]:
        """Run a program that connects to us, and yield our end of its connection."""
        with subprocess.Popen([*command], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, **options) as running:
            try:
                self.server.settimeout(20)
                yield self.accept()
            finally:
                assert running.stdin is not None
                running.stdin.close()

    def python(self, program: str, *more: str) -> contextlib.AbstractContextManager[socket.socket]:
        return self.process(sys.executable, "-c", program, str(self.port), *more)

    def test_a_process_of_ours_is_known_by_every_kind_of_address(self) -> None:
        self.closing(socket.create_connection(("127.0.0.1", self.port)))
        self.assert_ours(self.accept(), True)
        mapped = self.closing(socket.socket(socket.AF_INET6))
        mapped.connect(("::ffff:127.0.0.1", self.port))
        self.assert_ours(self.accept(), True)
        six = self.closing(socket.create_server(("::1", 0), family=socket.AF_INET6))
        self.closing(socket.create_connection(six.getsockname()[:2]))
        self.assert_ours(self.accept(six), True)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may act as somebody else")
    def test_another_users_process_is_not_ours(self) -> None:
        with self.process("bash", "-c", NOBODY, str(self.port), user=33, group=33, cwd="/") as link:
            self.assert_ours(link, False)

    def test_a_proxy_of_ours_that_listens_to_others_is_refused_and_nothing_else_while_it_runs(self) -> None:
        for name, program in (("it accepts and connects", PROXY), ("it forks", FORKING)):
            with self.subTest(name), self.python(program) as link:
                self.assert_ours(link, False)
                self.closing(socket.create_connection(("127.0.0.1", self.port)))
                self.assert_ours(self.accept(), True)

    def test_what_a_server_of_ours_starts_is_no_proxy(self) -> None:
        with self.python(STARTED, CLIENT) as link:
            self.assert_ours(link, True)

    def test_nothing_is_ours_while_we_listen_to_others_ourselves(self) -> None:
        self.closing(socket.create_server(("0.0.0.0", 0)))
        self.closing(socket.create_connection(("127.0.0.1", self.port)))
        self.assert_ours(self.accept(), False)

    def test_an_end_that_is_closed_or_never_was_is_nobodys(self) -> None:
        link = socket.create_connection(("127.0.0.1", self.port))
        kept = self.accept()
        client, server = kept.getpeername(), kept.getsockname()
        link.close()
        self.assertFalse(holds_other_end(client, server))
        kept.close()
        for nobodys in ((client[0], 1), (), ("", 0), ("unix:", 0), ("10.0.0.1", client[1])):
            self.assertFalse(holds_other_end(nobodys, server), nobodys)

    def test_a_listener_at_that_address_is_no_connection(self) -> None:
        self.assertFalse(holds_other_end(self.server.getsockname(), ("127.0.0.1", 9)))

    def test_a_user_that_the_kernel_cannot_name_is_nobody(self) -> None:
        self.closing(socket.create_connection(("127.0.0.1", self.port)))
        link = self.accept()
        with mock.patch("os.geteuid", return_value=connections.UNKNOWN_USER):
            self.assertFalse(holds_other_end(link.getpeername(), link.getsockname()))

    def test_where_the_kernel_is_not_asked_processes_are_looked_at(self) -> None:
        self.closing(socket.create_connection(("127.0.0.1", self.port)))
        link = self.accept()
        with mock.patch.object(connections, "_by_kernel", side_effect=OSError):
            self.assertTrue(holds_other_end(link.getpeername(), link.getsockname()))


class ConnectionTest(SimpleTestCase):
    def setUp(self) -> None:
        server = socket.create_server(("127.0.0.1", 0))
        self.caller = socket.create_connection(server.getsockname())
        self.link, _ = server.accept()
        self.is_closing = False
        told = {"peername": self.link.getpeername(), "sockname": self.link.getsockname(), "socket": self.link}
        transport = SimpleNamespace(get_extra_info=told.get, is_closing=lambda: self.is_closing)
        self.connection = Connection(transport)  # type: ignore[arg-type]
        for each in (server, self.caller, self.link):
            self.addCleanup(each.close)

    def test_it_is_looked_up_once_and_holds(self) -> None:
        self.assertTrue(self.connection.is_from_own_user())
        with mock.patch.object(connections, "holds_other_end", side_effect=AssertionError):
            self.assertTrue(self.connection.is_from_own_user())

    def test_one_that_was_reset_meanwhile_is_not_taken_for_the_next_with_its_address(self) -> None:
        def reset(*ends: object) -> bool:
            """Reset the connection, but report it as found, as if a process of ours had got the same port by then."""
            self.caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.caller.close()
            until = time.monotonic() + 10
            while self.link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and time.monotonic() < until:
                time.sleep(0.01)
            return True

        with mock.patch.object(connections, "holds_other_end", side_effect=reset):
            self.assertFalse(self.connection.is_from_own_user())

    def test_one_that_is_being_closed_is_not_taken_for_another(self) -> None:
        self.is_closing = True
        self.assertFalse(self.connection.is_from_own_user())
