"""The base class of tests with OpenAI's own Python library, which validate each answer against its types.

The library itself validates nothing that it receives, so a wrong answer shows only where somebody reads it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import openai
import pydantic

from chatservice.testing import ApiUser, ServiceTestCase
from tests.clients.case import MODEL

ESSAY = "Write a long essay about the sea."
MODEL_SLOW = f"{MODEL}:30ms"
ENDS = ("response.completed", "response.incomplete", "response.failed")
T = TypeVar("T", bound=openai.BaseModel)

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
TIME: dict[str, Any] = {**WEATHER, "name": "get_time", "description": "The time in a city"}


class Scientist(pydantic.BaseModel):
    name: str
    age: int


class OpenAITestCase(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.openai = self.client_of(self.alice)
        # What comes back is one of dozens of types: reading it is what is tested.
        self.responses: Any = self.openai.responses

    def client_of(self, caller: ApiUser) -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"{self.service.url}/v1", api_key=caller.secret, max_retries=0)
        self.addCleanup(client.close)
        return client

    def create(self, given: Any, **fields: Any) -> Any:
        """Create a response, and check it."""
        return self.checked(self.responses.create(**{"model": MODEL, "input": given, **fields}))

    def stream(self, given: Any, **fields: Any) -> list[Any]:
        """Create a streamed response and return its events, each checked."""
        return self.checked_events(self.responses.create(**{"model": MODEL, "input": given, **fields}, stream=True))

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Open the library's websocket."""
        with warnings.catch_warnings():
            # The library uses websockets' former way to be a client.
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="openai|websockets")
            warnings.filterwarnings("ignore", message="connect", category=DeprecationWarning)
            with self.responses.connect() as connection:
                yield connection

    def last_of(self, connection: Any) -> Any:
        """Return the response that a socket's next events are of, when it has ended; each event is checked."""
        for event in connection:
            if self.checked(event).type in ENDS:
                return event.response
        raise AssertionError("the socket was closed")

    def checked(self, answer: T) -> T:
        """Return what was received if its type allows it."""
        type(answer).model_validate(answer.to_dict(mode="json", warnings=False))
        return answer

    def checked_events(self, events: Iterable[Any]) -> list[Any]:
        return [self.checked(event) for event in events]
