"""Agents that people run in a terminal: what they send is answered over an upstream with chat completions alone.

The requests have the shape of those that codex-cli 0.171 sends: all of the history each time, `store: false`, tools of
every type, and fields that only their own service knows.
"""

from __future__ import annotations

import json
from typing import Any

import openai

from chatservice.testing import fake_upstream, needs_dialect, tried_once
from tests.clients.openai_case import OpenAITestCase
from tests.clients.test_openai_responses import PIXEL

needs_dialect("openai_v1")

TEXT = {"type": "string"}
THREAD = "01a22737-ada9-7882-a3b6-c93a14e86be8"


def function(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    return {
        "type": "function",
        "name": name,
        "description": f"It can {name}",
        "strict": False,
        "parameters": parameters,
    }


RUN = function("exec_command", cmd=TEXT)
VIEW = function("view_image", path=TEXT)
CLOSE = function("close_agent", target=TEXT) | {"defer_loading": True}
LONG = f"spawn_{50 * 'x'}"
AGENTS = {
    "type": "namespace",
    "name": "multi_agent_v1",
    "description": "Tools for sub-agents.",
    "tools": [CLOSE, function(LONG, target=TEXT)],
}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch hunk+ end_patch"}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": GRAMMAR}
SEARCH = {"type": "web_search", "external_web_access": True}
TOOLS = [RUN, VIEW, AGENTS, PATCH, {"type": "local_shell"}, {"type": "tool_search", "execution": "client"}, SEARCH]


def message(role: str, text: str) -> dict[str, Any]:
    # Its ids are the agent's own.
    part = {"type": "input_text", "text": text}
    return {"type": "message", "id": f"msg_{THREAD}", "role": role, "content": [part]}


def result(call: Any, output: Any) -> dict[str, Any]:
    kinds = {"custom_tool_call": "custom_tool_call_output"}
    return {"type": kinds.get(call["type"], "function_call_output"), "call_id": call["call_id"], "output": output}


BEFORE = [message("developer", "You are a coding agent."), message("user", "<environment_context>…")]


