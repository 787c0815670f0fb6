"""The access log of the caller's content: paged, in the envelope, under its current and its former name."""

from __future__ import annotations

from chatservice.testing import ServiceTestCase
from conversations.access_log import record_access
from conversations.models import AccessLogEntry
from conversations.services import start_conversation

NAME, FORMER_NAME = "/v1/chat/access-log", "/v1/chat/looks"


class AccessLogTest(ServiceTestCase):
    def test_the_owner_reads_who_read_when_and_why(self) -> None:
        talk = start_conversation(owner_id=self.alice.user.pk, title="Circles", end_user="eve")
        for reason in ("First complaint", "Second complaint", "Third complaint"):
            record_access(reader=self.carol.user, kind=AccessLogEntry.Kind.TRANSCRIPT, reason=reason, conversation=talk)
        page = self.alice.http.get(NAME, params={"limit": 2}).json()
        self.assertEqual(page["meta"], {"total": 3, "page": 1, "limit": 2, "totalPages": 2})
        self.assertEqual([entry["reason"] for entry in page["data"]], ["Third complaint", "Second complaint"])
        names = {"id", "created_at", "kind", "reader", "reason", "conversation_id", "title", "end_user"}
        self.assertEqual(set(page["data"][0]), names)
        self.assertEqual((page["data"][0]["title"], page["data"][0]["end_user"]), ("Circles", "eve"))
        self.assertEqual(page["data"][0]["reader"], self.carol.user.username)
        self.assertEqual(page["data"][0]["conversation_id"], str(talk.pk))
        self.assertEqual(
            self.alice.http.get(NAME, params={"page": 2, "limit": 2}).json()["data"][0]["kind"], "transcript"
        )
        self.assertEqual(self.bob.http.get(NAME).json()["data"], [])
        self.assertEqual(self.alice.http.get(FORMER_NAME, params={"limit": 2}).json(), page)

    def test_it_can_be_read_and_nothing_else(self) -> None:
        for url in (NAME, FORMER_NAME):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                self.assertEqual(self.alice.http.request(method, url, json={}).status_code, 405)
            self.assertEqual(self.guest.get(url).status_code, 401)
            self.assertEqual(self.alice.http.get(url, params={"limit": "0"}).status_code, 400)

    def test_the_document_names_the_access_log_and_not_its_former_name(self) -> None:
        paths = self.guest.get("/schema/chat_v1").json()["paths"]
        self.assertIn(NAME, paths)
        self.assertNotIn(FORMER_NAME, paths)
