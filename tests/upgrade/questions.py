"""The questions about a history: everything that can be read, by its owners and by everybody else."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.upgrade.asking import Asker, Question, Record

RUN = "id state model finishReason usage recalled errorCode createdAt finishedAt"
MESSAGE = (
    "id role content parts author model status finishReason usage position parentId createdAt html versions "
    f"siblings(first: 5) {{ id }} run {{ {RUN} }}"
)
CONVERSATION = (
    "id title endUser metadata archived createdAt updatedAt activeRun { id } "
    f"messages(first: 50) {{ totalCount edges {{ cursor node {{ {MESSAGE} }} }} }}"
)
HITS = (
    "asked mode why totalCount pageInfo { hasNextPage } edges { cursor node { branch snippet highlights score "
    "textScore semanticScore matched message { id } conversation { id } before { id } after { id } } }"
)
FOLLOWED = (
    "runId cursor ... on AnswerStarted { conversationId messageId } ... on AnswerChunk { text } ... on AnswerComplete "
    "{ message { id content parts } } ... on AnswerError { code reason retryAfter message { id } }"
)
LISTS = (
    "{ me { id username isGuest isStaff } models defaultModel }",
    "{ conversations(first: 50, archived: null) { totalCount edges { cursor node { id title archived updatedAt } } } }",
    "{ conversations(first: 2) { totalCount pageInfo { hasNextPage endCursor } edges { node { id } } } }",
    "{ todos { id title completed createdAt conversation { id } } }",
    f'{{ search(query: "harbour", first: 3) {{ {HITS} }} }}',
    f'{{ search(query: "harbour", archived: true, first: 2) {{ {HITS} }} }}',
)
PATHS = (
    *("/v1/chat/me", "/v1/chat/me/export", "/v1/chat/me/keys", "/v1/chat/me/usage?days=366", "/v1/chat/looks"),
    *("/v1/chat/conversations", "/v1/chat/conversations?archived=true"),
    *("/v1/chat/conversations?page=2&limit=3", "/v1/models", "/v1/models/echo"),
    *("/users", "/users/alice", "/users/zoe", "/users/alice/conversations", "/users/zoe/conversations"),
    *("/users/123/conversations", "/conversations", "/conversations?limit=2&page=2"),
)
SEARCHES = ("q=harbour&mode=text", "q=where+do+boats+sleep&mode=semantic", "q=whale+lighthouse", "q=42&role=tool")
SEARCH_PATHS = ("/v1/chat/search", "/search")
EXPORTS = ("chatgpt", "markdown", "jsonl")
ERASED = "dave"
# The number of recorded answers per kind (1 for other users), and the maximum length of an answer in characters.
MOST = {"alice": 3, "bob": 2}
LARGEST = 25_000
UNAUTHORIZED = 401
REFUSED = (UNAUTHORIZED, 404)
# The parts that differ between questions of one kind: ids, numbers of messages, usernames in commands.
VALUES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|/\d+\b|--user \w+")


@dataclass(slots=True)
class Things:
    """What somebody owns: ids of conversations and to-dos; messages and runs with the rest of their addresses."""

    conversations: list[str] = field(default_factory=list)
    messages: list[tuple[str, str, int]] = field(default_factory=list)
    runs: list[tuple[str, str, bool]] = field(default_factory=list)
    todos: list[str] = field(default_factory=list)

    def first(self) -> Things:
        """Return one thing of each kind, for callers who may not see any."""
        return Things(self.conversations[:1], self.messages[:1], self.runs[:1], self.todos[:1])


def things_of(asker: Asker, who: str) -> Things:
    """Return what a user owns, from the account's export; what guests own, from their lists."""
    things = Things()
    if who in asker.keys:
        told = asker.ask({"who": who, "ask": "GET /v1/chat/me/export"})["body"]
        rows = [(each["model"], each["row"]) for each in told]
        answered = {row["run_id"] for model, row in rows if model == "completions.chunk" and row["end"]}
        for model, row in rows:
            match model:
                case "conversations.conversation":
                    things.conversations.append(row["id"])
                case "conversations.message":
                    things.messages.append((row["id"], row["conversation_id"], row["position"]))
                case "completions.run":
                    things.runs.append((row["id"], row["conversation_id"], row["id"] in answered))
                case "conversations.todo":
                    things.todos.append(row["id"])
        return things
    nodes = "edges { node { id messages(first: 10) { edges { node { id position run { id } } } } } }"
    document = f"{{ conversations(first: 10) {{ {nodes} }} todos {{ id }} }}"
    found = asker.ask({"who": who, "ask": "POST /graphql", "body": {"query": document}})["body"]["data"]
    things.todos = [each["id"] for each in found["todos"]]
    for edge in found["conversations"]["edges"]:
        conversation = edge["node"]["id"]
        things.conversations.append(conversation)
        for each in (edge["node"] for edge in edge["node"]["messages"]["edges"]):
            things.messages.append((each["id"], conversation, each["position"]))
            if each["run"]:
                things.runs.append((each["run"]["id"], conversation, True))
    return things


