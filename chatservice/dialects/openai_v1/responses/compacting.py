"""`POST /v1/responses/compact`: the model writes a summary, and a later request begins with it.

The summary is a stored answer like any other. The `compaction` item that stands for it has the message's id where
OpenAI's has encrypted content: whoever sends the item back is looked up by it, and sees only what is theirs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.idempotency import KEY, idempotency_key
from chatservice.dialects.json_body import read_object
from chatservice.dialects.openai_v1.ids import response_id
from chatservice.dialects.openai_v1.reference import operation
from chatservice.dialects.openai_v1.responses.asking import run_request
from chatservice.dialects.openai_v1.responses.request_parsing import read_request
from chatservice.dialects.openai_v1.responses.shapes import usage_of
from chatservice.dialects.openai_v1.views import CONTENT_LIMIT, ERRORS, OpenAIView, failure, tell_rates
from chatservice.dialects.problems import BadRequest
from chatservice.dialects.run_requests import submit
from chatservice.dialects.run_responses import name_run
from completions.readers import wait_for_end
from completions.run_requests import RunHandle
from completions.types import RunFinished

PROMPT = (
    "Summarise the conversation so far, so that it can be continued from your summary alone: what is wanted, what was "
    "decided and done, names, numbers, open questions, and the next step. Write the summary and nothing else."
)


class CompactView(OpenAIView):
    scopes = {"POST": Scope.GENERATE}
    body_limit = CONTENT_LIMIT

    starts_runs = frozenset({"POST"})

    @extend_schema(
        summary="Have the model summarise a history, as an item that a later request can begin with",
        **operation(
            "POST /responses/compact",
            parameters=[OpenApiParameter("Idempotency-Key", KEY, OpenApiParameter.HEADER)],
            errors=ERRORS,
        ),
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponseBase:
        body = read_object(request)
        if body.get("model") is None:
            raise BadRequest("'model' is missing.", code="missing_required_parameter", param="model")
        asked = read_request({**body, "store": True, "background": False}, needs_input=False)
        if not asked.items and asked.previous is None:
            raise BadRequest("There is nothing to compact: send 'input' or 'previous_response_id'.", param="input")
        key = idempotency_key(request.headers.get("idempotency-key"))
        made = await run_request(asked, principal, key=key)
        question = {"role": "user", "content": PROMPT}
        handle = await submit(replace(made, messages=(*made.messages, question), echo=None, native=None, parameters={}))
        finished = await wait_for_end(handle.run_id)
        response = failure(finished) if finished.status != "complete" else _compaction(handle, finished)
        name_run(response, handle.run_id, handle.conversation_id, handle.message_id)
        tell_rates(response, handle.rates)
        return response


def _compaction(handle: RunHandle, finished: RunFinished) -> HttpResponse:
    if handle.message_id is None:
        raise BadRequest("The account is full: nothing more is stored.", code="storage_full", status=403)
    item_id = f"cmp_{handle.message_id.hex}"
    item: dict[str, Any] = {"id": item_id, "type": "compaction", "encrypted_content": item_id}
    return json_response(
        {
            "id": response_id(handle.run_id),
            "object": "response.compaction",
            "created_at": int(handle.created_at.timestamp()),
            "output": [item],
            "usage": usage_of(finished.usage) or usage_of({}),
        }
    )
