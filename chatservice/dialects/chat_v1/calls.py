"""From a request body to the question that is asked."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

from django.conf import settings
from django.http import Http404, HttpRequest
from rest_framework.serializers import Serializer

from accounts.principal import Principal
from chatservice.dialects.idempotency import fingerprint, key_of, route_of
from chatservice.dialects.json_body import read_object
from completions.asks import HEAD, Ask
from completions.continuing import CutOff
from completions.services import upstream_for
from conversations.models import Message

S = TypeVar("S", bound=Serializer)
OURS = frozenset({"content", "role", "model", "parent_id", "title", "metadata", "client_message_id", "recall"})


def identifier(text: str) -> uuid.UUID:
    """Return the id in a path; what is none cannot be found, like an unknown one."""
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise Http404 from error


def validated(request: HttpRequest, serializer: type[Serializer]) -> dict[str, Any]:
    """Return the request's body as `serializer` understands it; raises BadRequest or ValidationError."""
    given = serializer(data=read_object(request))
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def ask_in(conversation_id: uuid.UUID, given: Mapping[str, Any], request: HttpRequest, principal: Principal) -> Ask:
    """Return the question that a new message in a conversation asks."""
    return _ask(
        request,
        principal,
        given,
        conversation_id=conversation_id,
        parent_id=given.get("parent_id", HEAD),
        messages=({"role": "user", "content": given["content"]},),
    )


def ask_anew(given: Mapping[str, Any], request: HttpRequest, principal: Principal) -> Ask:
    """Return the question that begins a conversation."""
    return _ask(
        request,
        principal,
        given,
        title=given.get("title") or "",
        metadata=given.get("metadata") or {},
        messages=({"role": "user", "content": given["content"]},),
    )


def ask_again(answer: Message, given: Mapping[str, Any], request: HttpRequest, principal: Principal) -> Ask:
    """Return the question that `answer` answered, to be answered once more beside it."""
    return _ask(request, principal, given, conversation_id=answer.conversation_id, parent_id=answer.parent_id)


def go_on(cut_off: CutOff, given: Mapping[str, Any], request: HttpRequest, principal: Principal) -> Ask:
    """Return the question whose cut-off answer goes on, by the same model unless another is named."""
    return _ask(request, principal, {"model": cut_off.model, **given}, **cut_off.place())


def _ask(request: HttpRequest, principal: Principal, given: Mapping[str, Any], **fields: Any) -> Ask:
    model = given.get("model") or "default"
    if model == "default":
        model = settings.DEFAULT_MODEL
    key = key_of(request, given.get("client_message_id"))
    return Ask(
        principal=principal,
        model=model,
        upstream=upstream_for(model),
        parameters={name: value for name, value in given.items() if name not in OURS and value is not None},
        recall=given.get("recall"),
        idempotency_key=key,
        fingerprint=fingerprint("chat_v1", route_of(request), dict(given)) if key else "",
        **fields,
    )
