"""Writes feedback as JSONL in the form of TRL's unpaired preferences: `prompt`, `completion`, `label`.

Text is yielded as it is read. It contains what was said: checks no permissions and writes no access log.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import QuerySet

from conversations.branches import in_bulk
from conversations.embedded_files import with_contents
from conversations.exporters import json_line, messages_to
from conversations.models import Message
from feedback.models import Feedback

ROWS = 100


def export_feedback(feedback: QuerySet[Feedback]) -> Iterator[str]:
    """Yield a line for each row, oldest first, in pieces. `prompt` has the messages of the branch before the answer."""
    ordered = feedback.select_related("message__conversation").order_by("id")
    ordered = ordered.defer("message__content", "message__usage", "message__conversation__metadata")
    # Paged by key, without a cursor, which would hold a transaction open all the time.
    page = list(ordered[:ROWS])
    while page:
        for row in page:
            yield from _line(row)
        page = list(ordered.filter(id__gt=page[-1].pk)[:ROWS])


def _line(row: Feedback) -> Iterator[str]:
    answer = in_bulk([row.message_id]).get(row.message_id)
    if answer is None:  # deleted since its page was read
        return
    about = {
        "id": str(row.pk),
        "message_id": str(row.message_id),
        "conversation_id": str(answer.conversation_id),
        "user_id": str(row.user_id),
        "label": row.rating == Feedback.Rating.UP,
        "rating": row.rating,
        "comment": row.comment,
        "model": row.model,
        "upstream": row.upstream,
        "status": answer.status,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
        "reviewed_at": row.reviewed_at.isoformat() if row.reviewed_at else None,
    }
    owner_id = row.message.conversation.owner_id

    def wire(message: Message) -> str:
        return json_line(with_contents(message.as_wire(), owner_id=owner_id))

    yield f'{json_line(about)[:-1]}, "prompt": ['
    for place, message in enumerate(messages_to(answer.conversation_id, answer.parent_id)):
        yield f"{', ' if place else ''}{wire(message)}"
    yield f'], "completion": [{wire(answer)}]}}\n'
