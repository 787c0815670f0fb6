"""What a page needs to show a conversation: messages as HTML, their versions, models, and unfinished answers."""

from __future__ import annotations

from django.conf import settings

from chatservice.dialects.graphql.tests.client import GraphQLTestCase
from chatservice.testing import wait_until
from completions.models import Run
from conversations.models import Message

ASK = """
    mutation ($content: String!, $model: String, $key: String) {
        sendMessage(content: $content, model: $model, idempotencyKey: $key, wait: false) {
            runId question { id html } message { id status content } conversation { id }
        }
    }
"""
AGAIN = """
    mutation ($id: ID!, $model: String) {
        regenerate(messageId: $id, model: $model, wait: false) { runId message { id status versions } }
    }
"""
HTML = """
    query ($first: Int!) {
        conversations(first: 1) { edges { node { messages(first: $first) { edges { node { html } } } } } }
    }
"""


class ShowingTest(GraphQLTestCase):
    def ended(self, run_id: str) -> None:
        wait_until(lambda: Run.objects.get(pk=run_id).state != Run.State.RUNNING, what="the end of the run")

    def test_an_answer_need_not_be_waited_for(self) -> None:
        begun = self.data(ASK, content="Not waited for", model="fake/held")["sendMessage"]
        self.assertEqual(begun["message"]["status"], "in_progress")
        self.upstream.release("Not waited for")
        self.ended(begun["runId"])
        self.assertEqual(Message.objects.get(pk=begun["message"]["id"]).status, "complete")

    def test_the_same_key_is_the_same_question_then_too(self) -> None:
        one, other = (self.data(ASK, content="Hi", key="once")["sendMessage"] for _ in range(2))
        self.assertEqual((one["runId"], one["question"]), (other["runId"], other["question"]))
        self.assertEqual(Run.objects.filter(user=self.alice.user).count(), 1)

    def test_versions_are_all_of_them_oldest_first(self) -> None:
        first = self.data(ASK, content="Hi")["sendMessage"]
        self.ended(first["runId"])
        again = self.data(AGAIN, id=first["message"]["id"])["regenerate"]
        self.assertEqual(again["message"]["versions"], [first["message"]["id"], again["message"]["id"]])
        self.ended(again["runId"])
        shown = self.data("query ($id: ID!) { message(id: $id) { versions } }", id=first["question"]["id"])
        self.assertEqual(shown["message"]["versions"], [first["question"]["id"]])

    def test_html_is_markdown_made_safe(self) -> None:
        begun = self.data(ASK, content="**Hi** <script>alert(1)</script> ![x](https://evil.example/x.png)")[
            "sendMessage"
        ]
        html = begun["question"]["html"]
        self.assertIn("<strong>Hi</strong>", html)
        self.assertNotIn("<script", html)
        self.assertNotIn("<img", html)

    def test_much_html_is_too_expensive(self) -> None:
        self.assertNotIn("errors", self.post(self.alice.http, HTML, first=40).json())
        many = HTML.replace("first: 1", "first: 3")
        self.assertEqual(self.code(many, first=50, status=400), "query_too_expensive")

    def test_models_are_listed_with_the_default(self) -> None:
        data = self.data("{ models defaultModel }")
        self.assertIn(data["defaultModel"], data["models"])
        self.assertEqual(data["defaultModel"], settings.DEFAULT_MODEL)
