"""What a shared link shows, to anybody: questions and answers of its branch, and the pictures in them.

Never shown: instructions, reasoning, calls of tools and their results, the content of files besides small copies of
pictures, names and ids of people. A picture that was given by an address of another site is named and not loaded.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from itertools import pairwise

from django.conf import settings
from django.utils.safestring import SafeString

from conversations.branches import branch_ids
from conversations.models import Message, MessagePart
from conversations.rendering import render_markdown
from conversations.shown_files import ShownFile, shown_files
from files.models import File
from files.public_ids import key_of
from sharing.models import SharedLink
from sharing.tokens import digest_of, is_token

PER_PAGE = 100
ROLES = (Message.Role.USER, Message.Role.ASSISTANT)


@dataclass(frozen=True, slots=True)
class SharedMessage:
    """A question or an answer; `body` is its HTML, `files` are the pictures and files that it carries."""

    message: Message
    body: SafeString
    files: list[ShownFile]
    new_day: bool

    @property
    def is_question(self) -> bool:
        return self.message.role == Message.Role.USER


@dataclass(frozen=True, slots=True)
class SharedPage:
    messages: list[SharedMessage]
    page: int
    pages: int


def find_link(token: str) -> SharedLink | None:
    """Return the link with this token if it works; None for any other, and while sharing is off."""
    if not settings.SHARING or not is_token(token):
        return None
    return SharedLink.objects.working().filter(digest=digest_of(token)).first()


def read_page(link: SharedLink, number: int) -> SharedPage:
    """Return a page of what a link shows; a number beyond the last page is that of the last one."""
    shown = _shown_ids(link)
    pages = max(1, -(-len(shown) // PER_PAGE))
    page = min(max(1, number), pages)
    ids = shown[(page - 1) * PER_PAGE : page * PER_PAGE]
    rows = Message.objects.in_bulk(ids)
    files = shown_files(MessagePart.objects.filter(message__in=[pk for pk, row in rows.items() if row.has_parts]))
    found = [rows[pk] for pk in ids if pk in rows]
    days: list[dt.date | None] = [None, *(row.created_at.date() for row in found)]
    return SharedPage(
        messages=[
            SharedMessage(row, _body(row), files.get(row.pk, []), new_day=before != today)
            for row, (before, today) in zip(found, pairwise(days), strict=True)
            if row.content.strip() or row.pk in files
        ],
        page=page,
        pages=pages,
    )


def find_picture(link: SharedLink, file_id: str) -> File | None:
    """Return a picture that a shared message carries, of which a small copy may be shown; None if there is none."""
    if (key := key_of(file_id)) is None:
        return None
    parts = MessagePart.objects.filter(file=key, message__in=_shown_ids(link), kind=MessagePart.Kind.IMAGE)
    found = (each for files in shown_files(parts).values() for each in files)
    return next((each.file for each in found if each.has_thumbnail), None)


def _body(message: Message) -> SafeString:
    return render_markdown(message.content, keep_breaks=message.role == Message.Role.USER)


def _shown_ids(link: SharedLink) -> list[uuid.UUID]:
    """Return the ids of the questions and answers up to the shared message, oldest first."""
    said = set(Message.objects.of(link.conversation_id).filter(role__in=ROLES).values_list("pk", flat=True))
    return [pk for pk in branch_ids(link.conversation_id, link.message_id) if pk in said]
