"""Links in the graph: `shareConversation`, `sharedLinks` and `revokeSharedLink`."""

from __future__ import annotations

from chatservice.dialects.graphql.tests.client import GraphQLTestCase
from conversations.services import append_message, start_conversation

SHARE = """mutation($id: ID!, $days: Int, $title: String) {
    shareConversation(messageId: $id, expiresInDays: $days, title: $title) {
        id path title conversationId messageId createdAt expiresAt } }"""
LIST = "query($id: ID) { sharedLinks(conversationId: $id) { id path title } }"
REVOKE = "mutation($id: ID!) { revokeSharedLink(id: $id) }"


class SharedLinksTest(GraphQLTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.talk = start_conversation(owner_id=self.alice.user.pk, title="The war")
        self.answer = append_message(conversation=self.talk, role="assistant", content="Well.")

    def test_a_link_is_made_listed_and_revoked(self):
        made = self.data(SHARE, id=str(self.answer.pk), days=7)["shareConversation"]
        self.assertEqual((made["title"], made["conversationId"]), ("The war", str(self.talk.pk)))
        self.assertRegex(made["path"], r"\A/shared/[A-Za-z0-9_-]{32}\Z")
        shown = {name: made[name] for name in ("id", "path", "title")}
        self.assertEqual(self.data(LIST)["sharedLinks"], [shown])
        self.assertEqual(self.data(LIST, id=str(self.talk.pk))["sharedLinks"], [shown])
        for other in (str(self.answer.pk), "x"):
            self.assertEqual(self.data(LIST, id=other)["sharedLinks"], [])
        self.assertEqual(self.data(REVOKE, id=made["id"]), {"revokeSharedLink": made["id"]})
        self.assertEqual(self.code(REVOKE, id=made["id"]), "not_found")
        self.assertEqual(self.data(LIST)["sharedLinks"], [])

    def test_others_messages_and_links_do_not_exist(self):
        made = self.data(SHARE, id=str(self.answer.pk))["shareConversation"]
        for by in (self.bob, self.carol):
            self.assertEqual(self.code(SHARE, by=by, id=str(self.answer.pk)), "not_found")
            self.assertEqual(self.code(REVOKE, by=by, id=made["id"]), "not_found")
            self.assertEqual(self.data(LIST, by=by)["sharedLinks"], [])

    def test_what_is_wrong_is_refused(self):
        for wrong in ({"days": 0}, {"days": 91}, {"days": -5}, {"title": "x" * 201}):
            self.assertEqual(self.code(SHARE, id=str(self.answer.pk), **wrong), "validation_error", wrong)
        self.assertEqual(self.data(LIST)["sharedLinks"], [])
