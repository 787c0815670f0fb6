"""What people build agents with: OpenAI's Agents SDK, LangChain, OpenAI's JavaScript library, the AI SDK."""

from __future__ import annotations

from chatservice.testing import tried_once
from tests.clients.case import ClientTestCase, needs_clients

needs_clients()

RAIN = "The tools say: It rains in Paris; It rains in London"
ADA = {"name": "Ada", "age": 41}


@tried_once
class FrameworksTest(ClientTestCase):
    maxDiff = None

    def test_the_agents_sdk(self):
        said = self.run_python("agents_sdk.py")
        self.assertEqual(
            said,
            {
                "tool": RAIN,
                "session": "Ada",
                "deltas": "Ada",
                "streamed tool": f"{RAIN}; It rains in Rome",
                "items": ["tool_call_item", "tool_call_output_item", "message_output_item"],
                "chained": ["Hello!", "Ada"],
                "socket": "The tools say: It rains in Rome",
                "conversation": [
                    RAIN,
                    "Ada",
                    ["message", *2 * ["function_call"], *2 * ["function_call_output"], *3 * ["message"]],
                    ["message", "message"],
                    "assistant",
                    7,
                    "Ada",
                ],
                "typed": ADA,
                "handoff": ["Weather", 'The tools say: {"assistant": "Weather"}'],
                "requests": 2,
            },
        )

    def test_langchain(self):
        said = self.run_python("langchain.py")
        self.assertEqual(
            said,
            {
                "text": "51",
                "usage": True,
                "id": "resp",
                "continued": "Ada",
                "streamed": "1 2 3 4 5",
                "calls": [["get_weather", {"city": "Paris"}], ["get_weather", {"city": "London"}]],
                "results": RAIN,
                "streamed calls": [["get_weather", {"city": "Rome"}]],
                "typed": ADA,
                "reasoning": ["reasoning", "text"],
                "after reasoning": "4",
                "kept": "Byron",
            },
        )

    def test_openais_javascript_library(self):
        said = self.run_node("openai_node.mjs")
        types = said.pop("types")
        self.assertEqual((types[0], types[-1]), ("response.created", "response.completed"))
        self.assertEqual(
            said,
            {
                "text": "51",
                "continued": "Ada",
                "streamed": "1 2 3 4 5",
                "helper": "1 2 3 4 5",
                "parsed": ADA,
                "call": ["get_weather", {"city": "Paris"}],
                "result": "The tools say: rain",
                "retrieved": "51",
                "items": ["user"],
                "tokens": True,
                "compacted": "compaction",
                "resumed": [5, "1 2 3 4 5 6 7 8 9"],
                "cancelled": "cancelled",
                "deleted": ["NotFoundError", 404],
            },
        )

    def test_the_state_apis_of_openais_javascript_library(self):
        said = self.run_node("openai_node_state.mjs")
        self.assertEqual(
            said,
            {
                "answered": ["Ada", "1 2 3 4 5"],
                "conversation": [True, "people"],
                "items": ["user", "user", "assistant", "user", "assistant", "function_call", "function_call_output"],
                "paged": 7,
                "item": "My name is Ada.",
                "left": 6,
                "gone": ["NotFoundError", 404],
                "stored": ["51", "sums"],
                "updated": "numbers",
                "listed": [True, 0],
                "messages": ["What is 17 * 3?"],
                "deleted": [True, "NotFoundError"],
                "file": ["whales.txt", "user_data", 24],
                "content": "Whales sleep in the sea.",
                "files": [True, True],
            },
        )

    def test_the_ai_sdk(self):
        said = self.run_node("ai_sdk.mjs")
        self.assertEqual(
            said,
            {
                "text": "51",
                "usage": True,
                "finish": "stop",
                "continued": "Ada",
                "streamed": "1 2 3 4 5",
                "tool": RAIN,
                "steps": 2,
                "streamedTool": RAIN,
                "stateless": RAIN,
                "object": ADA,
                "picture": "I see 1: image.",
            },
        )