def questions(asker: Asker) -> Iterator[Question]:
    """Yield all questions that change nothing."""
    everybody = (*asker.keys, "guest")
    things = {name: things_of(asker, name) for name in everybody if name != ERASED}
    for who in everybody:
        yield from gets(who, *PATHS, *(f"{path}?{query}&limit=3" for query in SEARCHES for path in SEARCH_PATHS))
        yield from graphs(who, *LISTS)
        for owner, owned in things.items():
            yield from about(who, owned if who == owner else owned.first())
    for name in things:
        if name != "guest":
            yield from ({"ask": f"manage.py export_history --user {name} --format {kind}"} for kind in EXPORTS)
    yield {"ask": "manage.py export_user carol"}
    yield {"ask": "manage.py search_history harbour --user alice --mode text"}


def gets(who: str, *paths: str) -> Iterator[Question]:
    yield from ({"who": who, "ask": f"GET {path}"} for path in paths)


def graphs(who: str, *documents: str) -> Iterator[Question]:
    yield from ({"who": who, "ask": "POST /graphql", "body": {"query": document}} for document in documents)


def about(who: str, things: Things) -> Iterator[Question]:
    """Yield the questions about each single thing, by every API."""
    for pk in things.conversations:
        for path in (f"/v1/chat/conversations/{pk}", f"/chat/conversation/{pk}", f"/conversations/{pk}"):
            yield from gets(who, path, f"{path}/messages")
        yield from graphs(who, f'{{ conversation(id: "{pk}") {{ {CONVERSATION} }} }}')
        yield {"who": who, "ask": "websocket", "body": {"type": "subscribe", "conversation_id": pk}}
    for pk, conversation, number in things.messages:
        yield from gets(who, f"/v1/chat/messages/{pk}", f"/conversations/{conversation}/messages/{number}")
        yield from graphs(who, f'{{ message(id: "{pk}") {{ {MESSAGE} }} }}')
    for pk, conversation, answered in things.runs:
        start, middle = (f"{pk.replace('-', '')}.{place}" for place in ("0.0", "1.3"))
        yield from gets(who, f"/runs/{pk}", f"/runs/{pk}/stream", f"/runs/{pk}/stream?after={middle}")
        yield from gets(who, f"/v1/chat/runs/{pk}/stream")
        if answered:  # this API would ask the model again for an answer without text
            yield from gets(who, f"/chat/conversation/{conversation}/stream?after={start}")
        yield from graphs(who, f'{{ run(id: "{pk}") {{ {RUN} }} }}')
        for cursor in ({}, {"cursor": middle}):
            yield {"who": who, "ask": "websocket", "body": {"type": "subscribe", "run_id": pk, **cursor}}
        document = f'subscription {{ followRun(runId: "{pk}") {{ {FOLLOWED} }} }}'
        yield {"who": who, "ask": "subscription", "body": {"query": document}}
    yield from graphs(who, *(f'{{ todo(id: "{pk}") {{ id title conversation {{ id }} }} }}' for pk in things.todos))


def order_of(record: Record) -> tuple[str, str, str]:
    """Return the sort key of records: who asked what."""
    told = json.dumps([record.get("body"), record.get("headers")], sort_keys=True)
    return record.get("who", ""), record["ask"], told


def some_of(records: list[Record]) -> list[Record]:
    """Return some questions of each kind, with short and long answers: people read these files.

    All questions with an Idempotency-Key are kept; of refusals and commands one per kind is enough.
    """
    kinds: dict[str, list[tuple[int, Record]]] = defaultdict(list)
    for record in records:
        size = len(json.dumps(record["answer"]))
        if size <= LARGEST:
            kinds[kind_of(record)].append((size, record))
    chosen: list[Record] = []
    for found in kinds.values():
        found.sort(key=lambda each: each[0])
        first = found[0][1]
        count = 1 if status_of(first) in REFUSED else min(len(found), MOST.get(first.get("who", ""), 1))
        chosen += [found[-1 - place * len(found) // count][1] for place in range(count)]
    return sorted(chosen, key=order_of)


def kind_of(record: Record) -> str:
    """Return what questions of one kind have in common, including their answers' status."""
    body, status = record.get("body") or {}, status_of(record)
    asked = body.get("query") or record.get("headers") or body.get("client_message_id") or list(body)
    who = "" if status == UNAUTHORIZED else record.get("who", "")
    return f"{who} {status} {VALUES.sub('', record['ask'])} {VALUES.sub('', str(asked))}"


def status_of(record: Record) -> int:
    """Return the status of an answer over HTTP."""
    return record["answer"]["status"] if isinstance(record["answer"], dict) else 0
