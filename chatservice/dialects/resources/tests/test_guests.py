"""Guests use what guests created; a `user_id` in a body never identifies the caller."""

from __future__ import annotations

import uuid

import httpx2

from accounts.models import User
from accounts.services import register_user
from chatservice.testing import ServiceTestCase, running_service, tried_once, without_request_id
from conversations.models import Conversation

PASSWORD = "correct horse battery"


def new_user(http: httpx2.Client, url: str = "/users") -> dict:
    made = http.post(url, json={"username": f"u-{uuid.uuid4().hex[:12]}", "password": PASSWORD})
    assert made.status_code == 201, made.text
    return made.json()


@tried_once
class GuestTest(ServiceTestCase):
    def test_accounts_made_by_staff_are_out_of_a_guests_reach(self):
        made = register_user(username=f"staffed-{uuid.uuid4().hex[:8]}")
        self.assert_unreachable(self.guest, made)

    def test_accounts_made_by_a_signed_in_user_are_out_of_a_guests_reach(self):
        with running_service(REGISTRATION="keys") as service:
            made = User.objects.get(pk=new_user(self.alice.http, f"{service.url}/users")["id"])
        self.assertFalse(made.guest_made)
        self.assert_unreachable(self.guest, made)

    def test_a_key_reaches_its_own_account_alone(self):
        for http in (self.alice.http, self.carol.http):
            self.assert_unreachable(http, self.bob.user)
            self.assert_unreachable(http, User.objects.get(pk=new_user(self.guest)["id"]))
        self.assertEqual(self.alice.http.get(f"/users/{self.alice.user.pk}").status_code, 200)
        [listed] = self.alice.http.get("/users").json()
        self.assertEqual(listed["id"], str(self.alice.user.pk))

    def assert_unreachable(self, http: httpx2.Client, user: User) -> None:
        unknown = http.get(f"/users/{uuid.uuid4()}")
        for name in (str(user.pk), user.username):
            for method, rest, body in (
                ("GET", "", None),
                ("GET", "/conversations", None),
                ("PATCH", "", {"username": "mine"}),
                ("PUT", "", {"username": "mine", "password": PASSWORD}),
                ("DELETE", "", None),
            ):
                response = http.request(method, f"/users/{name}{rest}", json=body)
                self.assertEqual(response.status_code, 404, f"{method} {rest}")
                self.assertEqual(
                    without_request_id(response.text), without_request_id(unknown.text), f"{method} {rest}"
                )
        self.assertTrue(User.objects.filter(pk=user.pk, username=user.username).exists())

    def test_a_guest_cannot_name_a_key_holder_as_owner(self):
        for name in (str(self.alice.user.pk), self.alice.user.username):
            for response in (
                self.guest.post("/conversations", json={"title": "x", "user_id": name}),
                self.guest.post("/conversations/start", json={"user_id": name, "message": "x"}),
            ):
                self.assertIn(response.status_code, (200, 201), response.text)
                pk = response.json().get("id") or response.json()["conversation_id"]
                stored = Conversation.objects.get(pk=pk)
                self.assertEqual((stored.owner.guest_made, stored.end_user), (True, name))
        self.assertFalse(Conversation.objects.filter(owner=self.alice.user).exists())

    def test_a_key_holder_naming_another_stores_a_label(self):
        created = self.alice.http.post("/conversations", json={"title": "x", "user_id": str(self.bob.user.pk)}).json()
        self.assertEqual(created["user_id"], str(self.alice.user.pk))
        self.assertEqual(created["end_user"], str(self.bob.user.pk))
        self.assertEqual(self.bob.http.get("/conversations").json(), [])

    def test_naming_oneself_by_id_or_username_is_no_label(self):
        for name in (str(self.alice.user.pk), self.alice.user.username):
            created = self.alice.http.post("/conversations", json={"title": "x", "user_id": name}).json()
            self.assertEqual(set(created), {"id", "title", "user_id"})

    def test_what_a_guest_starts_for_a_guests_account_is_that_accounts(self):
        user = new_user(self.guest)
        for name in (user["id"], user["username"]):
            started = self.guest.post("/conversations/start", json={"user_id": name, "message": "Hello!"}).json()
            stored = Conversation.objects.get(pk=started["conversation_id"])
            self.assertEqual((str(stored.owner_id), stored.end_user), (user["id"], ""))
            again = self.guest.post(f"/conversations/{stored.pk}/message", json={"message": "More"})
            self.assertEqual(again.status_code, 200, again.text)
        self.assertEqual(len(self.guest.get(f"/users/{user['id']}/conversations").json()), 2)

    def test_conversations_are_found_by_the_label_they_were_created_with(self):
        label = f"customer {uuid.uuid4()}"
        started = self.alice.http.post("/conversations/start", json={"user_id": label, "message": "Hello!"}).json()
        [found] = self.alice.http.get(f"/users/{label}/conversations").json()
        self.assertEqual((found["conversation_id"], found["end_user"]), (started["conversation_id"], label))
        self.assertEqual(self.bob.http.get(f"/users/{label}/conversations").status_code, 404)

    def test_the_account_all_guests_share_cannot_be_changed_or_deleted(self):
        started = self.guest.post("/conversations/start", json={"message": "Hello!"}).json()
        shared = self.guest.get(f"/conversations/{started['conversation_id']}").json()["user_id"]
        self.assertEqual(self.guest.delete(f"/users/{shared}").status_code, 403)
        self.assertEqual(self.guest.patch(f"/users/{shared}", json={"username": "mine"}).status_code, 403)
        self.assertEqual(self.guest.post("/users", json={"username": "guest", "password": PASSWORD}).status_code, 409)

    def test_guests_see_each_others_things_only_on_this_very_machine(self):
        """ANONYMOUS=on admits strangers: they can use things whose id they know, but cannot list or guess any."""
        user = new_user(self.guest)
        started = self.guest.post("/conversations/start", json={"user_id": user["id"], "message": "whale"}).json()
        shared = self.guest.post("/conversations", json={"title": "x"}).json()["user_id"]
        with running_service(ANONYMOUS="on") as service:
            stranger = httpx2.Client(base_url=service.url, headers={"X-Forwarded-For": "203.0.113.7"}, trust_env=False)
            with stranger:
                for path in ("/users", "/conversations", "/search?q=whale"):
                    self.assertEqual(stranger.get(path).status_code, 403, path)
                for path in (f"/users/{user['username']}", f"/users/{shared}", f"/users/{shared}/conversations"):
                    self.assertEqual(stranger.get(path).status_code, 404, path)
                self.assertEqual(stranger.get(f"/conversations/{started['conversation_id']}").status_code, 200)
                self.assertEqual(stranger.get(f"/users/{user['id']}").status_code, 200)

    def test_without_guests_the_refusal_names_the_setting(self):
        with running_service(ANONYMOUS="off") as service:
            for method, path in (("GET", "/conversations"), ("POST", "/conversations/start"), ("POST", "/users")):
                response = self.guest.request(method, f"{service.url}{path}", json={} if method == "POST" else None)
                self.assertEqual(response.status_code, 401, path)
                self.assertIn("ANONYMOUS", response.json()["error"]["message"])

    def test_a_forwarded_caller_is_no_guest(self):
        response = self.guest.get("/conversations", headers={"X-Forwarded-For": "127.0.0.1"})
        self.assertEqual((response.status_code, response.headers["www-authenticate"]), (401, "Bearer"))

    def test_a_guest_cannot_see_a_key_holders_conversation(self):
        pk = self.alice.http.post("/conversations", json={"title": "Mine"}).json()["id"]
        unknown = self.guest.get(f"/conversations/{uuid.uuid4()}")
        foreign = self.guest.get(f"/conversations/{pk}")
        self.assertEqual(foreign.status_code, 404)
        self.assertEqual(without_request_id(foreign.text), without_request_id(unknown.text))
        self.assertNotIn(pk, self.guest.get("/conversations").text)
