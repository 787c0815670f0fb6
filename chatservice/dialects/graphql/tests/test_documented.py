"""The examples of the Chatbot API document, literally, and further operations on to-dos."""

from __future__ import annotations

import uuid
from typing import Any

from chatservice.dialects.graphql.tests.client import TODO, GraphQLTestCase

QUERY = """query {
  todos {
    id
    title
    completed
    createdAt
  }
}"""
MUTATION = """mutation {
  createTodo(title: "Test Todo") {
    id
    title
    completed
    createdAt
  }
}"""


class DocumentedTest(GraphQLTestCase):
    def test_the_printed_mutation_and_query_work_as_printed(self):
        made = self.data(MUTATION)["createTodo"]
        self.assertEqual((made["title"], made["completed"]), ("Test Todo", False))
        self.assertRegex(made["createdAt"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
        self.assertEqual(str(uuid.UUID(made["id"])), made["id"])
        self.assertEqual(self.data(QUERY), {"todos": [made]})
        self.assertEqual(self.data(QUERY, by=self.bob), {"todos": []})

    def test_the_printed_calls_work_without_a_key_on_this_machine(self):
        made = self.post(self.guest, MUTATION).json()["data"]["createTodo"]
        self.assertIn(made, self.post(self.guest, QUERY).json()["data"]["todos"])

    def test_it_answers_with_and_without_the_slash(self):
        self.assertEqual(self.alice.http.post("/graphql/", json={"query": QUERY}).json(), {"data": {"todos": []}})


class TodoTest(GraphQLTestCase):
    def make(self, title: str = "Call back", **fields: Any) -> dict:
        query = f"mutation($t: String!, $c: ID) {{ createTodo(title: $t, conversationId: $c) {TODO} }}"
        return self.data(query, t=title, **fields)["createTodo"]

    def test_a_todo_is_completed_changed_and_deleted(self):
        pk = self.make()["id"]
        query = "mutation($id: ID!) { completeTodo(id: $id) { completed } }"
        self.assertTrue(self.data(query, id=pk)["completeTodo"]["completed"])
        query = 'mutation($id: ID!) { updateTodo(id: $id, title: "Write", completed: false) { title completed } }'
        self.assertEqual(self.data(query, id=pk)["updateTodo"], {"title": "Write", "completed": False})
        query = "mutation($id: ID!) { deleteTodo(id: $id) }"
        self.assertEqual(self.data(query, id=pk), {"deleteTodo": pk})
        self.assertEqual(self.code(query, id=pk), "not_found")
        self.assertEqual(self.data(QUERY)["todos"], [])

    def test_a_todo_is_tied_to_a_conversation_and_outlives_it(self):
        talk = self.data('mutation { startConversation(title: "Trip") { id } }')["startConversation"]["id"]
        pk = self.make(c=talk)["id"]
        query = "query($c: ID) { todos(conversationId: $c) { id conversation { title } } }"
        self.assertEqual(self.data(query, c=talk)["todos"], [{"id": pk, "conversation": {"title": "Trip"}}])
        self.assertEqual(self.data(query, c=str(uuid.uuid4()))["todos"], [])
        untie = "mutation($id: ID!) { updateTodo(id: $id, conversationId: null) { conversation { id } } }"
        self.assertEqual(self.data(untie, id=pk)["updateTodo"], {"conversation": None})
        tie = "mutation($id: ID!, $c: ID) { updateTodo(id: $id, conversationId: $c) { conversation { id } } }"
        self.assertEqual(self.data(tie, id=pk, c=talk)["updateTodo"], {"conversation": {"id": talk}})
        self.data("mutation($c: ID!) { deleteConversation(id: $c) }", c=talk)
        left = self.data("{ todos { id conversation { title } } }")
        self.assertEqual(left["todos"], [{"id": pk, "conversation": None}])

    def test_todos_are_filtered_and_taken_in_parts(self):
        made = [self.make(f"No. {number}")["id"] for number in range(4)]
        self.data("mutation($id: ID!) { completeTodo(id: $id) { id } }", id=made[1])

        def ids(arguments: str) -> list[str]:
            return [each["id"] for each in self.data(f"{{ todos{arguments} {{ id }} }}")["todos"]]

        self.assertEqual(ids(""), made)
        self.assertEqual(ids("(completed: true)"), [made[1]])
        self.assertEqual(ids("(completed: false)"), [made[0], *made[2:]])
        self.assertEqual(ids(f'(first: 2, after: "{made[0]}")'), made[1:3])

    def test_titles_are_checked(self):
        for title in ("", "  ", "x" * 201, "a\x00b"):
            query = f"mutation($t: String!) {{ createTodo(title: $t) {TODO} }}"
            status = 400 if "\x00" in title else 200
            self.assertIn(self.code(query, t=title, status=status), ("validation_error", "nul_character"))
        self.assertEqual(self.make("x" * 200)["title"], "x" * 200)
        self.assertEqual(self.code('mutation { createTodo(title: "a\\u0000b") { id } }'), "validation_error")
