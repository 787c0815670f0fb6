"""Turns talks into rows: branches, answers that failed, runs with their times. Bulk inserts, one talk at a time."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Iterator

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from completions.models import Run
from completions.token_counts import token_counts
from conversations import digests
from conversations.models import AccessLogEntry, Conversation, Message, Todo
from foundation.ids import first_id_of
from pages.demo.topics import Talk

WEEKS = 4
MODELS = (("gpt-4o-mini", "openai"), ("llama3.1:8b", "local"), ("gpt-4o", "openai"))
FAILURES = (
    ("upstream_timeout", "The model's server did not begin to answer in time.", 504),
    ("upstream_rate_limited", "The model's server is rate limiting.", 429),
    ("upstream_truncated", "The answer ended before it was complete.", 502),
)
TODOS = ("Buy saffron", "Book the train", "Write the test for it", "Ask the landlord for a date", "Call the school")
REASONS = ("Ticket 2231: the answer is said to be missing", "Abuse report 118, agreed with the data protection officer")


class Writer:
    """Writes talks for `people` in turn; the same `seed` makes the same history, except for its ids."""

    def __init__(self, people: list[User], seed: int = 7) -> None:
        self.people = people
        self.random = random.Random(seed)  # noqa: S311  nothing secret about it
        self.count = 0

    @transaction.atomic
    def write(self, talk: Talk) -> Conversation:
        owner = self.people[self.count % len(self.people)]
        self.count += 1
        moment = timezone.now() - dt.timedelta(days=self.random.uniform(0.1, WEEKS * 7))
        conversation = Conversation.objects.create(
            id=self._id(moment),
            owner=owner,
            title=talk.title,
            end_user=self.random.choice(("", "", "", "web", "phone")),
            created_at=moment,
            archived_at=timezone.now() if self.random.random() < 0.08 else None,
        )
        self.rows: list[Message] = []
        self.runs: list[Run] = []
        self.conversation, self.model = conversation, self.random.choice(MODELS)
        parent = None
        for question, answer in talk.turns:
            moment += dt.timedelta(seconds=self.random.uniform(20, 900))
            asked = self._say(parent, Message.Role.USER, question, moment)
            parent = self._answer(asked, answer, moment)
        Message.objects.bulk_create(self.rows)
        Run.objects.bulk_create(self.runs)
        conversation.head, conversation.next_position = parent, len(self.rows) + 1
        conversation.updated_at = self.rows[-1].created_at
        conversation.save(update_fields=["head", "next_position", "updated_at"])
        return conversation

    def _answer(self, asked: Message, text: str, moment: dt.datetime) -> Message:
        """Write the answer, at times after a failed one or in two versions; return the message to continue from."""
        chance = self.random.random()
        if chance < 0.03:
            self._generate(asked, "", moment, Message.Status.FAILED)
        elif chance < 0.06:
            self._generate(asked, text[: len(text) // 2], moment, Message.Status.INTERRUPTED)
        elif chance < 0.08:
            self._generate(asked, text[: len(text) // 3], moment, Message.Status.CANCELLED)
        elif chance < 0.13:
            self._generate(asked, f"In short: {text}", moment, Message.Status.COMPLETE)
        return self._generate(asked, text, moment + dt.timedelta(seconds=9), Message.Status.COMPLETE)

    def _generate(self, asked: Message, text: str, moment: dt.datetime, status: str) -> Message:
        model, upstream = self.model
        first = moment + dt.timedelta(milliseconds=self.random.lognormvariate(5.9, 0.5))
        end = first + dt.timedelta(milliseconds=12 * len(text) + 80)
        usage = {"prompt_tokens": 40 + 55 * len(self.rows), "completion_tokens": len(text) // 4 + 1}
        usage["total_tokens"] = sum(usage.values())
        failed = status == Message.Status.FAILED
        message = self._say(asked, Message.Role.ASSISTANT, text, moment + dt.timedelta(milliseconds=5))
        message.status, message.model = status, model
        message.usage = usage if status == Message.Status.COMPLETE else None
        message.finish_reason = "stop" if status == Message.Status.COMPLETE else ""
        code, explanation, http_status = self.random.choice(FAILURES) if failed else ("", "", 200)
        if status == Message.Status.INTERRUPTED:
            code, explanation, http_status = "interrupted", "The answer was interrupted.", 502
        self.runs.append(
            Run(
                id=self._id(moment),
                message=message,
                conversation=self.conversation,
                user=self.conversation.owner,
                upstream=upstream,
                model=model,
                state=str(status),
                worker="demo",
                lease_until=0,
                usage=message.usage,
                **token_counts(message.usage),
                finish_reason=message.finish_reason,
                error_code=code,
                error_message=explanation,
                http_status=http_status,
                created_at=moment,
                first_token_at=None if failed else first,
                finished_at=end,
            )
        )
        return message

    def _say(self, parent: Message | None, role: str, text: str, moment: dt.datetime) -> Message:
        message = Message(
            id=self._id(moment),
            conversation=self.conversation,
            parent=parent,
            position=len(self.rows) + 1,
            role=role,
            content=text,
            created_at=moment,
        )
        before = parent.digest if parent else digests.root(self.conversation.owner_id)
        message.digest = digests.follow(before, message.as_wire())
        self.rows.append(message)
        return message

    def _id(self, moment: dt.datetime) -> uuid.UUID:
        """Return an id as if it had been made at that time: version 7, so that it sorts by time."""
        tail = self.random.getrandbits(80)
        tail = tail & ~(0xF << 76) | (0x7 << 76)
        return uuid.UUID(int=first_id_of(moment).int | (tail & ~(0x3 << 62)) | (0x2 << 62))

    def todos(self, conversations: list[Conversation]) -> Iterator[Todo]:
        for number, title in enumerate(TODOS):
            about = conversations[number * 3 % len(conversations)]
            yield Todo(owner_id=about.owner_id, conversation=about, title=title, completed=number % 2 == 0)

    def access_log(self, conversations: list[Conversation], reader: User) -> Iterator[AccessLogEntry]:
        for number, conversation in enumerate(conversations[::12]):
            moment = timezone.now() - dt.timedelta(hours=5 * number + 1)
            yield AccessLogEntry(
                id=self._id(moment),
                created_at=moment,
                kind=AccessLogEntry.Kind.TRANSCRIPT,
                reader_id=reader.pk,
                reader_name=reader.username,
                owner_id=conversation.owner_id,
                conversation_id=conversation.pk,
                reason=REASONS[number % len(REASONS)],
            )
