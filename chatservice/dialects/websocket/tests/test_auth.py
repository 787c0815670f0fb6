"""Who may open the websocket, and for how long it stays open."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from websockets.exceptions import InvalidStatus

from accounts.models import User
from accounts.services import issue_api_key, revoke_api_key
from chatservice.testing import running_service, tried_once
from chatservice.testing.sockets import Frame, Socket, SocketTestCase
from conversations.models import Conversation, Message

WRONG = "cb_abcdefgh_" + "x" * 49


@tried_once
class AuthTests(SocketTestCase):
    def owner_of_what_is_sent(self, socket: Socket) -> object:
        frames = socket.ask("Hi", model="fake/ok")
        return Conversation.objects.get(pk=frames[0]["conversation_id"]).owner_id

    def assert_refused(self, closed: tuple[list[Frame], int], code: str = "unauthorized", close: int = 4401) -> None:
        frames, number = closed
        assert [frame["type"] for frame in frames] == ["error"], frames
        assert frames[0]["data"]["code"] == code
        assert number == close

    def test_a_header_names_the_user(self) -> None:
        with self.socket(self.alice) as socket:
            assert self.owner_of_what_is_sent(socket) == self.alice.user.pk

    def test_a_subprotocol_names_the_user_and_the_other_one_is_answered(self) -> None:
        with self.socket(subprotocols=["chat.v1", f"key.{self.alice.secret}"]) as socket:
            assert socket.wire.subprotocol == "chat.v1"
            assert self.owner_of_what_is_sent(socket) == self.alice.user.pk

    def test_the_first_frame_names_the_user_and_no_later_one_does(self) -> None:
        with self.socket() as socket:
            socket.say(type="auth", id="me", key=self.alice.secret)
            answer = {"user_id": str(self.alice.user.pk), "username": self.alice.user.username}
            assert socket.read() == {"type": "authenticated", "id": "me", "data": answer}
            socket.say(type="auth", id="again", key=self.bob.secret)
            assert socket.read()["data"]["code"] == "already_authenticated"
            assert self.owner_of_what_is_sent(socket) == self.alice.user.pk

    def test_a_guest_who_began_to_talk_stays_one(self) -> None:
        with self.socket() as socket:
            socket.expect_silence()
            socket.say(type="auth", key=self.alice.secret)
            assert socket.read()["data"]["code"] == "already_authenticated"
            assert self.owner_of_what_is_sent(socket) != self.alice.user.pk

    def test_a_signed_in_browser_is_its_user_on_its_own_pages_until_it_signs_out(self) -> None:
        client = Client()
        client.force_login(self.alice.user)
        session = client.cookies[settings.SESSION_COOKIE_NAME].value
        headers = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={session}"}
        home = {**headers, "Origin": self.service.url}
        with self.socket(additional_headers=home) as socket:
            assert self.owner_of_what_is_sent(socket) == self.alice.user.pk
            client.logout()
            frames, code = socket.closed()
            assert (frames[-1]["data"]["code"], code) == ("unauthorized", 4401)
        for refused in (home, headers):  # the first has an ended session, the second is not from our own page
            with self.socket(additional_headers=refused) as socket:
                self.assert_refused(socket.closed())

    def test_a_page_opens_its_socket_for_its_own_user_alone(self) -> None:
        hers, his = f"user.{self.alice.user.pk}", f"user.{self.bob.user.pk}"
        client = Client()
        client.force_login(self.alice.user)
        cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
        browser = {"Cookie": cookie, "Origin": self.service.url}
        for headers in (self.alice.headers, browser):
            with self.socket(subprotocols=["chat.v1", hers], additional_headers=headers) as socket:
                assert socket.wire.subprotocol == "chat.v1"
                assert self.owner_of_what_is_sent(socket) == self.alice.user.pk
            for other in (his, "user.guest", "user.nonsense"):
                with self.socket(subprotocols=["chat.v1", other], additional_headers=headers) as socket:
                    self.assert_refused(socket.closed(), "identity_changed")
        # Nobody is signed in: a guest's page still works, a user's page is refused.
        with self.socket(subprotocols=["chat.v1", "user.guest"]) as socket:
            socket.expect_silence()
        with self.socket(subprotocols=["chat.v1", hers]) as socket:
            self.assert_refused(socket.closed(), "identity_changed")
        with self.socket(subprotocols=["chat.v1", f"key.{self.alice.secret}", his]) as socket:
            self.assert_refused(socket.closed(), "identity_changed")

    def test_nothing_is_stored_for_a_session_that_is_over_on_a_socket_that_is_still_open(self) -> None:
        """The credential watch may take seconds to close the socket; a session is cached for one second at most."""
        with running_service(KEY_CACHE_SECONDS="0") as service:
            for end in ("sign out", "deactivate", "expire", "new password"):
                api_user = self.api_user(f"dora-{end[0]}")
                client = Client()
                client.force_login(api_user.user)
                cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
                headers = {"Cookie": cookie, "Origin": service.url}
                with Socket(service.websocket_url, additional_headers=headers) as socket:
                    socket.ask("Before", model="fake/ok")
                    match end:
                        case "sign out":
                            client.logout()
                        case "deactivate":
                            User.objects.filter(pk=api_user.user.pk).update(is_active=False)
                        case "expire":
                            session_key = client.cookies[settings.SESSION_COOKIE_NAME].value
                            Session.objects.filter(pk=session_key).update(expire_date=timezone.now())
                        case "new password":
                            api_user.user.set_password("another long phrase")
                            api_user.user.save()
                    socket.say(type="send", content=f"After {end} {api_user.user.pk}", model="fake/ok")
                    frames, code = socket.closed()
                    assert ([frame["data"]["code"] for frame in frames], code) == (["unauthorized"], 4401), end
                assert not Message.objects.filter(content=f"After {end} {api_user.user.pk}").exists(), end

    def test_a_wrong_key_is_refused_each_way_and_never_a_guest(self) -> None:
        good = self.alice.secret
        mistyped = good[:-1] + ("1" if good.endswith("0") else "0")
        for key in (WRONG, mistyped, "", "nonsense", good + "x", "é"):
            with self.socket(additional_headers={"Authorization": f"Bearer {key}"}) as socket:
                self.assert_refused(socket.closed())
            with self.socket() as socket:
                socket.say(type="auth", key=key)
                self.assert_refused(socket.closed())
        for value in ("", "Basic YTpi", f"bearer{self.alice.secret}", f"Bearer {self.alice.secret}, Bearer x"):
            with self.socket(additional_headers={"Authorization": value}) as socket:
                self.assert_refused(socket.closed())
        with self.socket(subprotocols=["chat.v1", f"key.{WRONG}"]) as socket:
            self.assert_refused(socket.closed())
        with self.socket(subprotocols=["chat.v1", f"key.{self.alice.secret}", "key.second"]) as socket:
            self.assert_refused(socket.closed())

    def test_expired_revoked_and_disabled_keys_are_refused(self) -> None:
        _, expired = issue_api_key(user=self.alice.user, expires_at=timezone.now() - dt.timedelta(seconds=1))
        key, revoked = issue_api_key(user=self.alice.user)
        revoke_api_key(key=key)
        self.bob.user.is_active = False
        self.bob.user.save()
        for secret in (expired, revoked, self.bob.secret):
            with self.socket(additional_headers={"Authorization": f"Bearer {secret}"}) as socket:
                self.assert_refused(socket.closed())

    def test_an_open_socket_ends_within_5_seconds_of_its_key(self) -> None:
        _, expiring = issue_api_key(user=self.carol.user, expires_at=timezone.now() + dt.timedelta(seconds=2))
        sockets = [self.socket(api_user) for api_user in (self.alice, self.bob)]
        sockets.append(self.socket(additional_headers={"Authorization": f"Bearer {expiring}"}))
        with sockets[0], sockets[1], sockets[2]:
            for socket in sockets:
                socket.say(type="send", content="Hi", model="fake/slow:50ms:1000")
                socket.read()
            revoke_api_key(key=self.alice.key)
            self.bob.user.is_active = False
            self.bob.user.save()
            began = time.monotonic()
            for socket, allowed in zip(sockets, (5.0, 5.0, 7.0), strict=True):
                frames, code = socket.closed()
                assert code == 4401 and time.monotonic() - began < allowed
                assert frames[-1]["data"]["code"] == "unauthorized" and "run_id" not in frames[-1]

    def test_a_key_in_the_query_string_is_refused_with_a_reason(self) -> None:
        url = self.service.websocket_url
        for query in (f"key={self.alice.secret}", "token=x", "api_key=", "Authorization=Bearer+x", self.alice.secret):
            with Socket(f"{url}?{query}", additional_headers=self.alice.headers) as socket:
                self.assert_refused(socket.closed(), "credentials_in_query")
        with Socket(f"{url}?tab=2", additional_headers=self.alice.headers) as socket:
            socket.expect_silence()
        assert self.alice.secret not in self.service.log()

    def test_a_foreign_origin_is_refused_and_ones_own_is_not(self) -> None:
        own = self.service.url
        for origin in ("https://evil.example", "null", f"{own}.evil.example", "http://[", "http://127.0.0.1:1"):
            with pytest.raises(InvalidStatus) as refusal, self.socket(self.alice, origin=origin):
                pass
            assert refusal.value.response.status_code == 403, origin
        with self.socket(self.alice, origin=own) as socket:
            socket.expect_silence()

    def test_other_paths_are_refused(self) -> None:
        for path in ("", "x", "/../x", "x/y"):
            with pytest.raises(InvalidStatus) as refusal, Socket(self.service.websocket_url + "/" + "/" * 2 + path):
                pass
            assert refusal.value.response.status_code == 403

    def test_where_guests_are_not_admitted_a_key_must_come_and_has_5_seconds(self) -> None:
        with running_service(ANONYMOUS="off") as service:
            url = service.websocket_url
            before = time.monotonic()
            with Socket(url) as idle, Socket(url) as talks, Socket(url) as nonsense, Socket(url) as knows:
                talks.say(type="send", content="Hi")
                self.assert_refused(talks.closed())
                nonsense.raw("{")
                self.assert_refused(nonsense.closed(), "invalid_json")
                knows.say(type="auth", key=self.alice.secret)
                assert knows.read()["type"] == "authenticated"
                self.assert_refused(idle.closed())
                # The close must not come earlier, however long opening took; the read above waits for it.
                assert time.monotonic() - before >= 5
                knows.expect_silence()
            with Socket(url, additional_headers={"X-Forwarded-For": "1.2.3.4"}) as socket:
                socket.say(type="ping")
                self.assert_refused(socket.closed())

    def test_guessing_keys_is_slowed_down(self) -> None:
        with running_service(LIMIT_AUTH_FAILURES_PER_MINUTE="3") as service:
            closes = []
            for _ in range(8):
                with Socket(service.websocket_url, additional_headers={"Authorization": f"Bearer {WRONG}"}) as socket:
                    closes.append(socket.closed()[1])
            assert 4429 in closes and closes[0] in (4401, 4429)
