"""Responses over a websocket, with the official client's connection and with bare frames."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from websockets.sync.client import ClientConnection, connect

from chatservice.dialects.openai_v1.tests.test_responses_contract import output_text
from chatservice.testing import ServiceTestCase, tried_once, wait_until
from completions.models import Run
from completions.tests.upstream_wire import TEXT
from conversations.models import Message

ENDS = ("response.completed", "response.incomplete", "response.failed", "error")


@tried_once
class ResponsesSocketTest(ServiceTestCase):
    def open(self, secret: str = "") -> ClientConnection:
        headers = {"Authorization": f"Bearer {secret or self.alice.secret}"}
        url = f"{self.service.url.replace('http', 'ws')}/v1/responses"
        return self.enterContext(connect(url, additional_headers=headers))

    def ask(self, socket: ClientConnection, **body: Any) -> dict[str, Any]:
        """Send a request; return its last event, of which there is one."""
        socket.send(json.dumps({"type": "response.create", "model": "fake/ok", **body}))
        number = 0
        while True:
            event = json.loads(socket.recv(timeout=10))
            if event["type"] in ENDS:
                return event
            self.assertEqual(event["sequence_number"], number)
            number += 1

    @pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")  # the client uses websockets' former way
    def test_the_official_client_gets_a_response(self) -> None:
        client = openai.OpenAI(base_url=f"{self.service.url}/v1", api_key=self.alice.secret, max_retries=0)
        self.addCleanup(client.close)
        with client.responses.connect() as connection:
            connection.response.create(model="fake/ok", input="Hi")
            events: list[Any] = []
            for event in connection:
                events.append(event)
                if event.type in ENDS:
                    break
        self.assertEqual(events[0].type, "response.created")
        self.assertEqual(events[-1].type, "response.completed")
        self.assertEqual("".join(e.delta for e in events if e.type == "response.output_text.delta"), TEXT)
        self.assertEqual(client.responses.retrieve(events[-1].response.id).output_text, TEXT)

    def test_several_responses_follow_each_other_on_one_socket(self) -> None:
        socket = self.open()
        first = self.ask(socket, input="One")["response"]
        second = self.ask(socket, input="Two", previous_response_id=first["id"])["response"]
        self.assertEqual((output_text(second), second["previous_response_id"]), (TEXT, first["id"]))
        said = Message.objects.filter(conversation__owner=self.alice.user).oldest_first()
        self.assertEqual([message.content for message in said], ["One", TEXT, "Two", TEXT])

    def test_what_is_not_stored_is_continued_on_the_same_socket_only(self) -> None:
        socket, other = self.open(), self.open()
        first = self.ask(socket, input="My name is Ada", store=False)["response"]
        elsewhere = self.ask(other, input="And?", previous_response_id=first["id"], store=False)
        self.assertEqual(elsewhere["error"]["code"], "previous_response_not_found")
        second = self.ask(socket, input="And?", previous_response_id=first["id"], store=False)
        self.assertEqual(second["type"], "response.completed")
        sent = self.upstream.asked("My name is Ada")[-1].body["messages"]
        self.assertEqual([each["content"] for each in sent], ["My name is Ada", TEXT, "And?"])
        self.assertFalse(Message.objects.filter(conversation__owner=self.alice.user).exists())

    def test_a_failed_continuation_forgets_what_it_continued(self) -> None:
        socket = self.open()
        first = self.ask(socket, input="One", store=False)["response"]
        failed = self.ask(socket, model="fake/500", input="Two", previous_response_id=first["id"], store=False)
        self.assertEqual(failed["type"], "response.failed")
        again = self.ask(socket, input="Two", previous_response_id=first["id"], store=False)
        self.assertEqual(again["error"]["code"], "previous_response_not_found")

    def test_bad_frames_get_an_error_and_the_socket_stays(self) -> None:
        socket = self.open()
        for bad in ("{", "[]", '{"type": "response.cancel"}', json.dumps({"type": "response.create"})):
            socket.send(bad)
            event = json.loads(socket.recv(timeout=10))
            self.assertEqual((event["type"], event["status"], event["code"]), ("error", 400, event["error"]["code"]))
        self.assertEqual(self.ask(socket, input="Still there?")["type"], "response.completed")

    def test_a_wrong_key_is_turned_away_with_the_reason(self) -> None:
        socket = self.open("cb_wrong")
        event = json.loads(socket.recv(timeout=10))
        self.assertEqual((event["status"], event["error"]["code"]), (401, "invalid_api_key"))

    def test_a_response_goes_on_when_its_socket_is_gone(self) -> None:
        socket = self.open()
        socket.send(json.dumps({"type": "response.create", "model": "fake/slow:20ms:40", "input": "Go on"}))
        json.loads(socket.recv(timeout=10))
        socket.close()
        wait_until(
            lambda: Run.objects.filter(user=self.alice.user, state=Run.State.COMPLETE).exists(), what="the response"
        )
