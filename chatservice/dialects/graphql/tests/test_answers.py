"""Asking and waiting, following by websocket, resuming with a cursor, stopping, and failing."""

from __future__ import annotations

from chatservice.dialects.graphql.tests.client import ANSWER, FOLLOW_RUN, SEND, GraphQLTestCase
from chatservice.testing import wait_until
from completions.models import Run
from conversations.models import Conversation, Message


class WaitingTest(GraphQLTestCase):
    def test_what_is_said_next_hangs_on_what_was_said_last(self):
        said = self.send("What is a whale?")
        self.assertEqual((said["message"]["status"], said["question"]["content"]), ("complete", "What is a whale?"))
        more = self.send("And a shark?", to=said["conversation"]["id"])
        stored = Message.objects.get(pk=more["message"]["id"])
        question = stored.parent
        assert question is not None
        self.assertEqual(str(question.parent_id), said["message"]["id"])

    def test_the_place_is_part_of_what_a_key_names(self):
        first = self.send("Pay", model="fake/ok", key="order-1")
        self.assertEqual(self.send("Pay", model="fake/ok", key="order-1"), first)
        self.assertEqual(self.code(SEND, content="Pay", key="order-1", after=None), "idempotency_mismatch")

    def test_a_failure_says_where_what_was_said_is_kept(self):
        query = 'mutation { sendMessage(content: "Well?", model: "fake/truncated") { runId } }'
        response = self.post(self.alice.http, query)
        self.assertEqual(self.code_of(response, 200), "upstream_truncated")
        self.assertEqual(response.json()["data"], {"sendMessage": None})
        place = response.json()["errors"][0]["extensions"]
        query = "query($id: ID!) { message(id: $id) { content status run { state errorCode } } }"
        message = self.data(query, id=place["messageId"])["message"]
        self.assertEqual((message["status"], bool(message["content"])), ("failed", True))
        self.assertEqual(message["run"], {"state": "failed", "errorCode": "upstream_truncated"})

    def test_arguments_that_do_not_go_together_are_refused_and_nothing_is_stored(self):
        for arguments in (
            'content: "x", title: "' + "x" * 201 + '"',
            'content: "x", parentId: "0196a4a5-0000-7000-8000-000000000000"',
            'content: "x", title: "t", conversationId: "0196a4a5-0000-7000-8000-000000000000"',
        ):
            code = self.code(f"mutation {{ sendMessage({arguments}) {{ runId }} }}")
            self.assertEqual(code, "validation_error", arguments)
        self.assertFalse(Conversation.objects.filter(owner=self.alice.user).exists())

    def test_how_the_model_answers_reaches_the_run(self):
        generation = '{temperature: 0.5, maxTokens: 9, stop: ["."]}'
        query = f'mutation {{ sendMessage(content: "x", generation: {generation}) {{ runId }} }}'
        pk = self.data(query)["sendMessage"]["runId"]
        self.assertEqual(Run.objects.get(pk=pk).parameters, {"temperature": 0.5, "max_tokens": 9, "stop": ["."]})

    def test_a_conversation_is_renamed_archived_pinned_and_deleted(self):
        pk = self.data("mutation { startConversation { id } }")["startConversation"]["id"]
        query = 'mutation($id: ID!) { renameConversation(id: $id, title: "New") { title } }'
        self.assertEqual(self.data(query, id=pk)["renameConversation"], {"title": "New"})
        for verb, flag in (("archive", "archived"), ("pin", "pinned")):
            query = f"mutation($id: ID!, $on: Boolean!) {{ {verb}Conversation(id: $id, {flag}: $on) {{ {flag} }} }}"
            listed = f"query($on: Boolean) {{ conversations({flag}: $on) {{ edges {{ node {{ id }} }} }} }}"
            for given in (True, False):
                self.assertEqual(self.data(query, id=pk, on=given)[f"{verb}Conversation"], {flag: given})
                for asked in (True, False, None):
                    found = len(self.data(listed, on=asked)["conversations"]["edges"])
                    self.assertEqual(found, 0 if asked is not None and asked != given else 1)
        query = "mutation($id: ID!) { deleteConversation(id: $id) }"
        self.assertEqual(self.data(query, id=pk), {"deleteConversation": pk})