@tried_once
class TerminalAgentTest(OpenAITestCase):
    maxDiff = None

    def turn(self, *items: Any, **fields: Any) -> list[dict[str, Any]]:
        """Send all of a history as the agent does, and return the items of the answer."""
        request: dict[str, Any] = {
            "tools": TOOLS,
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "reasoning": {"summary": "auto", "effort": "low"},
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "prompt_cache_key": THREAD,
            "text": {"verbosity": "low"},
            "service_tier": "priority",
            "extra_body": {
                "client_metadata": {"session_id": THREAD},
                "stream_options": {"reasoning_summary_delivery": "x"},
                "x_unknown": [{"deep": True}],
            },
        }
        events = self.stream([*BEFORE, *items], **{**request, **fields})
        self.assertEqual(events[-1].type, "response.completed")
        done = [event.item.to_dict() for event in events if event.type == "response.output_item.done"]
        self.response = events[-1].response
        self.assertEqual(done, [item.to_dict() for item in self.response.output])
        return done

    def calls(self, *items: Any, **fields: Any) -> list[dict[str, Any]]:
        found = [item for item in self.turn(*items, **fields) if item["type"].endswith("_call")]
        self.assertTrue(all(item["status"] == "completed" for item in found))
        return found

    def sent(self) -> dict[str, Any]:
        """Return what the upstream was sent last."""
        body: dict[str, Any] = fake_upstream().posts[-1].body
        return body

    def test_the_upstream_gets_functions_and_roles_that_all_servers_know(self):
        self.turn(message("user", "Please be brief."))
        sent = self.sent()
        names = [tool["function"]["name"] for tool in sent["tools"]]
        agents = [f"multi_agent_v1__{name}" for name in ("close_agent", LONG)]
        self.assertEqual(names, ["exec_command", "view_image", agents[0], names[3], "apply_patch", "local_shell"])
        self.assertEqual((len(names[3]), names[3][:40]), (64, agents[1][:40]))
        self.assertEqual({tool["type"] for tool in sent["tools"]}, {"function"})
        self.assertIn(GRAMMAR["definition"], sent["tools"][4]["function"]["description"])
        self.assertEqual([each["role"] for each in sent["messages"]], ["system", "user", "user"])
        known = {"model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls"}
        self.assertEqual(sent.keys() - known, {"reasoning_effort", "verbosity"})
        # The response says which tools the model had.
        kinds = [tool.to_dict()["type"] for tool in self.response.tools]
        self.assertEqual(kinds, ["function", "function", "namespace", "custom", "local_shell"])
        self.assertIs(self.response.store, False)

    def test_a_command_is_run_and_its_output_read(self):
        question = message("user", "Exec it")
        items = self.turn(question)
        self.assertEqual([item["type"] for item in items], ["reasoning", "function_call"])
        call = items[1]
        self.assertEqual((call["name"], json.loads(call["arguments"])), ("exec_command", {"cmd": "a cmd"}))
        [_, answer] = self.turn(question, *items, result(call, "Exit code: 0"))
        self.assertEqual(answer["content"][0]["text"], "The tools say: Exit code: 0")

    def test_several_commands_at_once(self):
        question = message("user", "Exec it in Paris and Rome")
        calls = self.calls(question)
        self.assertEqual([json.loads(call["arguments"])["cmd"] for call in calls], ["Paris", "Rome"])
        results = [result(call, f"It is {number}") for number, call in enumerate(calls)]
        [_, answer] = self.turn(question, *calls, *results)
        self.assertEqual(answer["content"][0]["text"], "The tools say: It is 0; It is 1")

    def test_a_call_in_a_namespace_goes_there_and_back(self):
        question = message("user", "Close it")
        [call] = self.calls(question)
        self.assertEqual(
            (call["type"], call["namespace"], call["name"]), ("function_call", AGENTS["name"], "close_agent")
        )
        self.turn(question, call, result(call, "closed"))
        [told] = self.sent()["messages"][3]["tool_calls"]
        self.assertEqual(told["function"], {"name": "multi_agent_v1__close_agent", "arguments": call["arguments"]})
        [call] = self.calls(message("user", "What was spawned?"))
        self.assertEqual((call["namespace"], call["name"]), (AGENTS["name"], LONG))

    def test_a_custom_tool_gets_its_text(self):
        question = message("user", "Patch it")
        [call] = self.calls(question)
        self.assertEqual((call["type"], call["name"], call["input"]), ("custom_tool_call", "apply_patch", "a input"))
        [_, answer] = self.turn(question, call, result(call, "Done!"))
        self.assertEqual(answer["content"][0]["text"], "The tools say: Done!")
        [told] = self.sent()["messages"][3]["tool_calls"]
        self.assertEqual(told["function"], {"name": "apply_patch", "arguments": '{"input": "a input"}'})
        chosen = self.calls(message("user", "Hello"), tool_choice={"type": "custom", "name": "apply_patch"})
        self.assertEqual([call["name"] for call in chosen], ["apply_patch"])

    def test_the_local_shell_runs_a_command(self):
        question = message("user", "Shell!")
        [call] = self.calls(question)
        action = {"type": "exec", "command": ["a command"], "env": {}}
        self.assertEqual((call["type"], call["action"]), ("local_shell_call", action))
        as_documented = {"type": "local_shell_call_output", "id": call["call_id"], "output": "files"}
        for answered in (result(call, "files"), as_documented):
            [_, answer] = self.turn(question, call, answered)
            self.assertEqual(answer["content"][0]["text"], "The tools say: files")
            [told] = self.sent()["messages"][3]["tool_calls"]
            arguments = {"command": ["a command"], "env": {}}
            self.assertEqual(
                (told["function"]["name"], json.loads(told["function"]["arguments"])), ("local_shell", arguments)
            )

    def test_a_picture_that_a_tool_returns_is_seen(self):
        question = message("user", "Show the image")
        calls = self.calls(question)
        shown = [{"type": "input_image", "image_url": PIXEL}]
        [_, answer] = self.turn(question, *calls, *[result(call, shown) for call in calls], tools=[])
        self.assertEqual(answer["content"][0]["text"], "I see 1: image.")
        roles = [each["role"] for each in self.sent()["messages"]]
        self.assertEqual(roles, ["system", "user", "user", "assistant", "tool", "user"])

    def test_what_a_tool_says_unasked_is_told(self):
        goal = {"type": "function_call_output", "name": "goal", "namespace": "agent", "output": "My name is Ada."}
        [_, answer] = self.turn(goal, message("user", "What is my name?"))
        self.assertEqual(answer["content"][0]["text"], "Ada")
        told = self.sent()["messages"][2]
        self.assertEqual([part["text"] for part in told["content"]], ["agent.goal:", "My name is Ada."])
        with self.assertRaises(openai.BadRequestError):
            self.create([{"type": "function_call_output", "output": "Whose?"}])

    def test_the_same_when_responses_are_stored(self):
        for asked, kind in (
            ("Patch it", "custom_tool_call"),
            ("Close it", "function_call"),
            ("Shell!", "local_shell_call"),
        ):
            with self.subTest(kind):
                [call] = self.calls(message("user", asked), store=True)
                first = self.response
                self.assertEqual(call["type"], kind)
                kept = self.checked(self.responses.retrieve(first.id))
                self.assertEqual(kept.to_dict(), first.to_dict())
                again = self.checked_events(self.responses.retrieve(first.id, stream=True))
                self.assertEqual(again[-1].response.to_dict(), first.to_dict())
                continued = self.create([result(call, "done")], tools=TOOLS, previous_response_id=first.id)
                self.assertEqual(continued.output_text, "The tools say: done")
                items = list(self.responses.input_items.list(continued.id))
                self.assertEqual([item.call_id for item in items], [call["call_id"]])
                more = self.create("Hello", previous_response_id=continued.id)
                self.assertEqual(more.output_text, "Hello!")

    def test_the_agents_of_a_socket_warm_it_up(self):
        posts = len(fake_upstream().posts)
        with self.connected() as connection:
            common = {"model": "fake/clever", "store": False, "tools": TOOLS}
            connection.response.create(**common, input=[message("user", "My name is Ada.")], generate=False)
            warm = self.last_of(connection)
            self.assertEqual((warm.status, warm.output, warm.usage.total_tokens), ("completed", [], 0))
            self.assertEqual(len(fake_upstream().posts), posts)
            question = [message("user", "What is my name?")]
            connection.response.create(**common, input=question, previous_response_id=warm.id)
            self.assertEqual(self.last_of(connection).output_text, "Ada")
            self.assertEqual(len(fake_upstream().posts), posts + 1)
