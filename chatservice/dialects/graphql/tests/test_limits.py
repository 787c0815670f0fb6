"""How large an operation may be: tests at each limit and one beyond it; and malicious documents."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from graphql import Lexer, Source, TokenKind

from chatservice.dialects.graphql.tests.client import GraphQLTestCase
from chatservice.testing import running_service, tried_once

LISTS = "{ conversations(%s) { edges { node { messages(%s) { edges { node { %s } } } } } } }"
TYPENAMES = "__typename " * 300
INTROSPECTION = "{ __schema { types { name fields { name type { name ofType { name } } } } } }"
DEEP_INTROSPECTION = "{ __schema { types { fields { type { fields { type { fields { type { name } } } } } } } } }"


def walk(query: str) -> Iterator[TokenKind]:
    lexer = Lexer(Source(query))
    while (token := lexer.advance()).kind != TokenKind.EOF:
        yield token.kind


def fragments(count: int, last: str = "{ username }") -> str:
    """Return a document of short fragments that expands to 2 ** count fields."""
    chain = "".join(f"fragment f{n} on Viewer {{ ...f{n + 1} ...f{n + 1} }} " for n in range(count))
    return f"{{ me {{ ...f0 }} }} {chain} fragment f{count} on Viewer {last}"


@tried_once
class LimitsTest(GraphQLTestCase):
    def test_depth(self):
        def query(inner: str) -> str:
            return LISTS % ("first: 1", "first: 1", inner)

        self.data(query("parent { content }"))
        beyond = "parent { parent { content } }"
        self.assertEqual(self.code(query(beyond), status=400), "query_too_deep")
        spread = f"{query('...t')} fragment t on Message {{ {beyond} }}"
        self.assertEqual(self.code(spread, status=400), "query_too_deep")

    def test_aliases(self):
        def query(count: int) -> str:
            return "{ me { " + " ".join(f"a{n}: id" for n in range(count)) + " } }"

        self.data(query(15))
        self.assertEqual(self.code(query(16), status=400), "too_many_aliases")
        spread = "{ me { ...a } x: me { ...a } } fragment a on Viewer { " + query(8)[7:-2]
        self.assertEqual(self.code(spread, status=400), "too_many_aliases")

    def test_tokens(self):
        def query(count: int) -> str:
            stop = '"a" ' * (count - 25)
            return f'mutation {{ sendMessage(content: "x", generation: {{stop: [{stop}]}}) {{ runId }} }}'

        tokens = len([*walk(query(100))])
        self.assertEqual(self.code(query(1100 - tokens)), "validation_error")
        self.assertEqual(self.code(query(1101 - tokens), status=400), "too_many_tokens")

    def test_cost(self):
        # 50 conversations with 39 messages each are 2,000 objects.
        for inner, more, variables in (
            ("first: 39", "", {}),
            ("last: 39", "", {}),
            ("first: $n", "query($n: Int)", {"n": 39}),
            ("first: $n", "query($n: Int = 39)", {}),
            ("first: $n", "query($n: Int)", {}),
        ):
            query = LISTS % ("first: 50", inner, "id")
            self.data(f"{more} {query}", **variables)
            one_more = f"{more} {query.removesuffix('}')} me {{ id }} }}"
            expected = "" if more == "query($n: Int)" and not variables else "query_too_expensive"
            if expected:
                self.assertEqual(self.code(one_more, status=400, **variables), expected)
        for inner in ("first: 40", "last: 40", "first: 999999999999", 'first: "x"'):
            self.assertEqual(self.code(LISTS % ("first: 50", inner, "id"), status=400), "query_too_expensive")
        for value in (40, "x", 10**30):
            query = "query($n: Int) " + LISTS % ("first: 50", "first: $n", "id")
            self.assertEqual(self.code(query, status=400, n=value), "query_too_expensive")

    def test_documents_made_to_hurt_are_refused_at_once(self):
        cycle = "{ me { ...a } } fragment a on Viewer { ...b } fragment b on Viewer { ...a id }"
        for name, query, code in (
            ("3,000 aliases", "{ " + " ".join(f"a{n}: __typename" for n in range(3_000)) + " }", "too_many_tokens"),
            ("20,000 tokens", "{ " + "id " * 20_000 + "}", "too_many_tokens"),
            ("5,000 directives", "{ me " + "@skip(if: false) " * 5_000 + "{ id } }", "too_many_tokens"),
            ("130 directives", "{ me " + "@skip(if: false) " * 130 + "{ id } }", "graphql_validation_failed"),
            ("a fragment cycle", cycle, "graphql_validation_failed"),
            ("a fragment of itself", "{ ...a } fragment a on Query { ...a }", "graphql_validation_failed"),
            ("2 ** 70 fields", fragments(70), "query_too_large"),
            ("2 ** 60 aliases", fragments(60, "{ a: username }"), "query_too_large"),
            ("400 deep", "{ a " * 400 + "}" * 400, "query_too_deep"),
            ("a list 900 deep", "{ todos(first: " + "[" * 490 + "]" * 490 + ") { id } }", "query_too_deep"),
            ("an object 300 deep", "{ todos(first: " + "{a: " * 250 + "1" + "}" * 250 + ") { id } }", "query_too_deep"),
            ("nested schema", DEEP_INTROSPECTION, "graphql_validation_failed"),
            (
                "many schemas",
                "{ " + " ".join(f"s{n}: __schema {{ types {{ name }} }}" for n in range(5)) + " }",
                "query_too_expensive",
            ),
            ("100,000 digits", "{ todos(first: " + "9" * 100_000 + ") { id } }", "graphql_validation_failed"),
            ("2 ** 31", "{ todos(first: 2147483648) { id } }", "graphql_validation_failed"),
            ("a NUL", "{ me \x00 { id } }", "nul_character"),
            ("half a surrogate pair", '{ todos(after: "\\ud83d") { id } }', "graphql_parse_failed"),
            ("no GraphQL", "SELECT 1", "graphql_parse_failed"),
            ("an unknown field", "{ todoss { id } }", "graphql_validation_failed"),
            ("a definition", "type Query { a: Int }", "invalid_request"),
            ("nothing", " ", "invalid_request"),
            ("a comment", "# nothing", "graphql_parse_failed"),
            ("a subscription", 'subscription { answer(content: "x") { cursor } }', "not_possible_here"),
            ("which of two?", "query a { me { id } } query b { me { id } }", "invalid_request"),
        ):
            with self.subTest(name):
                began = time.monotonic()
                response = self.post(self.alice.http, query)
                self.assertLess(time.monotonic() - began, 1.0)
                self.assertEqual(response.status_code, 400, response.text[:500])
                errors = response.json()["errors"]
                self.assertEqual(errors[0]["extensions"]["code"], code, response.text[:500])
                self.assertNotIn("Did you mean", response.text)
                self.assertNotIn("data", response.json())
        self.assertEqual(self.data("{ " + TYPENAMES + "}"), {"__typename": "Query"})

    def test_bodies_that_are_no_request_are_refused_in_graphqls_shape(self):
        me = "{ me { id } }"
        for name, body, status, code in (
            ("a batch", [{"query": me}], 400, "invalid_request"),
            ("no query", {}, 400, "invalid_request"),
            ("a query that is none", {"query": 5}, 400, "invalid_request"),
            ("variables as a list", {"query": me, "variables": []}, 400, "invalid_request"),
            ("variables as text", {"query": me, "variables": "{}"}, 400, "invalid_request"),
            ("a name that is none", {"query": me, "operationName": 5}, 400, "invalid_request"),
            ("an unknown name", {"query": me, "operationName": "x"}, 400, "invalid_request"),
            ("extensions as a list", {"query": me, "extensions": []}, 400, "invalid_request"),
            ("a NUL", {"query": me, "variables": {"a": "\x00"}}, 400, "nul_character"),
            ("too deep", {"query": me, "variables": {"a": json.loads("[" * 40 + "]" * 40)}}, 400, "json_too_deep"),
            ("too large", {"query": me + "#" * 4_200_000}, 413, "request_too_large"),
        ):
            with self.subTest(name):
                self.assertEqual(self.code_of(self.alice.http.post("/graphql", json=body), status), code)
        kind = {"Content-Type": "application/json"}
        for raw in (
            b'{"query": "\\ud83d"}',
            b'{"query": "x',
            b"\xff",
            b'{"variables": {"a": 1e999}, "query": "{ me { id } }"}',
        ):
            response = self.alice.http.post("/graphql", content=raw, headers=kind)
            self.assertEqual(self.code_of(response, 400), "invalid_json")
        for wrong in (
            "application/graphql",
            "text/plain",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded",
        ):
            response = self.alice.http.post("/graphql", content=me.encode(), headers={"Content-Type": wrong})
            self.assertEqual(self.code_of(response, 415), "unsupported_media_type")

    def test_variables_of_the_wrong_kind_are_refused(self):
        query = "query($n: Int) { todos(first: $n) { id } }"
        for value in ("1", 1.5, True, [1], {"a": 1}, 2**31, 10**400):
            self.assertEqual(self.code(query, n=value, status=400), "graphql_validation_failed", value)
        query = "mutation($t: String!) { createTodo(title: $t) { id } }"
        for wrong in (None, 5, ["a"], {"a": "b"}):
            self.assertEqual(self.code(query, t=wrong, status=400), "graphql_validation_failed", wrong)
        self.assertEqual(self.data("{ todos { id } }"), {"todos": []})

    def test_one_of_several_operations_is_named(self):
        both = "query a { me { id } } query b { me { username } }"
        response = self.alice.http.post("/graphql", json={"query": both, "operationName": "b"})
        self.assertEqual(response.json(), {"data": {"me": {"username": self.alice.user.username}}})

    def test_other_methods_and_addresses_answer_in_graphqls_shape(self):
        for method in ("GET", "PUT", "PATCH", "DELETE"):
            response = self.alice.http.request(
                method, "/graphql", params={"query": 'mutation { createTodo(title: "x") { id } }'}
            )
            self.assertEqual(self.code_of(response, 405), "method_not_allowed")
        self.assertEqual(self.code_of(self.alice.http.post("/graphql/x", json={}), 404), "not_found")
        self.assertEqual(self.data("{ todos { id } }"), {"todos": []})

    def test_the_schema_is_told_where_documentation_is_on_and_nowhere_else(self):
        html = {"Accept": "text/html"}
        self.assertIn("types", self.data(INTROSPECTION)["__schema"])
        page = self.guest.get("/graphql", headers=html)
        self.assertEqual(page.status_code, 200)
        self.assertIn("default-src 'none'", page.headers["content-security-policy"])
        for outside in ("http://", "https://", "<style", "onclick"):
            self.assertNotIn(outside, page.text.replace("https://ecma-international.org", ""))
        for file in ("css", "js"):
            self.assertEqual(self.guest.get(f"/static/chatservice/graphql.{file}").status_code, 200)
        with running_service(DOCS="false") as service:
            for query in (INTROSPECTION, '{ __type(name: "Query") { name } }'):
                response = self.guest.post(f"{service.url}/graphql", json={"query": query})
                self.assertEqual(response.status_code, 400)
                self.assertEqual(response.json()["errors"][0]["extensions"]["code"], "graphql_validation_failed")
            self.assertEqual(self.guest.get(f"{service.url}/graphql", headers=html).status_code, 405)
            self.assertEqual(
                self.guest.post(f"{service.url}/graphql", json={"query": "{ __typename }"}).status_code, 200
            )
        with running_service(DOCS="false", GRAPHQL_PUBLIC_SCHEMA="true") as service:
            self.assertIn("data", self.guest.post(f"{service.url}/graphql", json={"query": INTROSPECTION}).json())
