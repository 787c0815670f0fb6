"""Who may create accounts, and that such accounts have no more rights than their maker."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any

import httpx2
from django.conf import settings
from django.test import Client

from accounts.models import ApiKey, RateWindow, User
from accounts.services import issue_api_key, register_user
from chatservice.testing import (
    Service,
    ServiceTestCase,
    needs_dialect,
    running_service,
    wait_for_minute,
    wait_until,
    without_request_id,
)
from chatservice.testing.sockets import Socket
from completions.models import Run
from completions.services import request_cancel

PASSWORD = "correct horse battery"
KEYS, ME = "/v1/chat/me/keys", "/v1/chat/me"


def setUpModule() -> None:
    needs_dialect("chat_v1", "graphql", "openai_v1", "resources", "websocket")


def register(http: httpx2.Client, url: str = "", name: str = "", **headers: str) -> httpx2.Response:
    body = {"username": name or f"u-{uuid.uuid4().hex[:12]}", "password": PASSWORD}
    return http.post(f"{url}/users", json=body, headers=headers)


def signed_in(user: dict[str, str], url: str) -> dict[str, str]:
    """Sign in with the form; return the headers that this browser sends from our own page."""
    browser = Client()
    assert browser.login(username=user["username"], password=PASSWORD)
    session = browser.cookies[settings.SESSION_COOKIE_NAME].value
    return {
        "Cookie": f"{settings.SESSION_COOKIE_NAME}={session}",
        "Origin": url,
        "Sec-Fetch-Site": "same-origin",
        "X-Requested-With": "chat",
    }


class RegistrationTest(ServiceTestCase):
    def refusal(self, response: httpx2.Response) -> str:
        self.assertEqual((response.status_code, response.json()["error"]["code"]), (403, "registration_closed"))
        return response.json()["error"]["message"]

    def test_by_default_guests_on_this_machine_make_accounts_and_keys_do_not(self) -> None:
        made = register(self.guest)
        self.assertEqual(made.status_code, 201, made.text)
        user = User.objects.get(pk=made.json()["id"])
        self.assertTrue(user.guest_made and user.created_by and user.created_by.guest_made)
        self.assertEqual(user.limits_owner_id, user.created_by_id)
        for http in (self.alice.http, self.carol.http):
            self.assertIn("REGISTRATION", self.refusal(register(http)))
        browser = signed_in(made.json(), self.service.url)
        self.refusal(register(self.guest, **browser))
        key = self.guest.post(KEYS, json={}, headers=browser).json()["data"]["key"]
        self.refusal(register(self.guest, Authorization=f"Bearer {key}"))

    def test_fields_of_the_service_have_no_effect_in_a_new_account(self) -> None:
        alice = str(self.alice.user.pk)
        body = {"username": f"u-{uuid.uuid4().hex[:12]}", "password": PASSWORD, "is_staff": True, "is_superuser": True}
        body |= {"created_by": alice, "limits_owner": alice, "guest_made": False, "id": alice, "username_key": "x"}
        user = User.objects.get(pk=self.guest.post("/users", json=body).json()["id"])
        self.assertEqual((user.is_staff, user.is_superuser, user.guest_made), (False, False, True))
        self.assertEqual(user.username_key, user.username)
        self.assertNotIn(alice, {str(user.pk), str(user.created_by_id), str(user.limits_owner_id)})

    def test_keys_admits_who_has_one_and_says_who_made_the_account(self) -> None:
        with running_service(REGISTRATION="keys") as service:
            self.refusal(register(self.guest, service.url))
            mine = User.objects.get(pk=register(self.alice.http, service.url).json()["id"])
            by_staff = User.objects.get(pk=register(self.carol.http, service.url).json()["id"])
        self.assertEqual((mine.created_by, mine.limits_owner, mine.guest_made), (self.alice.user,) * 2 + (False,))
        self.assertEqual((by_staff.created_by, by_staff.limits_owner), (self.carol.user, None))

    def test_off_admits_nobody(self) -> None:
        with running_service(REGISTRATION="off") as service:
            for http in (self.guest, self.alice.http, self.carol.http):
                self.refusal(register(http, service.url))

    def test_a_guest_from_elsewhere_is_not_on_this_machine(self) -> None:
        with running_service(ANONYMOUS="on") as service:
            for headers in ({"X-Forwarded-For": "203.0.113.7"}, {"Sec-Fetch-Site": "cross-site"}):
                self.refusal(register(self.guest, service.url, **headers))
            self.assertEqual(register(self.guest, service.url).status_code, 201)

    def test_names_that_are_taken_in_any_way_get_one_answer(self) -> None:
        made = register(self.guest, name=f"Taken-{uuid.uuid4().hex[:8]}").json()["username"]
        bodies = set()
        for name in (made, made.upper(), f"Т{made[1:]}", self.alice.user.username, "guest", "GUEST", "ｇuest"):
            response = register(self.guest, name=name)
            self.assertEqual(response.status_code, 409, name)
            bodies.add(without_request_id(response.text))
        self.assertEqual(len(bodies), 1)

    def test_asking_which_names_exist_is_limited_by_renaming_as_well(self) -> None:
        user = register(self.guest).json()
        with running_service(ANONYMOUS="on", LIMIT_NEW_USERS_PER_MINUTE="2") as service:
            wait_for_minute()
            told = [
                self.guest.patch(f"{service.url}/users/{user['id']}", json={"username": self.bob.user.username})
                for _ in range(4)
            ]
            statuses = [response.status_code for response in told]
            statuses.append(register(self.guest, service.url).status_code)
        self.assertEqual(statuses, [409, 409, 429, 429, 429])
        self.assertGreaterEqual(int(told[-1].headers["retry-after"]), 1)


class SharedLimitsTest(ServiceTestCase):
    """For every limit, twenty accounts with one maker count as that maker."""

    def start(self, service: Service, headers: dict[str, str]) -> int:
        body = {"model": "fake/stall:2", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        headers = {**headers, "X-On-Disconnect": "continue"}
        with httpx2.Client(base_url=service.url, headers=headers, timeout=30, trust_env=False) as http:
            response = http.send(http.build_request("POST", "/v1/chat/completions", json=body), stream=True)
            response.close()
            return response.status_code

    def cancel(self, users: list[User]) -> None:
        running = Run.objects.running().filter(user__in=users)
        for run in running.all():
            request_cancel(run.pk)
        wait_until(lambda: not running.all().exists(), what="the end of the runs")

    def test_accounts_made_by_a_key_share_what_its_account_may_do(self) -> None:
        limits = {"LIMIT_RUNS_PER_USER": "3", "LIMIT_CONVERSATIONS_PER_USER": "3", "LIMIT_READS_PER_MINUTE": "1000"}
        with running_service(REGISTRATION="keys", **limits) as service:
            made = [register(self.alice.http, service.url).json() for _ in range(5)]
            users = [self.alice.user, *User.objects.filter(pk__in=[each["id"] for each in made])]
            headers = [{"Authorization": f"Bearer {issue_api_key(user=user)[1]}"} for user in users]
            told = Counter(self.start(service, each) for each in headers)
            self.assertEqual(told, {200: 3, 429: 3})
            self.assertEqual(self.start(service, self.bob.headers), 200)
            self.cancel([*users, self.bob.user])
            counted = set(RateWindow.objects.values_list("key", flat=True))
            self.assertIn(f"runs:{self.alice.user.pk.hex}", counted)
            self.assertFalse([key for key in counted for user in users[1:] if user.pk.hex in key])
            # The conversations of those three do not count: three are left, whoever asks for them, wherever.
            url = f"{service.url}/v1/chat/conversations"
            statuses = [httpx2.post(url, json={"title": "x"}, headers=each).status_code for each in headers]
            self.assertEqual(statuses, [201, 201, 201, 422, 422, 422])
            streamed = httpx2.post(f"{url}/stream", json={"content": "x"}, headers=headers[-1])
            self.assertEqual(streamed.status_code, 422, streamed.text)
            self.assertEqual(httpx2.post(url, json={"title": "x"}, headers=self.bob.headers).status_code, 201)

    def test_streams_starts_reads_keys_and_todos_are_counted_together(self) -> None:
        limits = {
            "LIMIT_READS_PER_MINUTE": "6",
            "LIMIT_RUN_STARTS_PER_MINUTE": "4",
            "LIMIT_KEYS_PER_USER": "4",
            "LIMIT_TODOS_PER_USER": "2",
        }
        users = [self.alice.user]
        users += [register_user(username=f"u-{uuid.uuid4().hex[:12]}", created_by=users[-1]) for _ in range(2)]
        headers = [{"Authorization": f"Bearer {issue_api_key(user=user)[1]}"} for user in users]
        with running_service(**limits) as service:
            wait_for_minute(20)
            graph = {"query": 'mutation { createTodo(title: "x") { id } }'}
            todos = [httpx2.post(f"{service.url}/graphql", json=graph, headers=each).json() for each in headers]
            self.assertEqual(["errors" in each for each in todos], [False, False, True])
            issued = [httpx2.post(f"{service.url}{KEYS}", json={}, headers=each).status_code for each in headers]
            self.assertEqual(issued, [422] * 3)  # four keys exist already, including the one from setUp
            self.assertEqual(httpx2.get(f"{service.url}{ME}", headers=headers[2]).status_code, 429)
            body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}
            url = f"{service.url}/v1/chat/completions"
            started = [httpx2.post(url, json=body, headers=each).status_code for each in (*headers, *headers)]
            self.assertEqual(started, [200] * 4 + [429] * 2)

    def test_guests_gain_nothing_by_making_accounts_and_signing_in(self) -> None:
        with running_service(LIMIT_RUNS_PER_GUEST="2", LIMIT_RUNS_PER_USER="5", ANONYMOUS="on") as service:
            made = [register(self.guest, service.url).json() for _ in range(5)]
            users = list(User.objects.filter(pk__in=[each["id"] for each in made]))
            browsers = [signed_in(each, service.url) for each in made]
            issued = [self.guest.post(f"{service.url}{KEYS}", headers=each, json={}) for each in browsers]
            headers = [{"Authorization": f"Bearer {answer.json()['data']['key']}"} for answer in issued]
            shared = users[0].limits_owner
            assert shared is not None
            told = Counter(self.start(service, each) for each in headers)
            self.assertEqual(told, {200: 2, 429: 3})
            with Socket(service.websocket_url) as socket:  # and a guest without an account has nothing left
                socket.say(type="send", content="Hi", model="fake/stall:2")
                self.assertEqual(socket.read()["data"]["code"], "rate_limit_exceeded")
            self.cancel([*users, shared])


class CredentialsTest(ServiceTestCase):
    def code(self, response: httpx2.Response) -> tuple[int, str]:
        return response.status_code, response.json()["error"]["code"]

    def with_key(self, user: User, **fields: Any) -> tuple[ApiKey, dict[str, str]]:
        key, text = issue_api_key(user=user, **fields)
        return key, {"Authorization": f"Bearer {text}"}

    def test_a_key_sets_no_password_and_no_name_unless_it_was_made_to(self) -> None:
        path = f"/users/{self.alice.user.pk}"
        for body in ({"password": PASSWORD}, {"username": f"mine-{uuid.uuid4().hex[:8]}"}):
            self.assertEqual(self.code(self.alice.http.patch(path, json=body)), (403, "credentials_refused"), body)
            whole = {"username": self.alice.user.username, "password": PASSWORD, **body}
            self.assertEqual(self.code(self.alice.http.put(path, json=whole)), (403, "credentials_refused"), body)
        self.alice.user.refresh_from_db()
        self.assertFalse(self.alice.user.has_usable_password())
        _, headers = self.with_key(self.alice.user, may_change_credentials=True)
        self.assertEqual(self.guest.patch(path, json={"password": PASSWORD}, headers=headers).status_code, 200)

    def test_who_signed_in_changes_the_password_with_the_old_one_also_in_an_account_that_guests_made(self) -> None:
        user = register(self.guest).json()
        headers = signed_in(user, self.service.url)
        path, new = f"/users/{user['id']}", "another long password"
        for body in ({"password": new}, {"password": new, "current_password": "wrong"}):
            self.assertEqual(self.guest.patch(path, json=body, headers=headers).status_code, 403)
        right = {"password": new, "current_password": PASSWORD}
        self.assertEqual(self.guest.patch(path, json=right, headers=headers).status_code, 200)

    def test_what_a_key_makes_is_revoked_with_it_however_deep(self) -> None:
        stolen, headers = self.with_key(self.alice.user)
        child = self.guest.post(KEYS, json={"name": "child"}, headers=headers).json()["data"]
        child_headers = {"Authorization": f"Bearer {child['key']}"}
        grandchild = self.guest.post(KEYS, json={}, headers=child_headers).json()["data"]
        for key in (child, grandchild):
            self.assertEqual(self.guest.get(ME, headers={"Authorization": f"Bearer {key['key']}"}).status_code, 200)
        revoked = self.guest.delete(f"{KEYS}/{stolen.pk}", headers=headers)
        self.assertEqual(revoked.status_code, 200)
        for key in (child, grandchild):
            self.assertEqual(self.guest.get(ME, headers={"Authorization": f"Bearer {key['key']}"}).status_code, 401)
        self.assertEqual(self.alice.http.get(ME).status_code, 200)
        self.assertFalse(ApiKey.objects.filter(user=self.alice.user, may_change_credentials=True).exists())

    def test_a_key_that_may_change_credentials_makes_keys_of_their_own(self) -> None:
        maker, headers = self.with_key(self.alice.user, may_change_credentials=True)
        made = self.guest.post(KEYS, json={"may_change_credentials": True}, headers=headers).json()["data"]
        self.guest.delete(f"{KEYS}/{maker.pk}", headers=headers)
        self.assertEqual(self.guest.get(ME, headers={"Authorization": f"Bearer {made['key']}"}).status_code, 200)
        self.assertFalse(ApiKey.objects.get(pk=made["id"]).may_change_credentials)

    def test_a_key_revokes_itself_and_what_it_made_and_no_other(self) -> None:
        other, _ = self.with_key(self.alice.user)
        refused = self.alice.http.delete(f"{KEYS}/{other.pk}")
        self.assertEqual(self.code(refused), (403, "credentials_refused"))
        made = self.alice.http.post(KEYS, json={}).json()["data"]
        self.assertEqual(self.alice.http.delete(f"{KEYS}/{made['id']}").status_code, 200)
        self.assertEqual(self.alice.http.delete(f"{KEYS}/{self.alice.key.pk}").status_code, 200)
        self.assertEqual(self.alice.http.get(ME).status_code, 401)

    def test_an_account_is_deleted_with_a_confirmation_by_either_route(self) -> None:
        guests = register(self.guest).json()
        for http, user in ((self.alice.http, self.alice.user), (self.guest, User.objects.get(pk=guests["id"]))):
            for name in (user.pk, user.username):
                path = f"/users/{name}"
                self.assertEqual(http.delete(path).status_code, 400)
                for body, status in (
                    ({}, 400),
                    ({"username": None}, 400),
                    ({"username": self.bob.user.username}, 403),
                    ({"password": "wrong"}, 403),
                    ({"username": user.username, "password": "wrong"}, 403),
                ):
                    self.assertEqual(http.request("DELETE", path, json=body).status_code, status, body)
            self.assertTrue(User.objects.filter(pk=user.pk).exists())
            deleted = http.request("DELETE", f"/users/{user.pk}", json={"username": user.username})
            self.assertEqual(deleted.status_code, 204)
            self.assertFalse(User.objects.filter(pk=user.pk).exists())

    def test_guessing_a_confirmation_is_limited_by_account(self) -> None:
        with running_service(LIMIT_PASSWORD_FAILURES="2") as service:
            url = f"{service.url}/users/{self.alice.user.pk}"
            # The delay grows from 1 s to 30 s, so even a slow machine meets it in the end.
            told = [self.alice.http.request("DELETE", url, json={"password": str(n)}).status_code for n in range(10)]
        self.assertEqual(told[:2], [403, 403])
        self.assertIn(429, told)
