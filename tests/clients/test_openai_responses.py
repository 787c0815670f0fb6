"""OpenAI's Python library creates responses: whole, streamed, parsed, with tools, with reasoning, with pictures."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai

from chatservice.testing import needs_dialect, tried_once
from tests.clients.case import MODEL
from tests.clients.openai_case import TIME, WEATHER, OpenAITestCase, Scientist

needs_dialect("openai_v1")

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAE"
    "hQGAhKmMIQAAAABJRU5ErkJggg=="
)


@tried_once
class ToolsTest(OpenAITestCase):
    def test_a_call_goes_there_and_its_result_comes_back(self):
        question = {"role": "user", "content": "What is the weather in Paris?"}
        first = self.create([question], tools=[WEATHER])
        [call] = first.output
        self.assertEqual(
            (call.type, call.name, json.loads(call.arguments)), ("function_call", "get_weather", {"city": "Paris"})
        )
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees, rain"}
        continued = self.create([result], tools=[WEATHER], previous_response_id=first.id)
        self.assertEqual(continued.output_text, "The tools say: 18 degrees, rain")
        resent = self.create([question, call, result], tools=[WEATHER], store=False)
        self.assertEqual(resent.output_text, continued.output_text)

    def test_several_calls_at_once(self):
        asked = "What is the weather and the time in Tokyo?"
        both = self.create(asked, tools=[WEATHER, TIME])
        self.assertEqual([item.name for item in both.output], ["get_weather", "get_time"])
        self.assertEqual(len({item.call_id for item in both.output}), 2)
        results = [
            {"type": "function_call_output", "call_id": item.call_id, "output": f"result of {item.name}"}
            for item in both.output
        ]
        answer = self.create(results, tools=[WEATHER, TIME], previous_response_id=both.id)
        self.assertEqual(answer.output_text, "The tools say: result of get_weather; result of get_time")
        one = self.create(asked, tools=[WEATHER, TIME], parallel_tool_calls=False)
        self.assertEqual([item.name for item in one.output], ["get_weather"])
        self.assertIs(one.parallel_tool_calls, False)

    def test_every_form_of_tool_choice(self):
        allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_time"}]}
        for choice, called in (
            ("none", []),
            ("auto", []),
            ("required", ["get_weather"]),
            ({"type": "function", "name": "get_time"}, ["get_time"]),
            (allowed, ["get_time"]),
        ):
            with self.subTest(choice):
                answer = self.create("Hello", tools=[WEATHER, TIME], tool_choice=choice)
                names = [item.name for item in answer.output if item.type == "function_call"]
                self.assertEqual(names, called)

    def test_arguments_are_parsed_into_a_model(self):
        tool = openai.pydantic_function_tool(Scientist, name="invent_person")
        flat = {"type": "function", **tool["function"]}
        parsed = self.responses.parse(model=MODEL, input="Invent a person who is 41.", tools=[flat])
        self.assertEqual(json.loads(parsed.output[0].arguments), {"name": "Ada", "age": 41})


@tried_once
class StreamTest(OpenAITestCase):
    def test_the_events_tell_what_the_response_is(self):
        events = self.stream("Count to 5.", reasoning={"effort": "low"})
        self.assertEqual([each.sequence_number for each in events], list(range(len(events))))
        self.assertEqual([each.type for each in events[:2]], ["response.created", "response.in_progress"])
        last = events[-1]
        self.assertEqual((last.type, last.response.output_text), ("response.completed", "1 2 3 4 5"))
        said = "".join(each.delta for each in events if each.type == "response.output_text.delta")
        thought = "".join(each.delta for each in events if each.type == "response.reasoning_summary_text.delta")
        self.assertEqual((said, thought), ("1 2 3 4 5", "The question is: Count to 5."))
        done = [each.item.to_dict() for each in events if each.type == "response.output_item.done"]
        self.assertEqual(done, [item.to_dict() for item in last.response.output])
        self.assertEqual(self.checked(self.responses.retrieve(last.response.id)).to_dict(), last.response.to_dict())

    def test_calls_are_streamed_in_pieces(self):
        events = self.stream("What is the weather in Paris and London?", tools=[WEATHER])
        for index, city in enumerate(("Paris", "London")):
            pieces = [
                each.delta
                for each in events
                if each.type == "response.function_call_arguments.delta" and each.output_index == index
            ]
            self.assertGreater(len(pieces), 1)
            self.assertEqual(json.loads("".join(pieces)), {"city": city})
        self.assertEqual([item.type for item in events[-1].response.output], ["function_call", "function_call"])

    def test_the_librarys_stream_puts_it_together(self):
        with self.responses.stream(model=MODEL, input="Invent a person who is 41.", text_format=Scientist) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        self.assertIn("response.output_text.delta", kinds)
        self.assertEqual(final.output_parsed, Scientist(name="Ada", age=41))

    def test_the_librarys_stream_parses_calls(self):
        tools: list[Any] = [WEATHER]
        with self.responses.stream(model=MODEL, input="What is the weather in Paris?", tools=tools) as stream:
            final = stream.get_final_response()
        self.assertEqual(final.output[0].name, "get_weather")

    def test_the_asynchronous_library_is_served_as_well(self):
        async def ask() -> list[Any]:
            url = f"{self.service.url}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key=self.alice.secret, max_retries=0) as library:
                client: Any = library
                whole = await client.responses.create(model=MODEL, input="What is 17 * 3?")
                events = await client.responses.create(model=MODEL, input="What is 17 * 3?", stream=True)
                streamed = [event async for event in events][-1].response
                parsed = await client.responses.parse(model=MODEL, input="A person who is 41.", text_format=Scientist)
                async with client.responses.stream(model=MODEL, input="Count to 3.") as stream:
                    async for _ in stream:
                        pass
                    final = await stream.get_final_response()
                found = await client.responses.retrieve(whole.id)
                items = [item async for item in client.responses.input_items.list(whole.id)]
                await client.responses.delete(whole.id)
                said = [whole.output_text, streamed.output_text, final.output_text, found.output_text]
                return [*said, parsed.output_parsed, len(items)]

        self.assertEqual(asyncio.run(ask()), ["51", "51", "1 2 3", "51", Scientist(name="Ada", age=41), 1])
