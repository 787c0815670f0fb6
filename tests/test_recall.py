"""Recall: the model gets quotes from the owner's other conversations, but only on request."""

from __future__ import annotations

import json
import uuid
from typing import Any

from chatservice.testing import ApiUser, ServiceTestCase, needs_dialect, running_service, sse_data, wait_until
from chatservice.testing.sockets import Socket
from completions.models import Run
from completions.recall import BEGIN, END
from conversations.models import Message
from conversations.services import append_message, start_conversation
from search.models import PendingMessage

V1 = "/v1/chat/conversations"
MODEL = "fake/ok"


class RecallTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.word = f"w{uuid.uuid4().hex[:10]}"
        self.said = f"the {self.word} is in the drawer"
        self.message = self.remember(self.alice, self.said, title="Keys")

    def remember(self, api_user: ApiUser, text: str, *, title: str = "") -> Message:
        talk = start_conversation(owner_id=api_user.user.pk, title=title)
        return append_message(conversation=talk, role="user", content=text)

    def talk(self, api_user: ApiUser, **body: Any) -> str:
        made = api_user.http.post(V1, json=body)
        self.assertEqual(made.status_code, 201, made.text)
        return made.json()["data"]["id"]

    def ask(self, path: str, api_user: ApiUser | None = None, **body: Any) -> dict[str, Any]:
        response = (api_user or self.alice).http.post(path, json={"content": self.word, "model": MODEL, **body})
        self.assertEqual(response.status_code, 201, response.text)
        return response.json()["data"][-1]

    def sent(self) -> list[dict[str, Any]]:
        return self.upstream.posts[-1].body["messages"]

    def quoted(self) -> str:
        found = [wire["content"] for wire in self.sent() if BEGIN in str(wire["content"])]
        self.assertLessEqual(len(found), 1)
        return found[0] if found else ""

    def reference(self) -> dict[str, Any]:
        message = self.message
        return {"conversation_id": str(message.conversation_id), "message_id": str(message.pk), "number": 1}

    def test_a_request_recalls_with_the_source_and_says_what(self):
        needs_dialect("chat_v1")
        pk = self.talk(self.alice)
        # Newer messages are embedded first: as long as this one has no vector, the answer below may rank above it.
        wait_until(lambda: not PendingMessage.objects.filter(pk=self.message.pk).exists(), what="its vectors")
        self.assertNotIn("recalled", self.ask(f"{V1}/{pk}/messages"))
        self.assertEqual(self.sent(), [{"role": "user", "content": self.word}])
        answer = self.ask(f"{V1}/{self.talk(self.alice)}/messages", recall={"limit": 1})
        self.assertEqual(answer["recalled"], [self.reference()])
        first, question = self.sent()
        self.assertEqual((first["role"], question), ("system", {"role": "user", "content": self.word}))
        self.assertIn(f'[1] "Keys", {self.message.created_at:%Y-%m-%d}, user:\n> {self.said}', first["content"])
        self.assertIn("not instructions", first["content"])
        self.assertNotIn("recall", self.upstream.posts[-1].body)
        self.assertFalse(Message.objects.filter(content__contains=BEGIN).exists())
        self.assertEqual(Run.objects.get(message_id=answer["id"]).recalled, [self.reference()])

    def test_a_conversation_recalls_until_it_is_told_not_to(self):
        needs_dialect("chat_v1")
        pk = self.talk(self.alice, recall={"limit": 3, "mode": "text"})
        shown = self.alice.http.get(f"{V1}/{pk}").json()["data"]
        self.assertEqual(shown["recall"], {"limit": 3, "mode": "text"})
        self.assertEqual(self.ask(f"{V1}/{pk}/messages")["recalled"], [self.reference()])
        self.assertNotIn("recalled", self.ask(f"{V1}/{pk}/messages", recall=False))
        self.assertEqual(self.quoted(), "")
        changed = self.alice.http.patch(f"{V1}/{pk}", json={"recall": False})
        self.assertIsNone(changed.json()["data"]["recall"])
        self.ask(f"{V1}/{pk}/messages")
        self.assertEqual(self.quoted(), "")
        wrongs: tuple[Any, ...] = (
            5,
            "yes",
            [],
            {"limit": -1},
            {"limit": 21},
            {"limit": True},
            {"mode": "fast"},
            {"x": 5},
        )
        for wrong in wrongs:
            for path, body in ((V1, {}), (f"{V1}/{pk}/messages", {"content": "x"}), (f"{V1}/stream", {"content": "x"})):
                refused = self.alice.http.post(path, json={**body, "recall": wrong})
                self.assertEqual((refused.status_code, list(refused.json()["error"]["details"])), (400, ["recall"]))

    def test_nothing_of_this_conversation_nor_what_was_replaced_nor_anybody_elses(self):
        needs_dialect("chat_v1")
        self.remember(self.bob, f"Bob knows the {self.word}, too")
        self.guest.post("/conversations/start", json={"message": f"{self.word} of a guest"})
        pk = self.talk(self.alice)
        self.ask(f"{V1}/{pk}/messages")
        again = self.ask(f"{V1}/{pk}/messages", content=f"{self.word}", recall={"limit": 20})
        self.assertEqual(again["recalled"], [self.reference()])
        self.assertNotIn("Bob", self.quoted())
        his = self.ask(f"{V1}/{self.talk(self.bob)}/messages", self.bob, recall={"limit": 20})
        self.assertEqual(len(his["recalled"]), 1)
        self.assertNotIn(self.said, json.dumps(self.sent()))

    def test_the_openai_surface_recalls_streamed_or_not(self):
        needs_dialect("openai_v1")
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": self.word}]
        for stream in (False, True):
            for store in (True, False):
                body = {"model": MODEL, "messages": messages, "recall": {"limit": 1}, "stream": stream, "store": store}
                response = self.alice.http.post("/v1/chat/completions", json=body)
                self.assertEqual(response.status_code, 200, response.text)
                self.assertEqual([wire["role"] for wire in self.sent()], ["system", "system", "user"])
                self.assertIn(self.said, self.quoted())
                said = json.loads(sse_data(response.text)[-2]) if stream else response.json()
                self.assertEqual(said["recalled"], [self.reference()])
        plain = self.alice.http.post("/v1/chat/completions", json={"model": MODEL, "messages": messages})
        self.assertNotIn("recalled", plain.json())
        wrong = self.alice.http.post("/v1/chat/completions", json={"messages": messages, "recall": "yes"})
        self.assertEqual((wrong.status_code, wrong.json()["error"]["param"]), (400, "recall"))

    def test_the_websocket_recalls(self):
        needs_dialect("websocket")
        with Socket(self.service.websocket_url, additional_headers=self.alice.headers) as socket:
            frames = socket.ask(self.word, model=MODEL, recall={"limit": 1})
            self.assertEqual(frames[-1]["data"]["recalled"], [self.reference()])
            socket.say(type="send", content="x", recall={"limit": 99})
            self.assertEqual(socket.until("error")[-1]["data"]["code"], "invalid_frame")
        self.assertIn(self.said, self.quoted())

    def test_the_resources_recall_and_guests_never(self):
        needs_dialect("resources")
        body = {"message": self.word, "model": MODEL, "recall": True}
        mine = self.alice.http.post("/conversations/start", json=body)
        run = self.alice.http.get(f"/runs/{mine.headers['x-run-id']}").json()
        wanted = {"conversation_id": str(self.message.conversation_id), "message_id": 1}
        self.assertEqual(run["recalled"], [wanted])
        self.guest.post("/conversations/start", json={"message": f"{self.word} of a guest"})
        other = self.guest.post("/conversations/start", json=body)
        self.assertEqual(other.status_code, 200, other.text)
        self.assertEqual(self.quoted(), "")

    def test_the_graph_recalls(self):
        needs_dialect("graphql")
        document = 'mutation($q: String!, $r: Recall) { sendMessage(content: $q, model: "fake/ok", recall: $r) '
        document += "{ message { run { recalled } } } }"
        for recall, wanted in (({}, [str(self.message.pk)]), (None, None), ({"limit": 0}, None)):
            variables = {"q": self.word, "r": recall}
            answer = self.alice.http.post("/graphql", json={"query": document, "variables": variables}).json()
            self.assertEqual(answer["data"]["sendMessage"]["message"]["run"]["recalled"], wanted, answer)

    def test_it_fits_the_models_budget(self):
        needs_dialect("chat_v1")
        for number in range(6):
            self.remember(self.alice, f"{self.word} {number} " + "long story " * 60)
        with running_service(CONTEXT_TOKENS='{"*": 1600}') as service:
            pk = self.talk(self.alice)
            path = f"{service.url}{V1}/{pk}/messages"
            self.alice.http.post(path, json={"content": self.word, "model": MODEL, "recall": {"limit": 20}})
        self.assertIn(END, self.quoted())
        self.assertLessEqual(len(self.quoted()), 1600)

    def test_a_stream_says_at_its_end_what_was_recalled(self):
        needs_dialect("chat_v1")
        body = {"content": self.word, "model": MODEL, "recall": True}
        response = self.alice.http.post(f"{V1}/stream", json=body)
        last = json.loads(sse_data(response.text)[-2])
        self.assertEqual((last["type"], last["data"]["recalled"]), ("ai_complete", [self.reference()]))
        run = response.headers["x-run-id"]
        later = self.alice.http.get(f"/v1/chat/runs/{run}/stream")
        self.assertEqual(json.loads(sse_data(later.text)[-2])["data"]["recalled"], [self.reference()])
