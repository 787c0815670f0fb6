"""LangChain's ChatOpenAI over the Responses API: text, streams, tools, schemas, stored history; prints what it said."""

from __future__ import annotations

import json
import os
from typing import Any

import pydantic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"It rains in {city}"


class Scientist(pydantic.BaseModel):
    name: str
    age: int


def main() -> dict[str, Any]:
    said: dict[str, Any] = {}
    model = ChatOpenAI(model=os.environ["MODEL"], use_responses_api=True, max_retries=0)
    answer = model.invoke("My name is Ada. What is 17 * 3?")
    said["text"] = answer.text
    said["usage"] = answer.usage_metadata["total_tokens"] > 0 if answer.usage_metadata else False
    identity = answer.response_metadata["id"]
    said["id"] = identity.partition("_")[0]
    said["continued"] = model.invoke("What is my name?", previous_response_id=identity).text
    said["streamed"] = "".join(chunk.text for chunk in model.stream("Count to 5."))

    with_tools = model.bind_tools([get_weather])
    history: list[Any] = [HumanMessage("What is the weather in Paris and London?")]
    called = with_tools.invoke(history)
    said["calls"] = [[call["name"], call["args"]] for call in called.tool_calls]
    history.append(called)
    history += [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in called.tool_calls]
    said["results"] = with_tools.invoke(history).text
    whole: Any = None
    for chunk in with_tools.stream("What is the weather in Rome?"):
        whole = chunk if whole is None else whole + chunk
    said["streamed calls"] = [[call["name"], call["args"]] for call in whole.tool_calls]

    said["typed"] = model.with_structured_output(Scientist).invoke("Invent a person who is 41.").model_dump()

    thinker = ChatOpenAI(
        model=os.environ["MODEL"], use_responses_api=True, output_version="responses/v1", reasoning={"effort": "low"}
    )
    thought = thinker.invoke("What is 17 * 3?")
    said["reasoning"] = [block["type"] for block in thought.content]
    said["after reasoning"] = thinker.invoke(
        [HumanMessage("What is 17 * 3?"), thought, HumanMessage("What is 2 + 2?")]
    ).text

    keeper = ChatOpenAI(model=os.environ["MODEL"], use_previous_response_id=True)
    kept = keeper.invoke("My dog is called Byron.")
    said["kept"] = keeper.invoke(
        [HumanMessage("My dog is called Byron."), kept, HumanMessage("What is my dog's name?")]
    ).text
    return said


print(json.dumps(main()))
