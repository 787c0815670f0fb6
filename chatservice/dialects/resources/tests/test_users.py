"""Accounts over REST: created, changed and deleted, and no password is ever returned."""

from __future__ import annotations

import uuid

import httpx2

from accounts.models import ApiKey, User
from accounts.services import register_user
from chatservice.dialects.resources.tests.test_guests import PASSWORD, new_user
from chatservice.testing import ServiceTestCase, running_service, tried_once, wait_until
from completions.models import Run
from conversations.models import Conversation


def delete(http: httpx2.Client, name: object, **confirmation: str) -> httpx2.Response:
    return http.request("DELETE", f"/users/{name}", json=confirmation)


@tried_once
class UsersTest(ServiceTestCase):
    def test_a_taken_name_is_a_conflict(self):
        for name in (new_user(self.guest)["username"], self.alice.user.username):
            response = self.guest.post("/users", json={"username": name, "password": PASSWORD})
            self.assertEqual((response.status_code, response.json()["error"]["code"]), (409, "username_taken"))

    def test_a_weak_password_or_a_bad_name_is_told_by_field(self):
        for body, field in (
            ({"username": f"u-{uuid.uuid4()}", "password": "short"}, "password"),
            ({"username": f"u-{uuid.uuid4()}", "password": "password"}, "password"),
            ({"username": "two words", "password": PASSWORD}, "username"),
            ({"username": f"u-{uuid.uuid4()}"}, "password"),
            ({"password": PASSWORD}, "username"),
        ):
            response = self.guest.post("/users", json=body)
            self.assertEqual(response.status_code, 400, body)
            self.assertIn(field, response.json()["error"]["details"])

    def test_no_answer_ever_holds_the_password(self):
        secret = f"hidden {uuid.uuid4()}"
        made = self.guest.post("/users", json={"username": f"u-{uuid.uuid4()}", "password": secret})
        path = f"/users/{made.json()['id']}"
        changed = self.guest.patch(path, json={"password": f"{secret}!"})
        replaced = self.guest.put(path, json={"username": f"u-{uuid.uuid4()}", "password": f"{secret}?"})
        for response in (made, changed, replaced, self.guest.get(path)):
            self.assertIn(response.status_code, (200, 201), response.text)
            self.assertNotIn(secret, response.text)
            self.assertNotIn("argon2", response.text)
        self.assertTrue(User.objects.get(pk=made.json()["id"]).check_password(f"{secret}?"))
        self.assertNotIn(secret, self.service.log())

    def test_a_deleted_account_takes_everything_with_it(self):
        started = self.alice.http.post("/conversations/start", json={"message": "Hello!"}).json()
        deleted = delete(self.alice.http, self.alice.user.pk, username=self.alice.user.username)
        self.assertEqual(deleted.status_code, 204)
        self.assertFalse(User.objects.filter(pk=self.alice.user.pk).exists())
        self.assertFalse(Conversation.objects.filter(pk=started["conversation_id"]).exists())
        self.assertFalse(Run.objects.filter(user_id=self.alice.user.pk).exists())
        self.assertFalse(ApiKey.objects.filter(pk=self.alice.key.pk).exists())
        self.assertEqual(self.alice.http.get("/users").status_code, 401)

    def test_deleting_an_account_stops_its_answers(self):
        user = new_user(self.guest)
        pk = self.guest.post("/conversations", json={"title": "x", "user_id": user["id"]}).json()["id"]
        self.guest.post(f"/conversations/{pk}/messages", json={"role": "user", "content": user["id"]})
        body = {"stream": True, "model": "fake/slow:50ms:600"}
        with self.guest.stream("POST", f"/conversations/{pk}/messages:complete", json=body) as response:
            lines = response.iter_lines()
            next(line for line in lines if "token" in line)
            self.assertEqual(delete(self.guest, user["id"], username=user["username"]).status_code, 204)
            self.assertEqual([line for line in lines if line][-1], "data: [DONE]")
        [post] = self.upstream.asked(user["id"])
        wait_until(lambda: post.hung_up is not None, timeout=1, what="the upstream's hang-up")

    def test_a_key_that_may_change_credentials_needs_the_password_there_is(self):
        user = self.bob.user
        ApiKey.objects.filter(pk=self.bob.key.pk).update(may_change_credentials=True)
        path = f"/users/{user.pk}"
        self.assertEqual(self.bob.http.patch(path, json={"password": PASSWORD}).status_code, 200)
        other = "another long password"
        for body in ({"password": other}, {"password": other, "current_password": "wrong"}):
            self.assertEqual(self.bob.http.patch(path, json=body).status_code, 403)
        right = {"password": other, "current_password": PASSWORD}
        self.assertEqual(self.bob.http.patch(path, json=right).status_code, 200)
        user.refresh_from_db()
        self.assertTrue(user.check_password(other))

    def test_a_staff_key_does_not_open_or_empty_the_admin_site(self):
        path = f"/users/{self.carol.user.pk}"
        ApiKey.objects.filter(pk=self.carol.key.pk).update(may_change_credentials=True)
        self.assertEqual(self.carol.http.patch(path, json={"password": PASSWORD}).status_code, 403)
        self.assertEqual(delete(self.carol.http, self.carol.user.pk, password=PASSWORD).status_code, 403)

    def test_a_name_can_be_changed_but_not_to_one_that_is_taken(self):
        user, name = new_user(self.guest), f"renamed-{uuid.uuid4().hex[:8]}"
        self.assertEqual(self.guest.patch(f"/users/{user['id']}", json={"username": name}).json()["username"], name)
        taken = register_user(username=f"taken-{uuid.uuid4().hex[:8]}").username
        self.assertEqual(self.guest.patch(f"/users/{name}", json={"username": taken}).status_code, 409)
        self.assertEqual(self.guest.get(f"/users/{name}").json()["id"], user["id"])

    def test_the_list_has_what_guests_made_in_pages(self):
        mine = new_user(self.guest)
        first = self.guest.get("/users", params={"limit": 1})
        total = int(first.headers["x-total-count"])
        self.assertEqual(len(first.json()), 1)
        self.assertEqual("next" in first.headers.get("link", ""), total > 1)
        last = self.guest.get("/users", params={"limit": 1, "page": total})
        self.assertEqual(last.json()[0]["id"], mine["id"])

    def test_new_accounts_are_limited_a_minute(self):
        with running_service(ANONYMOUS="on", LIMIT_NEW_USERS_PER_MINUTE="2") as service:
            statuses = []
            for _ in range(7):
                body = {"username": f"u-{uuid.uuid4()}", "password": PASSWORD}
                response = self.guest.post(f"{service.url}/users", json=body)
                statuses.append(response.status_code)
            # Seven requests take seconds: the limit's minute may change once meanwhile, but not twice.
            self.assertIn(429, statuses)
            self.assertEqual(set(statuses), {201, 429})
