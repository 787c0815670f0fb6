"""Staff for tests of the admin, signed in with Django's test client."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import Permission
from django.core.files.base import ContentFile
from django.test import Client, TestCase

from accounts.models import User
from accounts.services import issue_api_key, register_user
from completions.models import Run
from conversations.models import AccessLogEntry, Conversation, Message
from conversations.services import append_message, start_conversation
from files.services import store_file

CANARY = "CANARYTOLDINPRIVATE"
REASON = "Ticket 4711, agreed with the owner"
LIST = "/admin/conversations/conversation/"


def staff(name: str, *permissions: str, superuser: bool = False) -> User:
    """Create a staff member; `view` grants every permission to view."""
    user = register_user(username=f"{name}-{uuid.uuid4().hex[:8]}", staff=True, superuser=superuser)
    for codename in permissions:
        wanted = Permission.objects.filter(codename__startswith="view_" if codename == "view" else codename)
        user.user_permissions.add(*wanted)
    return User.objects.get(pk=user.pk)


class StaffCase(TestCase):
    """Alice wrote something private. Carol may read it, Dan may see that it exists, Eve has no permissions."""

    @classmethod
    def setUpTestData(cls) -> None:
        cls.alice = register_user(username=f"alice-{uuid.uuid4().hex[:8]}")
        cls.root = staff("root", superuser=True)
        cls.carol = staff("carol", "view", "read_content")
        cls.dan = staff("dan", "view")
        cls.eve = staff("eve")
        cls.key, cls.secret = issue_api_key(user=cls.alice, name="laptop")
        cls.talk = start_conversation(owner_id=cls.alice.pk, title=f"About {CANARY}", metadata={"note": CANARY})
        cls.asked = append_message(conversation=cls.talk, role="user", content=f"My {CANARY} is *this*.")
        cls.answer = append_message(conversation=cls.talk, role="assistant", content=f"So {CANARY}.", model="echo")
        cls.stored_run = Run.objects.create(
            message=cls.answer,
            conversation=cls.talk,
            user=cls.alice,
            upstream="echo",
            model="echo",
            state="failed",
            error_code="upstream_timeout",
            worker="none",
            lease_until=0,
            parameters={"note": CANARY},
            envelope={"note": CANARY},
        )
        cls.entry = AccessLogEntry.objects.create(
            kind="transcript", reader_id=cls.carol.pk, reader_name="carol", owner_id=cls.alice.pk, reason=REASON
        )
        cls.file = store_file(
            owner_id=cls.alice.pk,
            content=ContentFile(f"A file about {CANARY}".encode()),
            name=f"{CANARY}.txt",
            purpose="user_data",
        )
        cls.page_of_talk = f"{LIST}{cls.talk.pk}/change/"

    def signed_in(self, user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    def new_entries(self) -> list[AccessLogEntry]:
        return list(AccessLogEntry.objects.exclude(pk=self.entry.pk).newest_first())


def texts_of(conversation: Conversation) -> list[str]:
    return list(Message.objects.of(conversation.pk).oldest_first().values_list("content", flat=True))
