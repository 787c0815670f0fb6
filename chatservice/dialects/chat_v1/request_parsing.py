"""Parses request bodies and ids, and builds run requests from them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

from django.http import Http404, HttpRequest
from rest_framework.serializers import Serializer

from accounts.callers import Principal
from chatservice.dialects.attached_files import user_message
from chatservice.dialects.idempotency import key_of, route_of
from chatservice.dialects.json_body import read_object
from chatservice.dialects.run_requests import make_run_request, with_default_generation
from completions.continuing import ResumePoint
from completions.conversation_generation import conversation_generation
from completions.run_requests import HEAD, RunRequest, WhenBusy
from conversations.models import Message

S = TypeVar("S", bound=Serializer[Any])
OURS = frozenset(
    {
        *("content", "role", "model", "parent_id", "title", "metadata", "client_message_id", "recall", "file_ids"),
        "generation",
    }
)
WHEN_BUSY = "when_busy"


def identifier(text: str) -> uuid.UUID:
    """Return the id in a path; a malformed one raises not found, like an unknown one."""
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise Http404 from error


def validated(request: HttpRequest, serializer: type[Serializer[Any]]) -> dict[str, Any]:
    """Return the request's body, validated by `serializer`; raises BadRequest or ValidationError."""
    given = serializer(data=read_object(request))
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


async def ask_in(
    conversation_id: uuid.UUID, given: Mapping[str, Any], request: HttpRequest, principal: Principal
) -> RunRequest:
    """Return the run request for a new message in a conversation; raises BadRequest for its files."""
    return _ask(
        request,
        principal,
        given,
        conversation_id=conversation_id,
        parent_id=given.get("parent_id", HEAD),
        messages=(await user_message(principal, given["content"], given.get("file_ids")),),
    )


async def ask_anew(given: Mapping[str, Any], request: HttpRequest, principal: Principal) -> RunRequest:
    """Return the run request for the first message of a new conversation; raises BadRequest for its files."""
    question = _ask(
        request,
        principal,
        given,
        title=given.get("title") or "",
        metadata=given.get("metadata") or {},
        generation=conversation_generation(given.get("generation")),
        messages=(await user_message(principal, given["content"], given.get("file_ids")),),
    )
    return question if "generation" in given else await with_default_generation(question)


def ask_again(answer: Message, given: Mapping[str, Any], request: HttpRequest, principal: Principal) -> RunRequest:
    """Return the run request that answers the question of `answer` again, on a new branch."""
    return _ask(request, principal, given, conversation_id=answer.conversation_id, parent_id=answer.parent_id)


def continue_answer(
    resume_point: ResumePoint, given: Mapping[str, Any], request: HttpRequest, principal: Principal
) -> RunRequest:
    """Return the run request that continues a cut-off answer, with the same model unless the body names another."""
    return _ask(request, principal, {"model": resume_point.model, **given}, **resume_point.request_fields())


def _ask(request: HttpRequest, principal: Principal, given: Mapping[str, Any], **fields: Any) -> RunRequest:
    given = dict(given)
    when_busy = given.pop(WHEN_BUSY, None) or WhenBusy.REJECT
    return make_run_request(
        principal,
        model=given.get("model"),
        key=key_of(request, given.get("client_message_id")),
        identity=("chat_v1", route_of(request), given),
        when_busy=WhenBusy(when_busy),
        parameters={name: value for name, value in given.items() if name not in OURS and value is not None},
        recall=given.get("recall"),
        **fields,
    )
