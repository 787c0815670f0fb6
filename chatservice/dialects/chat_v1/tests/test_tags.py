"""Tags of conversations: set and found by their owner, in this API and in GraphQL."""

from __future__ import annotations

import uuid
from typing import Any

from chatservice.testing import ApiUser, ServiceTestCase, needs_dialect
from conversations.models import Conversation, ConversationTag
from conversations.services import start_conversation, update_conversation

BASE = "/v1/chat/conversations"


class TagsTest(ServiceTestCase):
    def talk(self, *tags: str, who: ApiUser | None = None, title: str = "") -> str:
        talk = start_conversation(owner_id=(who or self.alice).user.pk, title=title)
        return str(update_conversation(conversation=talk, tags=list(tags)).pk)

    def listed(self, **query: str) -> set[str]:
        page = self.alice.http.get(BASE, params=query).json()
        self.assertEqual(page["meta"]["total"], len(page["data"]))
        return {row["id"] for row in page["data"]}

    def test_the_owner_sets_them_and_finds_conversations_by_them(self) -> None:
        talk, other = self.talk(), self.talk("trip")
        self.assertEqual(self.alice.http.get(f"{BASE}/{talk}").json()["data"]["tags"], [])
        before = Conversation.objects.get(pk=talk).updated_at
        given = ["  Work ", "WORK", "Caf\u0065\u0301"]
        changed = self.alice.http.patch(f"{BASE}/{talk}", json={"tags": given}).json()["data"]
        self.assertEqual(changed["tags"], ["Caf\u00e9", "Work"])
        self.assertEqual(self.alice.http.get(f"{BASE}/{talk}").json()["data"]["tags"], ["Caf\u00e9", "Work"])
        self.assertEqual(Conversation.objects.get(pk=talk).updated_at, before)
        self.assertEqual(
            (self.listed(tag="work"), self.listed(tag=" TRIP "), self.listed(tag="none")), ({talk}, {other}, set())
        )
        self.assertEqual(self.listed(tag="caf\u0065\u0301"), {talk})
        self.alice.http.patch(f"{BASE}/{talk}", json={"archived": True, "title": "Kept"})
        self.assertEqual((self.listed(tag="work"), self.listed(tag="work", archived="true")), (set(), {talk}))
        self.assertEqual(self.alice.http.patch(f"{BASE}/{talk}", json={"tags": []}).json()["data"]["tags"], [])

    def test_bob_neither_reads_nor_sets_nor_finds_them(self) -> None:
        talk = self.talk("Work")
        for refused in (
            self.bob.http.get(f"{BASE}/{talk}"),
            self.bob.http.patch(f"{BASE}/{talk}", json={"tags": ["x"]}),
        ):
            self.assertEqual(refused.status_code, 404)
        self.assertEqual(self.bob.http.get(BASE, params={"tag": "work"}).json()["data"], [])
        self.assertEqual([tag.name for tag in ConversationTag.objects.filter(conversation_id=talk)], ["Work"])

    def test_what_is_no_tag_is_refused_in_the_shape_of_this_api(self) -> None:
        talk = self.talk("Work")
        wrong: list[Any] = [
            None,
            "work",
            5,
            {"a": 1},
            [""],
            [5],
            [["x"]],
            ["x" * 51],
            [str(each) for each in range(21)],
        ]
        for value in wrong:
            refused = self.alice.http.patch(f"{BASE}/{talk}", json={"tags": value})
            self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (400, "validation_error"), value)
            self.assertIn("tags", refused.json()["error"]["details"])
        for query in ("", " ", "x" * 51):
            refused = self.alice.http.get(BASE, params={"tag": query})
            self.assertEqual((refused.status_code, list(refused.json()["error"]["details"])), (400, ["tag"]))
        self.assertEqual([tag.name for tag in ConversationTag.objects.filter(conversation_id=talk)], ["Work"])

    def test_graphql_has_them(self) -> None:
        needs_dialect("graphql")

        def data(query: str, **variables: Any) -> Any:
            response = self.alice.http.post("/graphql", json={"query": query, "variables": variables}).json()
            return response["errors"][0]["extensions"]["code"] if "errors" in response else response["data"]

        talk, other = self.talk(), self.talk("trip")
        self.talk("secret", who=self.bob)
        change = "mutation($id: ID!, $tags: [String!]!) { setTags(id: $id, tags: $tags) { tags } }"
        self.assertEqual(data(change, id=talk, tags=["Work", "work", "A"]), {"setTags": {"tags": ["A", "Work"]}})
        self.assertEqual(data("{ tags }"), {"tags": ["A", "trip", "Work"]})
        listing = "query($tag: String) { conversations(tag: $tag) { totalCount edges { node { id tags } } } }"
        told = data(listing, tag="WORK")["conversations"]
        self.assertEqual(told, {"totalCount": 1, "edges": [{"node": {"id": talk, "tags": ["A", "Work"]}}]})
        told = data(listing)["conversations"]["edges"]
        self.assertEqual({edge["node"]["id"]: edge["node"]["tags"] for edge in told}[other], ["trip"])
        self.assertEqual(data(listing, tag="secret")["conversations"]["edges"], [])
        for wrong in ([""], ["x" * 51], [str(each) for each in range(21)]):
            self.assertEqual(data(change, id=talk, tags=wrong), "validation_error")
        self.assertEqual(data(listing, tag=""), "validation_error")
        self.assertEqual(data(change, id=str(uuid.uuid4()), tags=[]), "not_found")
