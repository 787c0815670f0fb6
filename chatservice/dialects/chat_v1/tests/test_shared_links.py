"""Links by `POST`, `GET` and `DELETE /shared-links`."""

from __future__ import annotations

import datetime as dt
from urllib.parse import urlsplit

from accounts.scopes import Scope
from accounts.services import issue_api_key
from chatservice.testing import ServiceTestCase, tried_once
from completions.models import Run
from sharing.models import SharedLink

LINKS = "/v1/chat/shared-links"


@tried_once
class SharedLinksTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.talk = self.alice.http.post("/v1/chat/conversations", json={"title": "The war"}).json()["data"]["id"]
        self.messages = f"/v1/chat/conversations/{self.talk}/messages"
        said = self.alice.http.post(self.messages, json={"content": "Hello"}).json()["data"]
        self.question, self.answer = (message["id"] for message in said)

    def share(self, **fields: object) -> dict:
        response = self.alice.http.post(LINKS, json={"message_id": self.answer, **fields})
        self.assertEqual(response.status_code, 201, response.text)
        return response.json()["data"]

    def test_a_link_is_made_listed_read_and_revoked(self) -> None:
        made = self.share(expires_in_days=7)
        self.assertEqual(set(made), {"id", "url", "title", "conversation_id", "message_id", "created_at", "expires_at"})
        self.assertEqual(
            (made["title"], made["conversation_id"], made["message_id"]), ("The war", self.talk, self.answer)
        )
        lasts = dt.datetime.fromisoformat(made["expires_at"]) - dt.datetime.fromisoformat(made["created_at"])
        self.assertEqual(lasts, dt.timedelta(days=7))
        self.assertTrue(made["url"].startswith(f"{self.service.url}/shared/"))
        self.assertEqual(self.guest.get(urlsplit(made["url"]).path).status_code, 200)
        other = self.share(title="")
        self.assertEqual(other["title"], "")
        listed = self.alice.http.get(LINKS).json()
        self.assertEqual((listed["data"], listed["meta"]["total"]), ([other, made], 2))
        self.assertEqual(self.alice.http.get(f"{LINKS}?page=2&limit=1").json()["data"], [made])
        response = self.alice.http.delete(f"{LINKS}/{made['id']}")
        self.assertEqual((response.status_code, response.json()["data"]), (200, None))
        self.assertEqual(self.guest.get(urlsplit(made["url"]).path).status_code, 404)
        self.assertEqual(self.alice.http.delete(f"{LINKS}/{made['id']}").status_code, 404)
        self.assertEqual(self.alice.http.get(LINKS).json()["data"], [other])

    def test_those_of_one_conversation_are_listed(self) -> None:
        made = self.share()
        self.assertEqual(self.alice.http.get(f"{LINKS}?conversation_id={self.talk}").json()["data"], [made])
        for other in (self.answer, "x", ""):
            self.assertEqual(self.alice.http.get(f"{LINKS}?conversation_id={other}").json()["data"], [])

    def test_nobody_else_makes_lists_or_revokes_it(self) -> None:
        made = self.share()
        for caller in (self.bob, self.carol):
            self.assertEqual(caller.http.post(LINKS, json={"message_id": self.answer}).status_code, 404)
            self.assertEqual(caller.http.get(LINKS).json()["data"], [])
            self.assertEqual(caller.http.delete(f"{LINKS}/{made['id']}").status_code, 404)
        self.assertEqual(self.guest.post(LINKS, json={"message_id": self.answer}).status_code, 401)
        self.assertEqual(SharedLink.objects.filter(owner=self.alice.user).count(), 1)

    def test_a_key_that_only_reads_makes_and_revokes_none(self) -> None:
        made = self.share()
        _, text = issue_api_key(user=self.alice.user, scopes=[Scope.READ])
        headers = {"Authorization": f"Bearer {text}"}
        response = self.guest.post(LINKS, json={"message_id": self.answer}, headers=headers)
        self.assertEqual((response.status_code, response.json()["error"]["code"]), (403, "insufficient_scope"))
        self.assertEqual(self.guest.delete(f"{LINKS}/{made['id']}", headers=headers).status_code, 403)
        self.assertEqual(self.guest.get(LINKS, headers=headers).json()["data"], [made])

    def test_what_is_wrong_is_refused_in_the_shape_of_this_api(self) -> None:
        for body in (
            {},
            {"message_id": "x"},
            {"message_id": None},
            *({"message_id": self.answer, "expires_in_days": days} for days in (0, -1, 91, 10**30, "7", 1.5, True)),
            *({"message_id": self.answer, "title": title} for title in ("x" * 201, 5)),
        ):
            with self.subTest(body):
                response = self.alice.http.post(LINKS, json=body)
                self.assertEqual((response.status_code, response.json()["success"]), (400, False), response.text)
                self.assertEqual(response.json()["error"]["code"], "validation_error")
        self.assertFalse(SharedLink.objects.filter(owner=self.alice.user).exists())
        self.assertEqual(self.alice.http.delete(f"{LINKS}/x").status_code, 404)

    def test_an_answer_that_is_being_written_is_not_shared(self) -> None:
        message = {"content": "A long story", "model": "fake/held:20ms:70"}
        with self.alice.http.stream("POST", f"{self.messages}/stream", json=message) as stream:
            running = str(Run.objects.get(pk=stream.headers["x-run-id"]).message_id)
            response = self.alice.http.post(LINKS, json={"message_id": running})
            self.assertEqual((response.status_code, response.json()["error"]["code"]), (409, "conversation_busy"))
            self.assertEqual(self.alice.http.post(f"/v1/chat/messages/{running}/cancel").status_code, 200)
        self.assertEqual(self.alice.http.post(LINKS, json={"message_id": running}).status_code, 201)
