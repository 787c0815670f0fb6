"""The service asked by its Responses API, for the tests of what it promises."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2

from chatservice.dialects.openai_v1.tests.documented import problems_of
from chatservice.dialects.openai_v1.tests.replay import events_of, replay, untyped
from chatservice.testing import ApiUser, ServiceTestCase
from completions.models import Run

PATH = "/v1/responses"


class ResponsesTestCase(ServiceTestCase):
    def ask(self, given: Any = "Hi", *, by: ApiUser | None = None, status: int = 200, **fields: Any) -> Any:
        """Return the response, or the error of another `status`; it is as documented, and typed."""
        headers = fields.pop("headers", {})
        body = {"model": "fake/ok", "input": given, **fields}
        answer = (by or self.alice).http.post(PATH, json=body, headers=headers)
        self.assertEqual(answer.status_code, status, answer.text)
        return self.checked(answer)

    def streamed(self, given: Any = "Hi", **fields: Any) -> Any:
        """Return the response at the end of a stream, whose events are valid and as documented."""
        answer = self.alice.http.post(PATH, json={"model": "fake/ok", "input": given, "stream": True, **fields})
        self.assertEqual(answer.status_code, 200, answer.text)
        self.assertEqual(list(problems_of(answer)), [])
        return replay(events_of(answer.text)).end

    def get(self, response_id: str, *, by: ApiUser | None = None, **params: Any) -> Any:
        answer = (by or self.alice).http.get(f"{PATH}/{response_id}", params=params)
        self.assertEqual(answer.status_code, 200, answer.text)
        return self.checked(answer)

    def checked(self, answer: httpx2.Response) -> Any:
        self.assertEqual(list(problems_of(answer)), [])
        body = answer.json()
        if answer.status_code == 200 and body.get("object") == "response":
            self.assertEqual(untyped("response", body), "")
        return body

    def input_items(self, response_id: str, **params: Any) -> list[dict[str, Any]]:
        answer = self.alice.http.get(f"{PATH}/{response_id}/input_items", params={"order": "asc", **params})
        self.assertEqual(answer.status_code, 200, answer.text)
        found: list[dict[str, Any]] = self.checked(answer)["data"]
        return found

    @property
    def sent(self) -> dict[str, Any]:
        """Return the body that the upstream received last."""
        body: dict[str, Any] = self.upstream.posts[-1].body
        return body

    def run_of(self, response: dict[str, Any]) -> Run:
        return Run.objects.select_related("message").get(pk=uuid.UUID(response["id"].removeprefix("resp_")))


def said(response: dict[str, Any]) -> str:
    """Return the text of a response."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join([part.get("text", "") for item in messages for part in item["content"]])


def answered(*outputs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"type": "function_call_output", "call_id": call_id, "output": output} for call_id, output in outputs]
