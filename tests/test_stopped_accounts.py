"""Deactivating an account ends its streams and runs in every process and on every API, within about a second."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2

from accounts.models import ApiKey, User
from accounts.principal import principal_of_key
from accounts.services import (
    activate_user,
    deactivate_users,
    delete_user,
    issue_api_key,
    register_user,
    revoke_api_key,
    stop_user,
)
from chatservice.testing import ApiUser, ServiceTestCase, needs_dialect, second_service, sse_data, wait_until
from chatservice.testing.sockets import Socket
from completions.models import Run
from conversations.models import Conversation
from foundation.database import in_database_thread

needs_dialect("chat_v1")  # before importing anything from the dialect

from chatservice.dialects.chat_v1.me import until_refused  # noqa: E402

LONG = "fake/slow:50ms:1200"  # a minute
# One second is promised; a busy machine gets more. No answer ends by itself within that time.
SOON = 3.0


def setUpModule() -> None:
    needs_dialect("chat", "chat_v1", "openai_v1", "graphql", "resources", "websocket")


class Stream:
    """One open stream, read in a separate thread, with the time at which it ended."""

    def __init__(self, method: str, url: str, headers: dict[str, str], body: Any = None) -> None:
        self.text, self.ended_at, self.run_id = "", 0.0, ""
        self.begun = threading.Event()
        options = {} if body is None else {"json": body}
        self._thread = threading.Thread(target=self._read, args=(method, url, headers, options), daemon=True)
        self._thread.start()

    def _read(self, method: str, url: str, headers: dict[str, str], options: dict[str, Any]) -> None:
        with (
            contextlib.suppress(httpx2.HTTPError),
            httpx2.Client(timeout=60, trust_env=False) as client,
            client.stream(method, url, headers=headers, **options) as response,
        ):
            assert response.status_code == 200, response.read()
            self.run_id = response.headers["x-run-id"]
            for part in response.iter_text():
                self.text += part
                if "token" in self.text:
                    self.begun.set()
        self.ended_at = time.monotonic()

    def wait_for_end(self, timeout: float = 20.0) -> float:
        self._thread.join(timeout)
        assert self.ended_at, f"still open: {self.text[-300:]}"
        return self.ended_at

    @property
    def is_open(self) -> bool:
        return not self.ended_at

    @property
    def events(self) -> list[str]:
        return sse_data(self.text)


class StoppedAccountTest(ServiceTestCase):
    """Everything is open twice: in the process that produces the answers, and in another one."""

    def setUp(self) -> None:
        super().setUp()
        self.there = second_service()
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.began = 0.0

    def streams(self, api_user: ApiUser) -> dict[str, Stream]:
        """Open a stream of each API on the producing process, and follow two of the answers on the other."""
        here, there = self.service.url, self.there.url
        said = {"role": "user", "content": "Hello"}
        other_said = [{"role": "user", "content": "Something else, or it would continue one of the others"}]
        talk = api_user.http.post("/conversations", json={"title": "x"}).json()["id"]
        api_user.http.post(f"/conversations/{talk}/messages", json=said)
        other = api_user.http.post("/conversations", json={"title": "x"}).json()["id"]
        api_user.http.post(f"/conversations/{other}/messages", json=said)
        opened = {
            "chat": self.stream("GET", f"{here}/chat/conversation/{other}/stream?model={LONG}", api_user),
            "chat_v1": self.stream(
                "POST", f"{here}/v1/chat/conversations/stream", api_user, {"content": "Hello", "model": LONG}
            ),
            "openai_v1": self.stream(
                "POST", f"{here}/v1/chat/completions", api_user, {"model": LONG, "messages": other_said, "stream": True}
            ),
            "resources": self.stream(
                "POST", f"{here}/conversations/{talk}/messages:complete", api_user, {"stream": True, "model": LONG}
            ),
        }
        for stream in opened.values():
            assert stream.begun.wait(20), stream.text
        for name, base in (("chat_v1", f"{there}/v1/chat/runs"), ("resources", f"{there}/runs")):
            opened[f"{name} elsewhere"] = self.stream("GET", f"{base}/{opened[name].run_id}/stream", api_user)
        for stream in opened.values():
            assert stream.begun.wait(20), stream.text
        return opened

    def stream(self, method: str, url: str, api_user: ApiUser, body: Any = None) -> Stream:
        return Stream(method, url, api_user.headers, body)

    def sockets(self, api_user: ApiUser) -> list[Socket]:
        """Open an idle socket of each kind in each process."""
        found = []
        for service in (self.service, self.there):
            found.append(self.stack.enter_context(Socket(service.websocket_url, additional_headers=api_user.headers)))
            url = f"{service.url.replace('http', 'ws')}/graphql"
            graph = Socket(url, subprotocols=["graphql-transport-ws"], additional_headers=api_user.headers)
            found.append(self.stack.enter_context(graph))
            found[-1].say(type="connection_init")
            assert found[-1].read()["type"] == "connection_ack"
        return found

    def closes(self, sockets: list[Socket]) -> list[int]:
        return [socket.closed()[1] for socket in sockets]

    def after(self, change: Callable[[], object]) -> None:
        self.began = time.monotonic()
        change()

    def assert_soon(self, *streams: Stream) -> None:
        for stream in streams:
            self.assertLess(stream.wait_for_end() - self.began, SOON, stream.text[-300:])

    def runs(self, api_user: ApiUser) -> list[str]:
        return sorted(Run.objects.filter(user=api_user.user).values_list("state", flat=True))

    def test_deactivating_ends_answers_streams_and_sockets_everywhere(self) -> None:
        alice, bob = self.alice, self.bob
        hangups = len(self.upstream.hangups)
        streams, sockets = self.streams(alice), self.sockets(alice)
        others = self.stream(
            "POST", f"{self.there.url}/v1/chat/conversations/stream", bob, {"content": "Hi", "model": LONG}
        )
        assert others.begun.wait(20)
        self.after(lambda: deactivate_users(users=[alice.user]))
        closes = self.closes(sockets)
        self.assertLess(time.monotonic() - self.began, SOON)
        self.assertEqual(closes, [4401, 4403] * 2)
        self.assert_soon(*streams.values())
        for name, stream in streams.items():
            self.assert_ends_with_an_error(name, stream)
        wait_until(lambda: self.runs(alice) == ["cancelled"] * 4, timeout=5, what="the end of the runs")
        wait_until(lambda: len(self.upstream.hangups) >= hangups + 4, timeout=5, what="closed upstreams")
        for service in (self.service, self.there):
            answer = httpx2.get(f"{service.url}/v1/chat/me", headers=alice.headers)
            self.assertEqual(answer.status_code, 401)
        self.assertTrue(others.is_open)
        stop_user(user=bob.user)
        others.wait_for_end()

    def assert_ends_with_an_error(self, name: str, stream: Stream, code: str = "unauthorized") -> None:
        """Fail unless the stream ends with one error that gives the reason, in its API's shape."""
        match name.partition(" ")[0]:
            case "chat":
                self.assertEqual(json.loads(stream.events[-1])["code"], code)
                self.assertEqual(stream.text.count("event: error"), 1)
            case "chat_v1":
                *_, error, done = stream.events
                self.assertEqual((json.loads(error)["type"], done), ("error", "[DONE]"))
                self.assertEqual(json.loads(error)["data"]["code"], code)
            case _:
                *_, error, done = stream.events
                self.assertEqual((done, stream.text.count('"error"')), ("[DONE]", 1), stream.text[-300:])
                as_openai_says = {"unauthorized": "invalid_api_key"} if name == "openai_v1" else {}
                self.assertEqual(json.loads(error)["error"]["code"], as_openai_says.get(code, code))

    def test_a_revoked_key_ends_its_streams_and_not_the_answers(self) -> None:
        _, spare = issue_api_key(user=self.alice.user)
        streams = self.streams(self.alice)
        still = Stream(
            "GET",
            f"{self.there.url}/v1/chat/runs/{streams['chat_v1'].run_id}/stream",
            {"Authorization": f"Bearer {spare}"},
        )
        assert still.begun.wait(20)
        self.after(lambda: revoke_api_key(key=self.alice.key))
        self.assert_soon(*streams.values())
        for name, stream in streams.items():
            self.assert_ends_with_an_error(name, stream)
        self.assertEqual(self.runs(self.alice), ["running"] * 4)
        self.assertTrue(still.is_open)
        stop_user(user=self.alice.user)
        still.wait_for_end()

    def test_stopping_everything_deactivates_nobody(self) -> None:
        streams, sockets = self.streams(self.alice), self.sockets(self.alice)
        self.after(lambda: stop_user(user=self.alice.user))
        self.assertEqual(self.closes(sockets), [4410] * 4)
        self.assert_soon(*streams.values())
        for name, stream in streams.items():
            self.assert_ends_with_an_error(name, stream, "stopped")
        wait_until(lambda: self.runs(self.alice) == ["cancelled"] * 4, timeout=5, what="the end of the runs")
        again = self.alice.http.post("/v1/chat/conversations/stream", json={"content": "Hello again"})
        self.assertIn("ai_complete", again.text)
        with Socket(self.service.websocket_url, additional_headers=self.alice.headers) as socket:
            socket.expect_silence()

    def test_a_question_that_slipped_in_is_stopped_whoever_deactivated_the_account_and_how(self) -> None:
        """Nobody requested a stop of this run: its own process notices that the account is deactivated."""
        stream = self.stream(
            "POST",
            f"{self.service.url}/v1/chat/conversations/stream",
            self.alice,
            {"content": "Hello", "model": LONG},
        )
        assert stream.begun.wait(20)
        self.after(lambda: User.objects.filter(pk=self.alice.user.pk).update(is_active=False))
        self.assert_soon(stream)
        wait_until(lambda: self.runs(self.alice) == ["cancelled"], timeout=5, what="the end of the run")

    def test_an_export_is_cut_off_and_says_so(self) -> None:
        secret = self.alice.secret

        async def read() -> list[bytes]:
            principal = await in_database_thread(principal_of_key, secret)

            async def endless() -> AsyncIterator[bytes]:
                yield b"a row\n"
                await in_database_thread(lambda: deactivate_users(users=[self.alice.user]))
                while True:
                    yield b"another\n"
                    await asyncio.sleep(0.01)

            async with asyncio.timeout(20):
                return [chunk async for chunk in until_refused(principal, endless())]

        *_, last = asyncio.run(read())
        self.assertEqual(json.loads(last)["error"]["code"], "unauthorized")

    def test_what_it_made_is_closed_with_it_and_opened_by_nobody_but_staff(self) -> None:
        child = register_user(username=f"child-{self.alice.user.pk.hex}", created_by=self.alice.user)
        grandchild = register_user(username=f"grand-{self.alice.user.pk.hex}", created_by=child)
        by_staff = register_user(username=f"staffs-{self.alice.user.pk.hex}", created_by=self.carol.user)
        _, secret = issue_api_key(user=grandchild)
        headers = {"Authorization": f"Bearer {secret}"}
        stream = Stream(
            "POST", f"{self.there.url}/v1/chat/conversations/stream", headers, {"content": "Hi", "model": LONG}
        )
        assert stream.begun.wait(20)
        self.after(lambda: deactivate_users(users=[self.alice.user]))
        self.assert_soon(stream)
        self.assertEqual(httpx2.get(f"{self.service.url}/v1/chat/me", headers=headers).status_code, 401)
        activate_user(user=self.alice.user)
        self.assertEqual(self.active(self.alice.user, child, grandchild), [True, False, False])
        deactivate_users(users=[self.carol.user])
        self.assertEqual(self.active(by_staff), [True])

    def test_erasing_the_maker_frees_nobody_of_their_limits(self) -> None:
        child = register_user(username=f"child-{self.alice.user.pk.hex}", created_by=self.alice.user)
        grandchild = register_user(username=f"grand-{self.alice.user.pk.hex}", created_by=child)
        _, secret = issue_api_key(user=child)
        delete_user(user=self.alice.user)
        self.assertEqual(self.active(child, grandchild), [False, False])
        child.refresh_from_db()
        self.assertEqual((child.created_by, child.limits_owner), (None, None))
        answer = httpx2.get(f"{self.service.url}/v1/chat/me", headers={"Authorization": f"Bearer {secret}"})
        self.assertEqual(answer.status_code, 401)
        self.assertTrue(ApiKey.objects.filter(user=child).exists())  # the child's key is kept: staff decide about it
        self.assertFalse(Conversation.objects.filter(owner=child).exists())

    def active(self, *users: User) -> list[bool]:
        return [User.objects.get(pk=user.pk).is_active for user in users]
