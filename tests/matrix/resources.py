"""The rows of the resources dialect."""

from __future__ import annotations

from dataclasses import replace

from tests.matrix.rows import Probe, Row, http, idempotency

TALK = "/conversations/{conversation}"
OWN = "/conversations/<own.conversation>"
OWN_MESSAGE = f"{OWN}/messages/<own.number>"
SAID = {"role": "user", "content": "Let me in"}
ASKED = {"message": "Let me in"}
TITLE = {"title": "Mine now"}
START = {"user_id": "123", "message": "Let me in"}
ACCOUNT = {"username": "<fresh>", "password": "let me in please"}
CURSORS = (
    Probe("header Last-Event-ID", "/runs/<own.run>/stream", headers={"Last-Event-ID": "<cursor>"}, outcome="400"),
    Probe("query after", "/runs/<own.run>/stream?after=<cursor>", outcome="400"),
)
SEARCHES = (
    Probe("query q", "/search?mode=text&q=<word>", outcome="200", reaches=False),
    Probe("query conversation_id", "/search?q=in&conversation_id=<conversation>", outcome="200", reaches=False),
    Probe("query cursor", "/search?mode=text&q=<word>&cursor=<found>", outcome="400"),
)


def files(path: str, body: dict[str, str]) -> Probe:
    """Attach somebody's file to a message of the caller's own."""
    return Probe("body file_ids", path, {**body, "file_ids": ["<file>"]}, outcome="400")


def account(operation: str, body: dict[str, str] | None = None, *touches: str) -> Row:
    """Declare an operation on an account, which is found by its id and by its name."""
    by_name = Probe("path username", operation.partition(" ")[2].replace("{user}", "<username>"), body)
    return http(operation, "user", *touches, body=body, more=(by_name,))


def label(path: str, body: dict[str, str], outcome: str) -> Probe:
    """Put somebody's id into `user_id`, which is only a label and never identifies the caller."""
    return Probe("body user_id", path, {**body, "user_id": "<user>"}, outcome=outcome, reaches=False)


ROWS = (
    http("GET /users", "user"),
    http("POST /users", "user", body=ACCOUNT),
    account("GET /users/{user}"),
    account("PUT /users/{user}", ACCOUNT),
    account("PATCH /users/{user}", {"username": "<fresh>"}),
    replace(
        account("DELETE /users/{user}", {"username": "<username>"}, "conversation", "message", "run"),
        body={"username": "somebody else"},  # the body does not confirm it, because later probes still need the account
    ),
    account("GET /users/{user}/conversations", None, "conversation"),
    http("GET /conversations", "conversation"),
    http("POST /conversations", "conversation", body=TITLE, more=(label("/conversations", TITLE, "201"),)),
    http(
        "POST /conversations/start",
        *("conversation", "message", "run"),
        body=START,
        more=(
            label("/conversations/start", START, "200"),
            files("/conversations/start", START),
            *idempotency("/conversations/start", START),
        ),
    ),
    http(f"GET {TALK}", "conversation", "message"),
    # No account can be changed: somebody else's id gets the same error as an unknown one.
    http(
        f"PUT {TALK}",
        "conversation",
        body=TITLE,
        more=(Probe("body user_id", OWN, {**TITLE, "user_id": "<user>"}, outcome="400"),),
    ),
    http(
        f"PATCH {TALK}",
        "conversation",
        body=TITLE,
        more=(Probe("body user_id", OWN, {"user_id": "<user>"}, outcome="400"),),
    ),
    http(f"DELETE {TALK}", "conversation", "message", "run"),
    http(
        f"POST {TALK}/message",
        *("message", "run"),
        body=ASKED,
        more=(files(f"{OWN}/message", ASKED), *idempotency(f"{OWN}/message", ASKED)),
    ),
    http(
        f"POST {TALK}/messages:complete",
        *("message", "run"),
        body={"stream": False},
        # The caller's own conversation has no pending question, whatever the key.
        more=(*idempotency(f"{OWN}/messages:complete", {"stream": False}, "409"),),
    ),
    http(f"GET {TALK}/messages", "message"),
    http(f"POST {TALK}/messages", "message", body=SAID, more=(files(f"{OWN}/messages", SAID),)),
    # A message's number counts within its conversation, so it identifies nothing by itself.
    http(f"GET {TALK}/messages/{{number}}", "message"),
    http(f"PUT {TALK}/messages/{{number}}", "message", body=SAID, more=(files(OWN_MESSAGE, SAID),)),
    http(
        f"PATCH {TALK}/messages/{{number}}",
        "message",
        body={"content": "Let me in"},
        more=(files(OWN_MESSAGE, {"content": "Let me in"}),),
    ),
    http(f"DELETE {TALK}/messages/{{number}}", "message"),
    http("GET /runs/{run}", "run"),
    http("GET /runs/{run}/stream", "message", "run", more=CURSORS),
    http("POST /runs/{run}/cancel", "run"),
    http("GET /search", "message", "conversation", more=SEARCHES),
)
