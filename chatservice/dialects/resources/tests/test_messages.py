"""Conversations and messages by number: edited onto branches, deleted, paged; and paths that do not exist."""

from __future__ import annotations

import uuid

from chatservice.dialects import DIALECTS
from chatservice.testing import ServiceTestCase, tried_once
from conversations.models import Conversation, Message


@tried_once
class MessagesTest(ServiceTestCase):
    def conversation(self, *contents: str) -> str:
        path = f"/conversations/{self.alice.http.post('/conversations', json={'title': 'x'}).json()['id']}"
        for number, content in enumerate(contents):
            role = "assistant" if number % 2 else "user"
            self.alice.http.post(f"{path}/messages", json={"role": role, "content": content})
        return path

    def shown(self, path: str) -> list[tuple[int, str]]:
        return [(message["id"], message["content"]) for message in self.alice.http.get(f"{path}/messages").json()]

    def test_an_edit_is_a_new_message_on_a_branch_of_its_own(self):
        path = self.conversation("one", "two", "three")
        edited = self.alice.http.patch(f"{path}/messages/3", json={"content": "drei"})
        self.assertEqual((edited.status_code, edited.json()), (200, {"id": 4, "role": "user", "content": "drei"}))
        self.assertEqual(self.shown(path), [(1, "one"), (2, "two"), (4, "drei")])
        self.assertEqual(self.alice.http.get(f"{path}/messages/3").json()["content"], "three")
        replaced = self.alice.http.put(f"{path}/messages/1", json={"role": "user", "content": "eins"})
        self.assertEqual(replaced.json(), {"id": 5, "role": "user", "content": "eins"})
        self.assertEqual(self.shown(path), [(5, "eins")])
        self.assertEqual(Message.objects.of(uuid.UUID(path.rsplit("/", 1)[1])).count(), 5)

    def test_a_deleted_message_leaves_what_was_said_after_it(self):
        path = self.conversation("one", "two", "three")
        self.assertEqual(self.alice.http.delete(f"{path}/messages/2").status_code, 204)
        self.assertEqual(self.shown(path), [(1, "one"), (3, "three")])
        self.assertEqual(self.alice.http.get(f"{path}/messages/2").status_code, 404)
        self.assertEqual(self.alice.http.delete(f"{path}/messages/2").status_code, 404)

    def test_numbers_that_are_none_are_not_found(self):
        path = self.conversation("one")
        for number in ("0", "2", "-1", "1.0", "01", "x", "9" * 30, "%00", "²"):
            for method in ("GET", "DELETE"):
                response = self.alice.http.request(method, f"{path}/messages/{number}")
                self.assertEqual((response.status_code, response.json()["error"]["code"]), (404, "not_found"), number)

    def test_messages_come_whole_or_in_pages(self):
        path = self.conversation(*(f"m{number}" for number in range(7)))
        whole = self.alice.http.get(f"{path}/messages")
        self.assertEqual((len(whole.json()), whole.headers["x-total-count"]), (7, "7"))
        page = self.alice.http.get(f"{path}/messages", params={"limit": 3, "page": 3})
        self.assertEqual([message["content"] for message in page.json()], ["m6"])
        self.assertIn('rel="prev"', page.headers["link"])
        self.assertNotIn('rel="next"', page.headers["link"])

    def test_a_conversation_is_renamed_and_keeps_its_owner(self):
        path = self.conversation()
        for method, body in (
            ("PATCH", {"title": "New"}),
            ("PUT", {"title": "New", "user_id": str(self.alice.user.pk)}),
        ):
            response = self.alice.http.request(method, path, json=body)
            self.assertEqual((response.status_code, response.json()["title"]), (200, "New"), response.text)
        moved = self.alice.http.patch(path, json={"user_id": str(self.bob.user.pk)})
        self.assertEqual(moved.status_code, 400)
        self.assertEqual(Conversation.objects.get(pk=path.rsplit("/", 1)[1]).owner, self.alice.user)

    def test_unknown_paths_answer_in_the_shape_of_what_they_belong_to(self):
        for path in ("/nothing", "/conversation", "/users/a/b/c", "/v2/x", "/chatter"):
            response = self.guest.get(path)
            error = {"code": "not_found", "message": "Not found.", "request_id": response.headers["x-request-id"]}
            self.assertEqual(response.json(), {"error": error}, path)
        if "openai_v1" in DIALECTS:
            self.assertIn("type", self.guest.get("/v1/nothing").json()["error"])
        schemas = [f"/schema/{name}" for name in ("resources", "chat") if name in DIALECTS]
        for path in ("/", "/healthz", "/readyz", "/docs", *schemas, "/admin/login/"):
            self.assertEqual(self.guest.get(path).status_code, 200, path)

    def test_a_method_that_is_not_there_is_told(self):
        for method, path in (("DELETE", "/conversations"), ("POST", "/search"), ("GET", "/conversations/start")):
            response = self.alice.http.request(method, path)
            self.assertEqual((response.status_code, response.json()["error"]["code"]), (405, "method_not_allowed"))
        self.assertEqual(self.alice.http.options("/conversations").status_code, 204)
