"""Who looked at what I said: a page of it, in the envelope."""

from __future__ import annotations

from chatservice.testing import ServiceTestCase
from conversations.looks import record_look
from conversations.models import Look
from conversations.services import start_conversation

LOOKS = "/v1/chat/looks"


class LooksTest(ServiceTestCase):
    def test_the_owner_reads_who_looked_when_and_why(self) -> None:
        talk = start_conversation(owner_id=self.alice.user.pk)
        for reason in ("First complaint", "Second complaint", "Third complaint"):
            record_look(reader=self.carol.user, kind=Look.Kind.TRANSCRIPT, reason=reason, conversation=talk)
        page = self.alice.http.get(LOOKS, params={"limit": 2}).json()
        self.assertEqual(page["meta"], {"total": 3, "page": 1, "limit": 2, "totalPages": 2})
        self.assertEqual([look["reason"] for look in page["data"]], ["Third complaint", "Second complaint"])
        self.assertEqual(set(page["data"][0]), {"id", "created_at", "kind", "reader", "reason", "conversation_id"})
        self.assertEqual(page["data"][0]["reader"], self.carol.user.username)
        self.assertEqual(page["data"][0]["conversation_id"], str(talk.pk))
        self.assertEqual(
            self.alice.http.get(LOOKS, params={"page": 2, "limit": 2}).json()["data"][0]["kind"], "transcript"
        )
        self.assertEqual(self.bob.http.get(LOOKS).json()["data"], [])

    def test_it_can_be_read_and_nothing_else(self) -> None:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            self.assertEqual(self.alice.http.request(method, LOOKS, json={}).status_code, 405)
        self.assertEqual(self.guest.get(LOOKS).status_code, 401)
        self.assertEqual(self.alice.http.get(LOOKS, params={"limit": "0"}).status_code, 400)
