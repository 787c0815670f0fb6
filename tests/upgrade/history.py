"""A history with everything that can be stored, created through the APIs of a running service."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import httpx2

from tests.upgrade.asking import Asker, Question
from tests.upgrade.material import BOATS, CHATGPT, CLAUDE, LINE, MESSAGES, STREAMED, TOOLS, WHOLE
from tests.upgrade.questions import ERASED

PASSWORD = "a made-up password"
REASON = "Ticket 4711, agreed with the owner"
OK = "fake/ok"


class History:
    """Creates the history; keeps in `again` the questions whose answers are stored, so that they can be repeated."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.again: list[Question] = []

    def call(self, who: str, ask: str, body: Any = None) -> Any:
        """Ask, and return the body of the answer, which must be a success."""
        answer = self.asker.ask({"who": who, "ask": ask, "body": body})
        assert answer["status"] < 300, (ask, answer)
        return answer.get("body")

    def call_again(self, who: str, ask: str, body: Any, **headers: str) -> None:
        """Ask a question that can be repeated later without starting a second answer, even if it fails."""
        question = {"who": who, "ask": ask, "body": body, **({"headers": headers} if headers else {})}
        self.asker.ask(question)
        self.again.append(question)

    def graph(self, who: str, document: str) -> Any:
        """Return the only field of a document's result."""
        answer = self.call(who, "POST /graphql", {"query": document})
        assert "errors" not in answer, answer
        return next(iter(answer["data"].values()))

    def say(self, who: str, **frame: Any) -> list[Any]:
        return self.asker.frames("/ws/chat", who, [frame], ("ai_complete", "error"))

    def make(self) -> None:
        self.make_accounts()
        self.talk_v1()
        self.talk_openai()
        self.talk_elsewhere()
        self.talk_as_guest()
        self.import_files()
        self.read_as_staff()
        self.asker.manage("erase_user", ERASED, "--yes")

    # --- Accounts

    def make_accounts(self) -> None:
        for name, *options in (("alice",), ("bob",), ("carol", "--staff"), (ERASED,)):
            self.asker.manage("create_user", name, "--password", PASSWORD, *options)
            printed = self.asker.manage("create_api_key", name, "--label", f"{name}'s laptop")
            self.asker.keys[name] = printed.split()[-1]
        path = "/v1/chat/me/keys"
        self.call("alice", f"POST {path}", {"name": "for long", "expires_at": "2099-01-01T00:00:00Z"})
        lost = self.call("alice", f"POST {path}", {"name": "lost"})["data"]
        self.call("alice", f"DELETE {path}/{lost['id']}")

    # --- The conversation API v1: branches, edits, archived and deleted conversations

    def talk_v1(self) -> None:
        v1, settings = "/v1/chat", {"metadata": {"shelf": "sea", "n": 1}, "model": OK}
        first = {**settings, "title": "Harbours", "content": BOATS}
        begun = self.call("alice", f"POST {v1}/conversations/stream", first)
        conversation, question = begun[0]["data"]["data"].values()
        answer = begun[-2]["data"]["data"]["id"]
        messages = f"{v1}/conversations/{conversation}/messages"
        again = {"content": "And whales?", "model": OK, "temperature": 0.5, "client_message_id": "whales"}
        self.call_again("alice", f"POST {messages}", again)
        self.call("alice", f"POST {v1}/messages/{answer}/regenerate", {"model": OK})
        beside = {"content": "Or gulls?", "parent_id": answer, "model": "fake/reasoning"}
        self.call("alice", f"POST {messages}", beside)
        self.call("alice", f"POST {messages}", {"content": "Where do ships sleep?", "parent_id": None, "model": OK})
        noted = self.call("alice", f"POST {messages}", {"content": "Noted by hand.", "role": "assistant"})
        wrong = {"content": "Wrong.", "role": "system", "parent_id": noted["data"][0]["id"]}
        deleted = self.call("alice", f"POST {messages}", wrong)["data"][0]["id"]
        self.call("alice", f"DELETE {v1}/messages/{deleted}")
        edited = f'editMessage(id: "{question["id"]}", content: "Where do *boats* rest?")'
        self.graph("alice", f"mutation {{ {edited} {{ id }} }}")
        self.graph("alice", f'mutation {{ showBranch(messageId: "{answer}") {{ id }} }}')
        long = self.call("alice", f"POST {v1}/conversations/stream", {"content": "Say much.", "max_tokens": 7})
        cut_off = long[-2]["data"]["data"]["id"]
        self.call("alice", f"POST {v1}/messages/{cut_off}/continue", {})
        for title, change in (("Put away", {"archived": True}), ("Reminded", {"recall": {"limit": 2, "mode": "text"}})):
            empty = {"title": title, "metadata": {"a": {"b": []}}}
            made = f"{v1}/conversations/{self.call('alice', f'POST {v1}/conversations', empty)['data']['id']}"
            self.call("alice", f"PATCH {made}", change)
            self.call("alice", f"POST {made}/messages", {"content": BOATS, "model": OK})
        gone = self.call("alice", f"POST {v1}/conversations", {"title": "Gone"})["data"]["id"]
        self.call("alice", f"POST {v1}/conversations/{gone}/messages", {"content": "Forget the harbour.", "model": OK})
        self.call("alice", f"DELETE {v1}/conversations/{gone}")
        self.call("alice", f"POST {v1}/conversations", {"title": "Nothing yet"})

    # --- OpenAI: every kind of message and of answer

    def talk_openai(self) -> None:
        path = "POST /v1/chat/completions"
        told = {"model": OK, "messages": MESSAGES, "user": "label-1", "metadata": {"topic": "sea"}, "tools": TOOLS}
        answer = self.call("alice", path, told)["choices"][0]["message"]
        more = [*MESSAGES, answer, {"role": "user", "content": [{"type": "text", "text": "Go on."}]}]
        self.call("alice", path, {**told, "messages": more})
        branch = [*MESSAGES[:4], {"role": "user", "content": "Neither of them."}]
        self.call("alice", path, {**told, "messages": branch, "stream": True})
        for behaviour in STREAMED:
            body = {"stream": True, "stream_options": {"include_usage": True}, **self.asked(behaviour)}
            self.call_again("alice", path, body, **{"Idempotency-Key": f"streamed-{behaviour}"})
        for behaviour in WHOLE:
            self.call_again("alice", path, self.asked(behaviour), **{"Idempotency-Key": f"whole-{behaviour}"})
        self.call("alice", path, {**self.asked("ok"), "store": False})
        self.call("bob", path, {"messages": MESSAGES[:5], "model": OK})

    def asked(self, behaviour: str) -> dict[str, Any]:
        return {"model": f"fake/{behaviour}", "messages": [{"role": "user", "content": f"Give {behaviour}."}]}

    # --- The chat API, resources, GraphQL, the websocket

    def talk_elsewhere(self) -> None:
        for who in ("alice", "bob"):
            chat = f"/chat/conversation/{self.call(who, 'GET /chat/conversation')['id']}"
            self.call(who, f"POST {chat}/message", {"content": "What is a buoy?\n\nTell me."})
            self.call(who, f"GET {chat}/stream?model={OK}")
        first = {"user_id": "123", "message": "Name a sea.", "model": OK}
        resource = f"/conversations/{self.call('alice', 'POST /conversations/start', first)['conversation_id']}"
        self.call("alice", f"POST {resource}/message", {"message": "Name another.", "model": OK})
        self.call("alice", f"POST {resource}/messages", {"role": "user", "content": "And one more?"})
        self.call("alice", f"POST {resource}/messages:complete", {"stream": False, "model": "fake/refusal"})
        self.call("alice", f"PATCH {resource}/messages/1", {"content": "Name a lake."})
        fields = 'content: "What floats?", title: "Floating", model: "fake/unknown-fields"'
        about = self.graph("alice", f"mutation {{ sendMessage({fields}) {{ conversation {{ id }} }} }}")["conversation"]
        self.graph("alice", f'mutation {{ createTodo(title: "Buy it", conversationId: "{about["id"]}") {{ id }} }}')
        todo = self.graph("alice", 'mutation { createTodo(title: "Learn to sail") { id } }')
        self.graph("alice", f'mutation {{ completeTodo(id: "{todo["id"]}") {{ id }} }}')
        self.say("alice", type="send", content="What sinks?", model=OK, client_id="sinks")
        self.say("alice", type="send", content="What breaks?", model="fake/error-mid-stream:502")
        stopped = self.begin("alice", "Count the waves.")["message"]["id"]
        self.call("alice", f"POST /v1/chat/messages/{stopped}/cancel")
        self.say("alice", type="continue", message_id=stopped, model=OK)
        for who in ("bob", ERASED):
            self.say(who, type="send", content=f"Here is {who} in the harbour.", model=OK)

    def begin(self, who: str, content: str) -> Any:
        """Start a long answer, and wait for its first words."""
        fields = f'content: "{content}", model: "fake/slow:100ms:500", wait: false'
        begun = self.graph(who, f"mutation {{ sendMessage({fields}) {{ runId message {{ id }} }} }}")
        self.asker.frames("/ws/chat", who, [{"type": "subscribe", "run_id": begun["runId"]}], ("ai_chunk",))
        return begun

    def talk_as_guest(self) -> None:
        self.call("guest", "POST /users", {"username": "zoe", "password": PASSWORD})
        made = self.call("guest", "POST /conversations", {"title": "Zoe's", "user_id": "zoe"})["id"]
        self.call("guest", f"POST /conversations/{made}/message", {"message": "A guest at the harbour.", "model": OK})
        self.say("guest", type="send", content="Another guest.", model=OK)
        self.graph("guest", 'mutation { createTodo(title: "Come back") { id } }')

    # --- Imported history, and reading by staff

    def import_files(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            files = {"chatgpt.json": [CHATGPT], "claude.json": [CLAUDE], "lines.jsonl": LINE}
            paths = [Path(directory, name) for name in files]
            for path in paths:
                path.write_text(f"{json.dumps(files[path.name])}\n")
            self.asker.manage("import_history", *map(str, paths), "--user", "bob", "--no-progress")

    def read_as_staff(self) -> None:
        """Read in the admin: two transcripts of each owner, a search and an export."""
        listed = "/admin/conversations/conversation/"
        with httpx2.Client(base_url=self.asker.url, timeout=30, trust_env=False, follow_redirects=True) as browser:

            def post(path: str, *, form: str = "", **fields: str) -> str:
                page = browser.get(form or path).text
                token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[0]
                headers = {"Origin": self.asker.url, "Referer": f"{self.asker.url}{path}"}
                response = browser.post(path, data={**fields, "csrfmiddlewaretoken": token}, headers=headers)
                assert response.status_code == 200, (path, response.text)
                return response.text

            post("/admin/login/?next=/admin/", username="carol", password=PASSWORD)
            for who in ("alice", "bob", ERASED):
                owned = self.graph(who, "{ conversations(first: 2) { edges { node { id } } } }")["edges"]
                for each in owned:
                    assert "Read-only" in post(f"{listed}{each['node']['id']}/change/", reason=f"{REASON} {who}")
            post(f"{listed}?q=lighthouse", content_search="1", reason=REASON)
            chosen = {"_selected_action": owned[0]["node"]["id"], "action": "export_selected"}
            post(listed, **chosen, format="jsonl", reason=REASON)
            post("/admin/logout/", form="/admin/")
