"""The rows of the GraphQL dialect: the root fields, and every other field that takes arguments or leads to objects."""

from __future__ import annotations

from typing import Any

from tests.matrix.rows import Admits, Probe, Row, http

EVENT = "{ __typename runId cursor ... on AnswerChunk { text } ... on AnswerComplete { message { id content } } }"
ANSWER = "{ runId conversation { id title } question { id content files { id name } } message { id content } }"
EDGES = "{ edges { cursor node { id } } pageInfo { startCursor endCursor hasNextPage hasPreviousPage } totalCount }"
TALK = "{ id title messages { edges { cursor node { id content siblings { content } run { id } } } } activeRun { id } }"
MESSAGE = (
    "{ id content files { id name } feedback { comment } conversation { id title } parent { id content } "
    "siblings { content } run { id } }"
)
TODO = "{ id title completed conversation { id title } }"
LINK = "{ id path title conversationId messageId }"
HITS = (
    "{ edges { cursor node { snippet message { content } conversation { title } before { id } } } totalCount tookMs }"
)
SAY = 'content: "Let me in"'


def probe(argument: str, document: str, outcome: str = "not_found", *, reaches: bool = True) -> Probe:
    """Try one argument of a document; the placeholders are inside the document."""
    return Probe(f"argument {argument}", body={"query": document}, outcome=outcome, reaches=reaches)


def free(argument: str, document: str) -> Probe:
    """Try an argument that only selects or orders the caller's own objects."""
    return probe(argument, document, "ok", reaches=False)


def row(
    operation: str, *touches: str, probes: tuple[Probe, ...] = (), body: Any = None, harmless: tuple[str, ...] = ()
) -> Row:
    return Row(operation, Admits.GUESTS, touches, probes, {"query": body} if body else None, harmless)


def query(name: str, *touches: str, probes: tuple[Probe, ...] = ()) -> Row:
    return row(f"query {name}", *touches, probes=probes)


def mutation(call: str, selection: str, *touches: str, argument: str = "", more: tuple[Probe, ...] = ()) -> Row:
    """Declare a mutation; `call` has a foreign id in `argument`."""
    document = f"mutation {{ {call} {selection} }}"
    own = document.replace("<", "<own.")
    probes = (probe(argument, document),) if argument else ()
    return row(f"mutation {call.partition('(')[0]}", *touches, probes=(*probes, *more), body=own)


def send(arguments: str) -> str:
    return f"mutation {{ sendMessage({SAY}, {arguments}) {ANSWER} }}"


def answer(arguments: str) -> str:
    return f"subscription {{ answer({SAY}, {arguments}) {EVENT} }}"


def messages(arguments: str) -> str:
    return f'{{ conversation(id: "<own.conversation>") {{ id messages({arguments}) {EDGES} }} }}'


