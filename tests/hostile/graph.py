"""Hostile GraphQL: documents that are malformed, too deep, too wide, or circular, and bodies around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chatservice.dialects import DIALECTS
from tests.hostile.inputs import IDS, JSON, TEXTS, VALUES, Input, encoded
from tests.matrix import operations
from tests.matrix.rows import filled

NEST = "{ conversations { edges { node { messages { edges { node { conversation "


def documents() -> dict[str, str]:
    spreads = "".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }} " for n in range(40))
    return {
        "empty": "",
        "blank": " \n",
        "unclosed": "{ me { id ",
        "closed twice": "{ me { id } } }",
        "NUL": "{ me { id \x00 } }",
        "BOM": "\ufeff{ me { id } }",
        "surrogate": '{ message(id: "\ud800") { id } }',
        "unknown field": "{ password }",
        "unknown argument": "{ me(id: 1) { id } }",
        "typename": "{ " + "__typename " * 900 + "}",
        "20k fields": "{ " + "me { id } " * 20_000 + "}",
        "3000 aliases": "{ " + " ".join(f"a{n}: me {{ id }}" for n in range(3_000)) + " }",
        "16 aliases": "{ " + " ".join(f"a{n}: me {{ id }}" for n in range(16)) + " }",
        "5000 directives": "{ me " + "@include(if: true) " * 5_000 + "{ id } }",
        "unknown directive": "{ me @defer { id } }",
        "deep": NEST + "{ messages { edges { node { conversation { id } } } } } } } } } } } }",
        "very deep": "{ me " * 5_000 + "}" * 5_000,
        "deep list": "{ message(id: " + "[" * 5_000 + "]" * 5_000 + ") { id } }",
        "deep object": "{ todos(first: " + "{a:" * 500 + "1" + "}" * 500 + ") { id } }",
        "circle": "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }",
        "circle of itself": "{ me { ...a } } fragment a on Viewer { id ...a }",
        "doubling fragments": "{ ...f0 } " + spreads + "fragment f40 on Query { me { id } }",
        "unused fragment": "{ me { id } } fragment a on Viewer { id }",
        "fragment of nothing": "{ ...nothing }",
        "fragment on a scalar": "{ me { ...on String { id } } }",
        "introspection": "{ __schema { types { name fields { name type { ofType { ofType { name } } } } } } }",
        "deep introspection": "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }",
        "type": '{ __type(name: "Query") { name } }',
        "two operations": "query a { me { id } } query b { me { id } }",
        "same name twice": "query a { me { id } } query a { me { id } }",
        "only a fragment": "fragment a on Query { me { id } }",
        "a type system": "type Query { x: Int }",
        "a subscription": 'subscription { answer(content: "x") { runId } }',
        "undefined variable": "{ message(id: $x) { id } }",
        "variable of no type": "query($x: Nothing) { me { id } }",
        "variable of a list": "query($x: [ID!]!) { message(id: $x) { id } }",
        "int as id": "{ message(id: 5) { id } }",
        "huge int": "{ conversations(first: 99999999999999999999) { totalCount } }",
        "negative first": "{ conversations(first: -1) { totalCount } }",
        "first and last": "{ conversations(first: 1, last: 1) { totalCount } }",
        "first 51": "{ conversations(first: 51) { totalCount } }",
        "float first": "{ conversations(first: 1.5) { totalCount } }",
        "enum for a text": "mutation { startConversation(title: X) { id } }",
        "object for a text": "mutation { startConversation(title: {a: 1}) { id } }",
        "block text": 'mutation { startConversation(title: """\n' + "x" * 300 + '\n""") { id } }',
        "bad escape": 'mutation { startConversation(title: "\\x") { id } }',
        "NUL escape": 'mutation { startConversation(title: "\\u0000") { id } }',
        "surrogate escape": 'mutation { startConversation(title: "\\ud800") { id } }',
        "long number": "{ conversations(first: " + "9" * 50_000 + ") { totalCount } }",
        "long name": "{ " + "x" * 100_000 + " }",
        "comments": "#" + "x" * 200_000 + "\n{ me { id } }",
        "commas": "{" + "," * 200_000 + " me { id } }",
        "cost": "{ conversations(first: 50) { edges { node { messages(first: 50) { edges { node { id } } } } } } }",
        "bad cursor": '{ conversations(after: "x") { totalCount } }',
        "cursor of another list": '{ conversations(after: "czowOjAwMDA") { totalCount } }',
        "huge cursor": '{ conversations(after: "' + "A" * 5_000 + '") { totalCount } }',
        "same response name": "{ me: todos { id } me { id } }",
        "mutation 100 times": "mutation {" + 'startConversation(title: "x") { id } ' * 100 + "}",
        "16 mutations": "mutation {"
        + " ".join(f'a{n}: startConversation(title: "x") {{ id }}' for n in range(16))
        + "}",
    }


BODIES: dict[str, Any] = {
    "a batch": [{"query": "{ me { id } }"}] * 100,
    "an empty batch": [],
    "no query": {},
    "null query": {"query": None},
    "list query": {"query": ["{ me { id } }"]},
    "object query": {"query": {"a": 1}},
    "list variables": {"query": "{ me { id } }", "variables": [1]},
    "text variables": {"query": "{ me { id } }", "variables": "{}"},
    "numeric name": {"query": "{ me { id } }", "operationName": 5},
    "unknown name": {"query": "{ me { id } }", "operationName": "nothing"},
    "long name": {"query": "{ me { id } }", "operationName": "x" * 100_000},
    "list extensions": {"query": "{ me { id } }", "extensions": []},
    "persisted": {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "x"}}},
    "extra": {"query": "{ me { id } }", "map": {"0": ["variables.file"]}, "operations": "x"},
    "unused variables": {"query": "{ me { id } }", "variables": {f"v{n}": n for n in range(900)}},
}


def graph_inputs(own: Mapping[str, str]) -> Iterator[Input]:
    if "graphql" not in DIALECTS:
        return
    for name, document in documents().items():
        yield _post(name, {"query": document})
    for name, body in BODIES.items():
        yield _post(name, body)
    for name, value in {**VALUES, **TEXTS, **IDS}.items():
        document = 'mutation($v: ID!) { sendMessage(content: "x", fileIds: [$v]) { runId } }'
        yield _post(f"file is {name}", {"query": document, "variables": {"v": value}})
        yield _post(f"id is {name}", {"query": "query($v: ID!) { message(id: $v) { id } }", "variables": {"v": value}})
        document = "mutation($v: String!) { startConversation(title: $v) { id title } }"
        yield _post(f"title is {name}", {"query": document, "variables": {"v": value}})
    for name, value in {**VALUES, **TEXTS}.items():
        document = (
            "query($v: String!, $n: Int) { search(query: $v, first: $n) { totalCount edges { node { snippet } } } }"
        )
        yield _post(f"search for {name}", {"query": document, "variables": {"v": value}})
        yield _post(f"first is {name}", {"query": document, "variables": {"v": "x", "n": value}})
        document = 'mutation($v: Generation) { sendMessage(content: "x", generation: $v) { runId } }'
        yield _post(f"generation is {name}", {"query": document, "variables": {"v": {"temperature": value}}})
    for row in operations.rows():
        if row.kind == "mutation":
            document = filled(row.body["query"], dict.fromkeys(own, "x" * 5_000))
            yield _post(f"{row.operation} with a long id", {"query": document})
    for query in ("?query={me{id}}", "?query=mutation{startConversation(title:%22x%22){id}}", "?variables=x", ""):
        yield Input("by GET", "GET", f"/graphql{query}")
    yield Input("multipart", "POST", "/graphql", {"Content-Type": "multipart/form-data; boundary=x"}, b"--x--")
    yield Input("as GraphQL", "POST", "/graphql", {"Content-Type": "application/graphql"}, b"{ me { id } }")


def _post(name: str, body: Any) -> Input:
    return Input(name, "POST", "/graphql", {"Content-Type": JSON}, encoded(body))
