"""The pictures and files of a transcript, for staff who opened it a short time ago.

That was for a reason, and is in the access log. Only what a message of that conversation refers to is shown.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.urls import path

from conversations.access_log import has_opened
from conversations.message_files import files_of
from conversations.models import Conversation, MessagePart
from files.exceptions import ContentMissing
from files.models import File
from files.public_ids import key_of
from files.responses import content_response, thumbnail_response
from files.thumbnails import NoThumbnail, begin_thumbnail

NAME = "conversations_conversation"


def urls(site: AdminSite) -> list[Any]:
    """Return the addresses below those of the conversations."""
    here = "<uuid:conversation_id>/files/<str:file_id>/"
    return [
        path(here, site.admin_view(content), name=f"{NAME}_file"),
        path(f"{here}thumbnail/", site.admin_view(thumbnail), name=f"{NAME}_thumbnail"),
    ]


def content(request: HttpRequest, conversation_id: uuid.UUID, file_id: str) -> HttpResponseBase:
    """Show a picture, or let any other file be saved."""
    file = _find(request, conversation_id, file_id)
    try:
        return content_response(file, may_show=True)
    except ContentMissing as error:
        raise Http404 from error


def thumbnail(request: HttpRequest, conversation_id: uuid.UUID, file_id: str) -> HttpResponseBase:
    file = _find(request, conversation_id, file_id)
    try:
        return thumbnail_response(begin_thumbnail(file).result())
    except (ContentMissing, NoThumbnail) as error:
        raise Http404 from error


def _find(request: HttpRequest, conversation_id: uuid.UUID, file_id: str) -> File:
    """Return a file of a transcript that is open; raises PermissionDenied and Http404."""
    if not request.user.has_perm("conversations.view_conversation"):
        raise PermissionDenied
    conversation = get_object_or_404(Conversation, pk=conversation_id)
    if not has_opened(reader=request.user, conversation=conversation):
        raise PermissionDenied
    if (key := key_of(file_id)) is None:
        raise Http404
    parts = MessagePart.objects.filter(file=key, message__conversation=conversation)
    for files in files_of(parts).values():
        if (file := files[0].file) is not None:
            return file
    raise Http404