class FollowingTest(GraphQLTestCase):
    def test_an_event_has_its_place_and_the_last_one_the_message(self):
        with self.socket(self.alice) as socket:
            socket.subscribe("1", ANSWER, c="What is a wölf? 🐺")
            started, *chunks, last = socket.events("1", "answer")
        self.assertEqual((started["__typename"], last["__typename"]), ("AnswerStarted", "AnswerComplete"))
        self.assertEqual(
            (started["messageId"], {each["runId"] for each in chunks}), (last["message"]["id"], {started["runId"]})
        )
        self.assertEqual("".join(each["text"] for each in chunks), last["message"]["content"])

    def test_a_dropped_stream_continues_after_its_cursor(self):
        with self.socket(self.alice) as socket:
            socket.subscribe("1", ANSWER, c="Dropped", m="fake/held:20ms:60")
            seen = [socket.read()["payload"]["data"]["answer"] for _ in range(2)]
        self.upstream.release("Dropped")
        run, said = seen[0]["runId"], "".join(each.get("text", "") for each in seen)
        with self.socket(self.alice) as socket:
            socket.subscribe("1", FOLLOW_RUN, run=run, at=seen[-1]["cursor"])
            *rest, last = socket.events("1", "followRun")
        self.assertEqual({each["__typename"] for each in rest}, {"AnswerChunk"})
        self.assertEqual(said + "".join(each["text"] for each in rest), last["message"]["content"])
        self.assertEqual(last["message"]["content"], "token " * 60)
        with self.socket(self.alice) as socket:
            for name, at in (("again", seen[1]["cursor"]), ("end", last["cursor"])):
                socket.subscribe(name, FOLLOW_RUN, run=run, at=at)
                *rest, end = socket.events(name, "followRun")
                before = "".join(each.get("text", "") for each in seen[:2]) if name == "again" else "token " * 60
                self.assertEqual(before + "".join(each["text"] for each in rest), "token " * 60)
                self.assertEqual(end, last)
            wrong = f"{seen[0]['cursor'].split('.')[0]}.7.3"
            socket.subscribe("wrong", FOLLOW_RUN, run=run, at=wrong)
            [*_, resync, end] = socket.events("wrong", "followRun")
            self.assertEqual(resync["text"] or end["message"]["content"], "token " * 60)
            for at in ("", "x", f"{'0' * 32}.1.1"):
                socket.subscribe("bad", FOLLOW_RUN, run=run, at=at)
                [frame] = socket.until_over("bad")
                self.assertEqual((frame["type"], frame["payload"][0]["extensions"]["code"]), ("error", "bad_cursor"))

    def test_a_failed_answer_ends_with_one_error_that_keeps_what_was_said(self):
        with self.socket(self.alice) as socket:
            for model, code in (("fake/truncated", "upstream_truncated"), ("fake/http-500", "upstream_error")):
                socket.subscribe(model, ANSWER, c="Well?", m=model)
                *events, last = socket.events(model, "answer")
                self.assertEqual((last["__typename"], last["code"]), ("AnswerError", code))
                said = "".join(each.get("text", "") for each in events)
                self.assertEqual(last["message"], {"content": said, "status": "failed"})

    def test_completing_a_subscription_leaves_the_answer_going(self):
        with self.socket(self.alice) as socket:
            socket.subscribe("1", ANSWER, c="Left going", m="fake/held:20ms:60")
            run = socket.read()["payload"]["data"]["answer"]["runId"]
            socket.say(id="1", type="complete")
            # The id can be used for another operation at once.
            socket.subscribe("1", "{ me { username } }")
            while "answer" in (frame := socket.read())["payload"]["data"]:
                pass
            self.assertEqual(frame["payload"]["data"]["me"], {"username": self.alice.user.username})
        self.upstream.release("Left going")
        over = lambda: Run.objects.get(pk=run).state == "complete"  # noqa: E731
        wait_until(over, what="the end of the answer")
        self.assertEqual(Message.objects.get(run=run).content, "token " * 60)

    def test_queries_and_mutations_go_by_socket_too(self):
        with self.socket(self.alice) as socket:
            socket.subscribe("1", 'mutation { createTodo(title: "x") { title } }')
            frames = socket.until_over("1")
            self.assertEqual(frames[0]["payload"], {"data": {"createTodo": {"title": "x"}}})
            self.assertEqual(frames[1:], [{"id": "1", "type": "complete"}])
