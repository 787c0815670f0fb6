"""`/runs`: read an answer's state, follow it again, stop it."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema

from accounts.callers import Principal
from accounts.guests import as_id
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.leaving import ON_DISCONNECT, read_leaving
from chatservice.dialects.resources import serializers
from chatservice.dialects.resources.base import ResourceView
from chatservice.dialects.resources.documentation import EVENTS, READ, RUN_ID, errors
from chatservice.dialects.resources.responses import streamed
from chatservice.dialects.run_requests import stop
from chatservice.dialects.run_responses import name_run
from completions.cursors import BadCursor, Cursor
from completions.models import Run
from completions.stream_limits import acquire_stream
from foundation.database import in_database_thread

PATIENCE = 5.0  # how many seconds to wait for a stopped run to end


class RunView(ResourceView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="get_run",
        summary="The state of a run",
        parameters=[RUN_ID],
        responses={200: serializers.RunShape, **errors((401, 404, 429))},
    )
    async def get(self, request: HttpRequest, principal: Principal, run_id: str) -> HttpResponse:
        run = await in_database_thread(_run_of, principal, run_id)
        return json_response(_shape(run))


class CancelView(ResourceView):
    scopes = {"POST": Scope.GENERATE}

    @extend_schema(
        operation_id="cancel_run",
        summary="Stop an answer; its text so far is kept",
        description="A run that has ended is not changed; the response says how it ended.",
        parameters=[RUN_ID],
        request=None,
        responses={200: serializers.RunShape, **errors((401, 404, 429))},
    )
    async def post(self, request: HttpRequest, principal: Principal, run_id: str) -> HttpResponse:
        run = await in_database_thread(_run_of, principal, run_id)
        if not run.is_over:
            await stop(run.pk, seconds=PATIENCE)  # one that has not ended yet is shown as it is
            run = await in_database_thread(_run_of, principal, run_id)
        return json_response(_shape(run))


class RunStreamView(ResourceView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="follow_run",
        summary="Follow an answer, from its start or after a frame",
        parameters=[
            RUN_ID,
            OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER, description="resume after this frame"),
            OpenApiParameter("after", str, description="same as Last-Event-ID, for clients that cannot set headers"),
            OpenApiParameter("reasoning", bool, description="also send what the model thinks, as `delta.reasoning`"),
            ON_DISCONNECT,
        ],
        responses={
            **EVENTS,
            **errors((*READ, 409, 502, 504)),
        },
    )
    async def get(self, request: HttpRequest, principal: Principal, run_id: str) -> HttpResponseBase:
        run = await in_database_thread(_run_of, principal, run_id)
        text = request.headers.get("last-event-id") or request.GET.get("after")
        cursor = Cursor.parse(text) if text else None
        if cursor is not None and cursor.run_id != run.pk:
            raise BadCursor("This cursor belongs to another answer.")
        leaving = read_leaving(request, "resources", keyed=True)
        release = acquire_stream(principal)
        streaming = False
        try:
            reasoning = request.GET.get("reasoning") == "true"
            response = await streamed(principal, run.pk, cursor, leaving, release, reasoning=reasoning)
            streaming = response.streaming
        finally:
            if not streaming:
                release()
        name_run(response, run.pk)
        return response


def _run_of(principal: Principal, text: str) -> Run:
    pk = as_id(text)
    run = Run.objects.visible_to(principal).select_related("message").filter(pk=pk).first() if pk else None
    if run is None:
        raise Http404
    return run


def _shape(run: Run) -> dict[str, object]:
    return {
        "id": str(run.pk),
        "status": run.state,
        "conversation_id": str(run.conversation_id) if run.conversation_id else None,
        "message_id": run.message.position if run.message else None,
        "recalled": _recalled(run),
    }


def _recalled(run: Run) -> list[dict[str, object]] | None:
    if run.recalled is None:
        return None
    return [{"conversation_id": each["conversation_id"], "message_id": each["number"]} for each in run.recalled]
