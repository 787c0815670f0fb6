"""An agent of OpenAI's Agents SDK with a tool, a session and a handoff, whole and streamed; prints what it said."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pydantic
from agents import (
    Agent,
    ModelSettings,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    OpenAIResponsesWSModel,
    Runner,
    SQLiteSession,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI

set_tracing_disabled(True)
CLIENT = AsyncOpenAI(max_retries=0)
MODEL = OpenAIResponsesModel(os.environ["MODEL"], CLIENT)


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"It rains in {city}"


class Scientist(pydantic.BaseModel):
    name: str
    age: int


async def in_conversation(agent: Agent) -> list[Any]:
    """Return what an agent answers whose session is a conversation of the service, and what that holds."""
    session = OpenAIConversationsSession(openai_client=CLIENT)
    first = await Runner.run(agent, "My name is Ada. What is the weather in Paris and London?", session=session)
    streamed = Runner.run_streamed(agent, "What is my name?", session=session)
    async for _ in streamed.stream_events():
        pass
    kinds = [item.get("type") for item in await session.get_items()]
    newest = [item["type"] for item in await session.get_items(limit=2)]
    resumed = OpenAIConversationsSession(conversation_id=session.session_id, openai_client=CLIENT)
    popped = await resumed.pop_item()
    left = len(await session.get_items())
    again = await Runner.run(agent, "What is my name?", session=resumed)
    await session.clear_session()
    return [first.final_output, streamed.final_output, kinds, newest, popped["role"], left, again.final_output]


async def main() -> dict[str, Any]:
    agent = Agent(name="Weather", instructions="Be brief.", model=MODEL, tools=[get_weather])
    session = SQLiteSession("in memory")
    said: dict[str, Any] = {}
    first = await Runner.run(agent, "My name is Ada. What is the weather in Paris and London?", session=session)
    said["tool"] = first.final_output

    streamed = Runner.run_streamed(agent, "What is my name?", session=session)
    deltas = ""
    async for event in streamed.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            deltas += event.data.delta
    said["session"] = streamed.final_output
    said["deltas"] = deltas

    streamed = Runner.run_streamed(agent, "What is the weather in Rome?", session=session)
    items = [event.item.type async for event in streamed.stream_events() if event.type == "run_item_stream_event"]
    said["streamed tool"] = streamed.final_output
    said["items"] = items

    chained = await Runner.run(agent, "My dog is called Byron. Hello!")
    again = await Runner.run(agent, "What is my name?", previous_response_id=first.last_response_id)
    said["chained"] = [chained.final_output, again.final_output]

    socket = OpenAIResponsesWSModel(os.environ["MODEL"], CLIENT)
    over_socket = Agent(name="Weather", model=socket, tools=[get_weather])
    said["socket"] = (await Runner.run(over_socket, "What is the weather in Rome?")).final_output
    await socket.close()

    said["conversation"] = await in_conversation(agent)

    typed = Agent(name="Inventor", model=MODEL, output_type=Scientist, model_settings=ModelSettings(store=False))
    said["typed"] = (await Runner.run(typed, "Invent a person who is 41.")).final_output.model_dump()

    boss = Agent(name="Boss", model=MODEL, handoffs=[agent])
    handed = await Runner.run(boss, "Transfer me: what is the weather in Paris?")
    said["handoff"] = [handed.last_agent.name, handed.final_output]
    said["requests"] = handed.context_wrapper.usage.requests
    return said


print(json.dumps(asyncio.run(main())))
