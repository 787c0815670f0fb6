"""`/conversations/:id/export`: one conversation as a file."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.chat_v1 import documentation as docs
from chatservice.dialects.chat_v1.me import until_refused
from chatservice.dialects.chat_v1.request_parsing import identifier
from chatservice.dialects.chat_v1.views import ChatView
from chatservice.dialects.problems import BadRequest
from completions.stream_limits import acquire_stream
from conversations.exporters import Format, export_conversation
from conversations.models import Conversation
from foundation.database import in_database_thread, stream_from_database

FORMATS = [str(each) for each in Format]


def _shape(kind: Format) -> OpenApiTypes:
    return OpenApiTypes.OBJECT if kind.media_type == "application/json" else OpenApiTypes.STR


class ConversationExportView(ChatView):
    scopes = {"GET": Scope.READ}

    @extend_schema(
        operation_id="export_conversation",
        summary="A conversation as a file, to keep or to import elsewhere",
        description="`chatgpt` is one entry of ChatGPT's `conversations.json`: every branch, and what an import here "
        "restores completely. `markdown`, for reading, and `jsonl`, for other programs, have the branch that is shown. "
        'A last line `{"error": ...}` means that the file was cut off because the key was revoked or the account '
        "deactivated.",
        parameters=[OpenApiParameter("format", str, enum=FORMATS, default=str(Format.CHATGPT))],
        responses={
            **{(200, each.media_type): OpenApiResponse(_shape(each), description="The file") for each in Format},
            **docs.errors(400, 401, 404, 429),
        },
    )
    async def get(self, request: HttpRequest, principal: Principal, conversation_id: str) -> HttpResponseBase:
        given = request.GET.get("format", str(Format.CHATGPT))
        if given not in FORMATS:
            wanted = f"One of {', '.join(FORMATS)}."
            raise BadRequest(f"format: {wanted}", code="validation_error", param="format", details={"format": [wanted]})
        pk, kind = identifier(conversation_id), Format(given)
        conversation = await in_database_thread(lambda: Conversation.objects.visible_to(principal).get(pk=pk))
        release = acquire_stream(principal)
        response = StreamingHttpResponse(
            until_refused(principal, stream_from_database(export_conversation(conversation, kind))),
            content_type=f"{kind.media_type}; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="conversation-{pk}{kind.suffix}"'},
        )
        response._resource_closers.append(release)  # type: ignore[attr-defined]  # Django's, not public
        return response
