"""The queue of feedback in the admin: what it lists and finds, who marks it, and who reads a comment."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib.admin.models import LogEntry
from django.test import override_settings

from chatservice.testing import tried_once
from conversations.services import append_message
from feedback.models import Feedback
from foundation.ids import first_id_of
from tests.staff import CANARY, REASON, StaffCase, staff

LIST = "/admin/feedback/feedback/"


@tried_once
class FeedbackAdminTest(StaffCase):
    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.down = Feedback.objects.create(
            message=cls.answer, user=cls.alice, rating="down", comment=f"Why {CANARY}?", model="echo", upstream="local"
        )
        other = append_message(conversation=cls.talk, role="assistant", content="So.", model="gpt")
        old = first_id_of(dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC))
        cls.up = Feedback.objects.create(id=old, message=other, user=cls.alice, rating="up", model="gpt")
        cls.page = f"{LIST}{cls.down.pk}/change/"

    def listed(self, query: str, client: Any = None) -> list[str]:
        response = (client or self.signed_in(self.dan)).get(f"{LIST}{query}")
        self.assertEqual(response.status_code, 200, query)
        self.assertNotContains(response, CANARY)
        return [row.rating for row in response.context["cl"].result_list]

    def test_it_is_filtered_and_searched(self) -> None:
        Feedback.objects.filter(pk=self.up.pk).update(reviewed_at=dt.datetime.now(dt.UTC))
        for query, wanted in (
            ("", ["down", "up"]),
            ("?reviewed=no", ["down"]),
            ("?reviewed=yes", ["up"]),
            ("?rating__exact=up", ["up"]),
            ("?model=gpt", ["up"]),
            ("?model=nobody", []),
            ("?upstream=local", ["down"]),
            ("?day=2026-03-01", ["up"]),
            ("?day=2026-03-02", []),
            ("?day=yesterday", []),
            ("?day=9999-12-31", []),
            ("?day=0001-01-01", []),
            (f"?q={self.alice.username[:10].upper()}", ["down", "up"]),
            ("?q=bob", []),
            (f"?q={self.answer.pk}", ["down"]),
            (f"?q={self.alice.pk}", ["down", "up"]),
        ):
            with self.subTest(query):
                self.assertEqual(self.listed(query), wanted)

    def test_its_cost_does_not_depend_on_how_much_there_is(self) -> None:
        client = self.signed_in(self.root)
        client.get(LIST)
        for _ in range(2):
            with self.assertNumQueries(5):
                self.listed("?reviewed=no", client)
            for number in range(10):
                message = append_message(conversation=self.talk, role="assistant", content=f"{number}")
                Feedback.objects.create(message=message, user=self.alice, rating="up")

    def test_a_comment_is_shown_only_to_those_who_have_opened_the_conversation(self) -> None:
        client = self.signed_in(self.carol)
        self.assertContains(client.get(self.page), "Hidden. Read the answer first")
        link = f"{self.page_of_talk}?message={self.answer.pk}#m-{self.answer.pk}"
        self.assertContains(client.get(self.page), link)
        self.assertEqual(self.new_entries(), [])
        client.post(link.partition("#")[0], {"reason": REASON}, follow=True)
        self.assertContains(client.get(self.page), f"Why {CANARY}?")
        for user in (self.dan, self.root):  # without the permission, and without having opened it
            self.assertNotContains(self.signed_in(user).get(self.page), CANARY)
        with override_settings(STAFF_CONTENT_ACCESS=False):
            self.assertNotContains(client.get(self.page), CANARY)

    def test_it_is_marked_by_those_who_may_and_that_is_in_the_log(self) -> None:
        form = {"_selected_action": [str(self.down.pk), str(self.up.pk)]}
        for user in (self.eve, self.dan, self.carol):
            self.signed_in(user).post(LIST, {**form, "action": "mark_as_reviewed"})
            self.assertFalse(Feedback.objects.exclude(reviewed_at=None).exists())
        reviewer = staff("reviewer", "view", "change_feedback")
        client = self.signed_in(reviewer)
        response = client.post(LIST, {**form, "action": "mark_as_reviewed"}, follow=True)
        self.assertContains(response, "Marked as reviewed: 2.")
        self.assertEqual(self.listed("?reviewed=yes", client), ["down", "up"])
        entries = LogEntry.objects.filter(user=reviewer)
        self.assertEqual({entry.object_id for entry in entries}, {str(self.down.pk), str(self.up.pk)})
        self.assertNotIn(CANARY, str([(entry.object_repr, entry.change_message) for entry in entries]))
        client.post(LIST, {"_selected_action": str(self.up.pk), "action": "mark_as_not_reviewed"})
        self.assertEqual(self.listed("?reviewed=no", client), ["up"])

    def test_nobody_changes_or_deletes_it(self) -> None:
        for user in (self.dan, self.root):
            client = self.signed_in(user)
            client.post(self.page, {"rating": "up", "comment": "x"})
            client.post(LIST, {"_selected_action": str(self.down.pk), "action": "delete_selected", "post": "yes"})
            self.assertEqual(client.post(f"{LIST}{self.down.pk}/delete/", {"post": "yes"}).status_code, 403)
        self.down.refresh_from_db()
        self.assertEqual((self.down.rating, self.down.comment), ("down", f"Why {CANARY}?"))

    def test_a_comment_stays_text(self) -> None:
        Feedback.objects.filter(pk=self.down.pk).update(comment="<script>alert(1)</script>")
        client = self.signed_in(self.carol)
        client.post(self.page_of_talk, {"reason": REASON}, follow=True)
        self.assertContains(client.get(self.page), "&lt;script&gt;alert(1)")
