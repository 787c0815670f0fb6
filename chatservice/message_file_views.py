"""The pictures and files of messages for the chat page, from this service's own address."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.urls import path
from django.utils.cache import get_conditional_response

from accounts.callers import Principal
from accounts.guests import as_id
from accounts.scopes import Scope
from chatservice.dialects.base import AsyncAPIView, json_response
from chatservice.dialects.problems import BadRequest
from chatservice.views import plain
from conversations.models import Message, MessagePart
from conversations.shown_files import ShownFile, shown_files
from files.models import File
from files.public_ids import key_of
from files.responses import content_response, thumbnail_response
from files.threads import in_file_thread
from files.thumbnails import NoThumbnail, begin_thumbnail, etag_of
from foundation.database import in_database_thread

MAX_MESSAGES = 50
NO_THUMBNAIL = BadRequest("There is no thumbnail of this file.", code="no_thumbnail", status=404)


class FilesOfMessagesView(AsyncAPIView):
    """What to show of the messages that `message` names, once for each."""

    scopes = {"GET": Scope.READ}

    render = staticmethod(plain)

    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        ids = [as_id(text) for text in request.GET.getlist("message")]
        if len(ids) > MAX_MESSAGES:
            raise BadRequest(f"Ask for at most {MAX_MESSAGES} messages at once.")
        found = await in_database_thread(_shown_files, principal, [pk for pk in ids if pk is not None])
        return json_response({str(pk): [_shown(file) for file in files] for pk, files in found.items()})


class FileView(AsyncAPIView):
    """A file to be saved, or a picture to be seen."""

    scopes = {"GET": Scope.READ}

    render = staticmethod(plain)

    async def get(self, request: HttpRequest, principal: Principal, file_id: str) -> HttpResponseBase:
        file = await in_database_thread(_find, principal, file_id)
        return await in_file_thread(lambda: content_response(file, may_show=True))


class ThumbnailView(AsyncAPIView):
    scopes = {"GET": Scope.READ}
    render = staticmethod(plain)

    async def get(self, request: HttpRequest, principal: Principal, file_id: str) -> HttpResponse:
        file = await in_database_thread(_find, principal, file_id)
        etag = etag_of(file)
        response = get_conditional_response(request, etag=etag)
        if response is None:
            try:
                response = thumbnail_response(await asyncio.wrap_future(begin_thumbnail(file)))
            except NoThumbnail as error:
                raise NO_THUMBNAIL from error
        response.headers["ETag"] = etag
        # The browser keeps it, and asks each time whether it may show it: somebody else may be signed in by then, and
        # Chromium takes no notice of `Vary: Cookie`.
        response.headers["Cache-Control"] = "private, no-cache"
        return response


def _find(principal: Principal, file_id: str) -> File:
    if (key := key_of(file_id)) is None:
        raise Http404
    return File.objects.visible_to(principal).get(pk=key)


def _shown_files(principal: Principal, ids: list[uuid.UUID]) -> dict[uuid.UUID, list[ShownFile]]:
    messages = Message.objects.visible_to(principal).filter(pk__in=ids)
    return shown_files(MessagePart.objects.filter(message__in=messages))


def _shown(file: ShownFile) -> dict[str, Any]:
    return {
        "id": file.file_id,
        "name": file.name,
        "facts": file.facts,
        "address": file.address,
        "has_thumbnail": file.has_thumbnail,
        "text_details": file.text_details,
    }


urlpatterns = [
    path("", FilesOfMessagesView.as_view(), name="files_of_messages"),
    path("/<str:file_id>", FileView.as_view(), name="file"),
    path("/<str:file_id>/thumbnail", ThumbnailView.as_view(), name="thumbnail"),
]
