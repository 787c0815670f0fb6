"""Send every request printed in the five API documents to a running service, and report the result of each.

python -m scripts.replay_documents [URL] [--key cb_...]

Only host, port, ids and keys are replaced. Needs `requests` for the printed Python client and node for the
JavaScript one. Exits with 1 when a call fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.parse
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from scripts import documents as printed
from scripts.replaying import Answer, Sender, has, need


class Replay(Sender):
    """Replays the calls of each document, one after the other."""

    # --- the browser API

    def chat(self) -> None:
        conversation = ""
        for command, status, names in printed.BROWSER_CALLS:
            words = shlex.split(command.replace("\\\n", " "))
            method = words[words.index("-X") + 1] if "-X" in words else "GET"
            headers = dict(words[at + 1].split(": ") for at, word in enumerate(words) if word == "-H")
            body = words[words.index("-d") + 1] if "-d" in words else None
            address = next(word for word in words if word.startswith("http://"))
            path = urllib.parse.urlsplit(address).path.replace("12345", conversation)
            check = spoke if path.endswith("/stream") else answered(*names)
            answer = self.call("0-chat", method, path, body, status=status, headers=headers, check=check)
            if not conversation and answer.status == 200:
                conversation = answer.json["id"]

    # --- the conversation API v1

    def v1(self) -> None:
        base, key = printed.V1_BASE, {"Authorization": f"Bearer {self.key}"}

        def call(method: str, path: str, body: str | None = None, status: int = 200, check: Any = None) -> Answer:
            return self.call("1-v1", method, base + path, body, status=status, headers=key, check=check or succeeded)

        def succeeded(answer: Answer) -> None:
            has(answer.json, "success", "data")
            need(answer.json["success"] is True, "no success")

        def kinds(*wanted: str) -> Callable[[Answer], None]:
            def check(answer: Answer) -> None:
                *events, last = answer.events
                need(last == "[DONE]", "no [DONE]")
                found = list(dict.fromkeys(json.loads(event)["type"] for event in events))
                need(found == list(wanted), f"events {found}")

            return check

        def created(answer: Answer) -> None:
            has(answer.json["data"], "id", "title", "user_id", "created_at", "updated_at")
            need(answer.json["message"] == "Conversation created successfully", "another message")

        made = call("POST", "/conversations", printed.V1_CREATE, 201, created)
        talk = f"/conversations/{made.json['data']['id']}"
        call(
            "GET",
            "/conversations",
            check=lambda answer: has(answer.json["meta"], "total", "page", "limit", "totalPages"),
        )
        call("GET", "/conversations?page=1&limit=10")
        call("GET", talk)
        both = call("POST", f"{talk}/messages", printed.V1_MESSAGE, 201, pair)
        call(
            "POST",
            f"{talk}/messages/stream",
            printed.V1_MESSAGE,
            check=kinds("user_message", "ai_chunk", "ai_complete"),
        )
        opened = kinds("conversation_created", "ai_chunk", "ai_complete")
        call("POST", "/conversations/stream", printed.V1_START, check=opened)
        call("GET", f"{talk}/messages")
        message = both.json["data"][0]["id"]
        call("GET", f"/messages/{message}")
        call("DELETE", f"/messages/{message}")
        call("DELETE", talk)

    # --- the OpenAI-compatible API, with its GraphQL section

    def openai(self) -> None:
        key = {"Authorization": "beareryour_api_key_here".replace("your_api_key_here", self.key)}
        path = "/v1/chat/completions"
        self.call(
            "2-openai", "GET", "/docs", check=lambda answer: need(b"swagger" in answer.body.lower(), "no Swagger")
        )
        completed = lambda answer: has(answer.json["choices"], "index", "message", "finish_reason")  # noqa: E731
        self.call("2-openai", "POST", path, printed.OPENAI_BODY, headers=key, check=completed)

        def chunks(answer: Answer) -> None:
            need(answer.events[-1] == "[DONE]", "no [DONE]")
            has([json.loads(event) for event in answer.events[:-1]], "id", "object", "choices")

        self.call("2-openai", "POST", path, printed.OPENAI_BODY.replace("false", "true"), headers=key, check=chunks)
        self.client("the printed Python client", [sys.executable], printed.OPENAI_PYTHON, ".py", self.python_went_well)
        if node := shutil.which("node"):
            self.client("the printed JavaScript client", [node], printed.OPENAI_JAVASCRIPT, ".js", javascript_went_well)
        elif os.environ.get("CI"):
            self.tell("2-openai", "the printed JavaScript client", "-", "needs node")
        else:
            self.say("SKIP  2-openai     the printed JavaScript client: needs node")
        self.graphql()

    def graphql(self) -> None:
        key = {"Authorization": f"Bearer {self.key}"}
        for name, document in (("createTodo", printed.OPENAI_MUTATION), ("todos", printed.OPENAI_QUERY)):

            def check(answer: Answer, name: str = name) -> None:
                need("errors" not in answer.json, str(answer.json.get("errors")))
                found = answer.json["data"][name]
                has(found, "id", "title", "completed", "createdAt")
                need("Test Todo" in str(found), "no Test Todo")

            self.call("2-openai", "POST", "/graphql", json.dumps({"query": document}), headers=key, check=check)

    @staticmethod
    def python_went_well(done: subprocess.CompletedProcess) -> None:
        """The printed client crashes with its own JSONDecodeError at `[DONE]`, so only the text it prints counts."""
        need(done.stdout.strip(), f"printed nothing: {done.stderr[-300:]}")
        own = re.search(r"json\.loads\(decoded_line\[6:\]\)", done.stderr) and "JSONDecodeError" in done.stderr
        need(done.returncode == 0 or own, done.stderr[-300:])

    # --- the assistant API

    def assistant(self) -> None:
        started = self.call(
            "3-assistant",
            "POST",
            "/conversations/start",
            printed.ASSISTANT_START,
            check=answered("conversation_id", "reply"),
        )
        talk = f"/conversations/{started.json['conversation_id']}"
        self.call("3-assistant", "POST", f"{talk}/message", printed.ASSISTANT_MESSAGE, check=answered("reply"))

        def history(answer: Answer) -> None:
            has(answer.json, "conversation_id", "messages")
            roles = [message["role"] for message in answer.json["messages"]]
            need(roles == ["user", "assistant"] * 2, f"roles {roles}")

        self.call("3-assistant", "GET", talk, check=history)
        self.call("3-assistant", "GET", "/docs")

    # --- the resources API

    def resources(self) -> None:
        name = f"reader-{uuid.uuid4().hex[:8]}"

        def call(text: str, *, status: int = 200, check: Any, **values: str) -> Answer:
            """Send a printed block after replacing the `<words>` in it and the `:names` in its address."""
            head, _, body = text.partition("\n\n")
            line, *lines = head.split("\n")
            method, address = line.split(" ")
            path = re.sub(
                r":(username|userId|conversationId)",
                lambda match: values[match[1]],
                urllib.parse.urlsplit(address).path,
            )
            given = iter(values.values())
            body = re.sub(r"<[^>]+>", lambda match: json.dumps(next(given)), body)
            headers = dict(each.split(": ") for each in lines)
            return self.call("4-resources", method, path, body or None, status=status, headers=headers, check=check)

        def masked(answer: Answer) -> None:
            has(answer.json, "id", "username", "password")
            need(answer.json["password"] != SECRET, "the password came back")

        user = call(printed.RESOURCES_USER, status=201, check=masked, username=name, password=SECRET)
        pk = str(user.json["id"])
        call(printed.RESOURCES_GET_USER, check=answered("id", "username"), username=name)
        made = call(
            printed.RESOURCES_CREATE, status=201, check=answered("id", "title", "user_id"), title="Blagues", user=pk
        )
        talk = str(made.json["id"])
        call(printed.RESOURCES_TALKS, check=listed("conversation_id", "title", "user_id"), userId=pk)
        said = json.dumps({"role": "user", "content": "Raconte une blague"})
        self.call("4-resources", "POST", f"/conversations/{talk}/messages", said, status=201, check=answered("id"))
        call(
            printed.RESOURCES_COMPLETE,
            check=lambda answer: has(answer.json["choices"], *CHOICE, "message"),
            conversationId=talk,
        )
        self.call("4-resources", "POST", f"/conversations/{talk}/messages", said, status=201, check=answered("id"))

        def streamed(answer: Answer) -> None:
            *events, last = answer.events
            need(last == "[DONE]", "no [DONE]")
            has([json.loads(event)["choices"][0] for event in events], *CHOICE, "delta")

        call(printed.RESOURCES_STREAM, check=streamed, conversationId=talk)
        call(printed.RESOURCES_MESSAGES, check=listed("id", "role", "content"), conversationId=talk)


SECRET = "correct horse battery"  # noqa: S105  of an account that this script makes
CHOICE = ("finish_reason", "index")


def spoke(answer: Answer) -> None:
    need("".join(answer.events), "nothing said")


def pair(answer: Answer) -> None:
    roles = [message["role"] for message in answer.json["data"]]
    need(roles == ["user", "assistant"], f"roles {roles}")


def answered(*names: str) -> Callable[[Answer], None]:
    return lambda answer: has(answer.json, *names)


def listed(*names: str) -> Callable[[Answer], None]:
    def check(answer: Answer) -> None:
        need(isinstance(answer.json, list) and answer.json, "no list")
        has(answer.json, *names)

    return check


def javascript_went_well(done: subprocess.CompletedProcess) -> None:
    need(done.returncode == 0 and done.stdout.strip(), done.stderr[-300:] or "printed nothing")


DOCUMENTS: dict[str, Callable[[Replay], None]] = {
    "0-chat": Replay.chat,
    "1-v1": Replay.v1,
    "2-openai": Replay.openai,
    "3-assistant": Replay.assistant,
    "4-resources": Replay.resources,
}


def replay(url: str, key: str, names: Iterable[str] = DOCUMENTS, say: Callable[[str], None] = print) -> Replay:
    """Send the calls of these documents; if a document cannot be continued, all of it counts as failed."""
    run = Replay(url, key, say)
    for name in names:
        try:
            DOCUMENTS[name](run)
        except Exception as error:
            run.tell(name, "the rest of the document", "-", f"{type(error).__name__}: {error}")
    say(f"{run.calls - run.failures} of {run.calls} calls passed")
    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000")
    parser.add_argument("--key", default=os.environ.get("CHAT_API_KEY", ""), help="or CHAT_API_KEY")
    given = parser.parse_args()
    return 1 if replay(given.url, given.key).failures else 0


if __name__ == "__main__":
    sys.exit(main())
