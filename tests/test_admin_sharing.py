"""Shared links in the admin: what the list has, how it is searched, and who revokes, which the log keeps."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.models import LogEntry
from django.test import override_settings

from accounts.services import register_user
from chatservice.testing import tried_once
from conversations.services import append_message, start_conversation
from sharing.models import SharedLink
from sharing.reading import find_link
from tests.matrix.subjects import link_to
from tests.staff import CANARY, StaffCase, staff

LIST = "/admin/sharing/sharedlink/"


@tried_once
@override_settings(SHARING=True)
class SharedLinkAdminTest(StaffCase):
    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.link = link_to(cls.answer)
        cls.bob = register_user(username="bob-who-shares")
        talk = start_conversation(owner_id=cls.bob.pk, title=CANARY)
        cls.other = link_to(append_message(conversation=talk, role="user", content=CANARY))
        cls.may_revoke = staff("revoker", "view", "delete_sharedlink")

    def listed(self, query: str = "") -> list[SharedLink]:
        response = self.signed_in(self.dan).get(f"{LIST}{query}")
        for private in (CANARY, self.link.token, self.link.digest):
            self.assertNotContains(response, private)
        return list(response.context["cl"].result_list)

    def revoke(self, client: Any, *links: SharedLink) -> Any:
        form = {"action": "revoke", "_selected_action": [str(link.pk) for link in links]}
        return client.post(LIST, form, follow=True)

    def test_they_are_searched_by_owner_and_by_id(self) -> None:
        self.assertEqual(self.listed(), [self.other, self.link])
        for term in ("bob-who", self.bob.pk, self.other.pk, self.other.conversation_id, self.other.message_id):
            self.assertEqual(self.listed(f"?q={term}"), [self.other], term)
        self.assertEqual(self.listed("?q=carol"), [])
        for term in (self.link.token, self.link.digest, CANARY):  # which the page repeats in its field
            response = self.signed_in(self.dan).get(LIST, {"q": term})
            self.assertEqual(list(response.context["cl"].result_list), [], term)

    def test_a_revoked_link_shows_nothing_and_who_revoked_it_is_in_the_log(self) -> None:
        response = self.revoke(self.signed_in(self.may_revoke), self.link)
        self.assertContains(response, "Revoked: 1.")
        self.assertIsNone(find_link(self.link.token))
        self.assertEqual(find_link(self.other.token), self.other)
        [entry] = LogEntry.objects.filter(object_id=str(self.link.pk))
        self.assertEqual(entry.user_id, self.may_revoke.pk)
        self.assertIn(str(self.alice.pk), entry.change_message)
        for private in (CANARY, self.alice.username, self.link.token):
            self.assertNotIn(private, f"{entry.change_message} {entry.object_repr}")

    def test_without_the_permission_nobody_revokes(self) -> None:
        for user in (self.dan, self.carol, self.eve):
            self.revoke(self.signed_in(user), self.link, self.other)
        self.assertEqual(SharedLink.objects.count(), 2)
        self.assertFalse(LogEntry.objects.filter(content_type__app_label="sharing").exists())

    def test_what_a_link_shows_is_read_on_the_page_of_the_conversation(self) -> None:
        page = self.signed_in(self.carol).get(f"{LIST}{self.link.pk}/change/")
        self.assertContains(page, f"/admin/conversations/conversation/{self.talk.pk}/change/?leaf={self.answer.pk}")
        self.assertNotContains(page, CANARY)