ROOTS = (
    query("me", "user"),
    query("usage", probes=(free("days", "{ usage(days: 7) { day model cost } }"),)),
    query("models"),
    query("defaultModel"),
    query("finishedBlocks", probes=(free("text", '{ finishedBlocks(text: "# <word>") { html lines state } }'),)),
    query(
        "conversations",
        "conversation",
        probes=(
            free("after", f'{{ conversations(after: "<page>") {EDGES} }}'),
            free("before", f'{{ conversations(before: "<page>") {EDGES} }}'),
            free("tag", f'{{ conversations(tag: "<word>") {EDGES} }}'),
        ),
    ),
    query("tags", "conversation"),
    query(
        "conversation",
        "conversation",
        "message",
        "run",
        probes=(probe("id", f'{{ conversation(id: "<conversation>") {TALK} }}', "null"),),
    ),
    query("message", "message", probes=(probe("id", f'{{ message(id: "<message>") {MESSAGE} }}', "null"),)),
    query("run", "run", probes=(probe("id", '{ run(id: "<run>") { id state model } }', "null"),)),
    query(
        "search",
        "message",
        probes=(
            free("query", f'{{ search(query: "<word>", mode: "text") {HITS} }}'),
            free("conversationId", f'{{ search(query: "in", conversationId: "<conversation>") {HITS} }}'),
            probe("after", f'{{ search(query: "<word>", mode: "text", after: "0.<found>") {HITS} }}', "bad_cursor"),
        ),
    ),
    query(
        "todos",
        "todo",
        probes=(
            free("after", f'{{ todos(after: "<todo>") {TODO} }}'),
            free("conversationId", f'{{ todos(conversationId: "<conversation>") {TODO} }}'),
        ),
    ),
    query(
        "sharedLinks",
        *("conversation", "message"),
        probes=(free("conversationId", f'{{ sharedLinks(conversationId: "<conversation>") {LINK} }}'),),
    ),
    query("todo", "todo", "conversation", probes=(probe("id", f'{{ todo(id: "<todo>") {TODO} }}', "null"),)),
)
MUTATIONS = (
    mutation(
        'createTodo(title: "Mine", conversationId: "<conversation>")',
        TODO,
        "todo",
        "conversation",
        argument="conversationId",
    ),
    mutation(
        'updateTodo(id: "<todo>", title: "Mine")',
        TODO,
        "todo",
        "conversation",
        argument="id",
        more=(
            probe(
                "conversationId",
                f'mutation {{ updateTodo(id: "<own.todo>", conversationId: "<conversation>") {TODO} }}',
            ),
        ),
    ),
    mutation('completeTodo(id: "<todo>")', TODO, "todo", argument="id"),
    mutation('deleteTodo(id: "<todo>")', "", "todo", argument="id"),
    mutation('startConversation(title: "Mine")', TALK, "conversation"),
    row(
        "mutation sendMessage",
        *("conversation", "message", "run"),
        probes=(
            probe("conversationId", send('conversationId: "<conversation>"')),
            probe("parentId", send('conversationId: "<own.conversation>", parentId: "<message>"')),
            probe("fileIds", send('fileIds: ["<file>"]'), "file_not_found"),
            free("idempotencyKey", send('idempotencyKey: "<key>"')),
        ),
        body=send('title: "Mine"'),
    ),
    mutation(
        'regenerate(messageId: "<answer>")',
        ANSWER,
        "message",
        "run",
        argument="messageId",
        more=(
            free(
                "idempotencyKey",
                f'mutation {{ regenerate(messageId: "<own.answer>", idempotencyKey: "<key>") {ANSWER} }}',
            ),
        ),
    ),
    mutation(
        'continueAnswer(messageId: "<answer>")',
        ANSWER,
        "message",
        "run",
        argument="messageId",
        more=(
            probe(
                "idempotencyKey",
                f'mutation {{ continueAnswer(messageId: "<own.answer>", idempotencyKey: "<key>") {ANSWER} }}',
                "nothing_to_continue",
                reaches=False,
            ),
        ),
    ),
    mutation(
        'editMessage(id: "<message>", content: "Mine")',
        MESSAGE,
        "message",
        argument="id",
        more=(
            probe(
                "fileIds",
                f'mutation {{ editMessage(id: "<own.message>", content: "Mine", fileIds: ["<file>"]) {MESSAGE} }}',
                "file_not_found",
            ),
        ),
    ),
    mutation('showBranch(messageId: "<message>")', TALK, "conversation", "message", argument="messageId"),
    mutation('stopRun(runId: "<run>")', "{ id state }", "run", argument="runId"),
    mutation('renameConversation(id: "<conversation>", title: "Mine")', TALK, "conversation", argument="id"),
    mutation('archiveConversation(id: "<conversation>")', TALK, "conversation", argument="id"),
    mutation('pinConversation(id: "<conversation>")', TALK, "conversation", argument="id"),
    mutation(
        'setGeneration(id: "<conversation>", generation: {instructions: "Mine"})', TALK, "conversation", argument="id"
    ),
    mutation('setTags(id: "<conversation>", tags: ["mine"])', TALK, "conversation", argument="id"),
    mutation('deleteConversation(id: "<conversation>")', "", "conversation", "message", "run", argument="id"),
    mutation('deleteMessage(id: "<message>")', "", "message", argument="id"),
    mutation(
        'setFeedback(messageId: "<answer>", rating: UP, comment: "Mine")',
        "{ rating comment }",
        "message",
        argument="messageId",
    ),
    mutation('deleteFeedback(messageId: "<answer>")', "", "message", argument="messageId"),
    mutation('shareConversation(messageId: "<answer>")', LINK, "conversation", "message", argument="messageId"),
    mutation('revokeSharedLink(id: "<link>")', "", "conversation", argument="id"),
)
SUBSCRIPTIONS = (
    row(
        "subscription answer",
        *("conversation", "message", "run"),
        probes=(
            probe("conversationId", answer('conversationId: "<conversation>"')),
            probe("parentId", answer('conversationId: "<own.conversation>", parentId: "<message>"')),
            probe("fileIds", answer('fileIds: ["<file>"]'), "file_not_found"),
            free("idempotencyKey", answer('idempotencyKey: "<key>"')),
        ),
    ),
    row(
        "subscription followRun",
        *("message", "run"),
        probes=(
            probe("runId", f'subscription {{ followRun(runId: "<run>") {EVENT} }}'),
            probe(
                "cursor", f'subscription {{ followRun(runId: "<own.run>", cursor: "<cursor>") {EVENT} }}', "bad_cursor"
            ),
        ),
    ),
)
# Fields that lead on from objects already found: they lead only to the same owner's objects.
LEADS_ON = (
    "Answer.conversation", "Answer.message", "Answer.question",
    "AnswerComplete.message", "AnswerError.message", "AnswerStarted.conversation",
    "Conversation.activeRun",
    "ConversationConnection.edges", "ConversationConnection.pageInfo", "ConversationEdge.node",
    "Message.conversation", "Message.feedback", "Message.files", "Message.parent", "Message.reasoning", "Message.run",
    "Message.siblings", "Message.toolCalls",
    "MessageConnection.edges", "MessageConnection.pageInfo", "MessageEdge.node",
    "SearchHit.message", "SearchHit.conversation", "SearchHit.before", "SearchHit.after",
    "SearchHitConnection.edges", "SearchHitConnection.pageInfo", "SearchHitEdge.node",
    "Todo.conversation",
)  # fmt: skip
FIELDS = (
    row(
        "field Conversation.messages",
        "message",
        probes=(
            probe("branch", messages('branch: "<answer>"')),
            probe("after", messages('after: "<hex>"'), "bad_cursor"),
            probe("before", messages('before: "<hex>"'), "bad_cursor"),
        ),
    ),
    *(row(f"field {name}") for name in LEADS_ON),
)
ROWS = (http("POST /graphql", body={"query": "{ me { id } }"}), *ROOTS, *MUTATIONS, *SUBSCRIPTIONS, *FIELDS)
