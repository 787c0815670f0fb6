"""The subjects who try the matrix, and what each of them owns; their words must never reach anybody else."""

from __future__ import annotations

import base64
import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx2
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.test import Client
from django.utils import timezone

from accounts.callers import Principal
from accounts.models import ApiKey, User
from accounts.services import guest_user, issue_api_key, register_user, revoke_api_key
from chatservice.dialects import DIALECTS
from chatservice.testing import Service, make_api_user, wait_until
from chatservice.testing.sockets import Socket
from completions.cursors import Cursor
from completions.models import Chunk, Run
from conversations.models import AccessLogEntry, Conversation, Message
from conversations.todos import create_todo
from files.services import store_file
from foundation.ids import uuid7
from imports.models import HistoryImport
from search.cursors import write_cursor
from search.queries import Mode, search_messages
from sharing.models import SharedLink
from sharing.tokens import digest_of, token_of

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
NAMES = ("conversation", "message", "answer", "run", "user", "todo", "apikey", "import", "link")


@dataclass(slots=True)
class Subject:
    """A caller of the matrix. `user` owns the caller's rows; `admitted` says whether the credential is valid."""

    name: str
    user: User
    headers: Mapping[str, str]
    http: httpx2.Client
    admitted: bool = True
    own: dict[str, str] = field(default_factory=dict)

    @property
    def is_guest(self) -> bool:
        return not self.headers


def words() -> dict[str, str]:
    """Return a subject's text: nobody else may see the canary in it, and a search finds it by `word`."""
    return {"canary": f"CANARY{uuid.uuid4().hex}", "word": f"WORD{uuid.uuid4().hex}", "key": f"KEY{uuid.uuid4().hex}"}


def ask(subject: Subject, service: Service, text: str, key: str) -> Run:
    """Ask in a new conversation, over the websocket if that dialect is installed, and wait for the answer."""
    before = set(Run.objects.filter(user=subject.user).values_list("pk", flat=True))
    if "websocket" in DIALECTS:
        with Socket(service.websocket_url, additional_headers=dict(subject.headers)) as socket:
            socket.ask(text, client_id=key)
    else:
        body = {"user_id": subject.user.username, "message": text, "client_message_id": key}
        subject.http.post("/conversations/start", json=body).raise_for_status()
    return Run.objects.filter(user=subject.user).exclude(pk__in=before).select_related("message__parent").get()


def things_of(subject: Subject, service: Service) -> dict[str, str]:
    """Let a subject ask something and create a to-do; return the ids of everything created."""
    told = words()
    said = f"{told['canary']} in {told['word']}"
    run = ask(subject, service, said, told["key"])
    conversation, answer = run.conversation, run.message
    assert conversation is not None and answer is not None and answer.parent is not None
    Conversation.objects.filter(pk=conversation.pk).update(title=f"Title {told['canary']}")
    assert conversation.owner_id == subject.user.pk, subject.name
    todo = create_todo(owner_id=subject.user.pk, title=f"Do {told['canary']}", conversation=conversation)
    told_in_file = ContentFile(f"{told['canary']} in a file".encode())
    file = store_file(owner_id=subject.user.pk, content=told_in_file, name=f"{told['canary']}.txt", purpose="user_data")
    # It is over, or the subject could not start another one.
    told_by_import = HistoryImport.objects.create(
        owner=subject.user, file_id=file.pk, file_name=f"{told['canary']}.zip", state=HistoryImport.State.FINISHED
    )
    message = answer.parent
    last = Chunk.objects.filter(run=run).latest("seq")
    AccessLogEntry.objects.create(
        kind=AccessLogEntry.Kind.TRANSCRIPT,
        reader_id=subject.user.pk,
        reader_name="carol",
        owner_id=conversation.owner_id,
        conversation_id=conversation.pk,
        reason=f"Complaint {told['canary']}",
    )
    link = link_to(message)
    return {
        **told,
        "link": str(link.pk),
        "token": link.token,
        "conversation": str(conversation.pk),
        "message": str(message.pk),
        "answer": str(answer.pk),
        "run": str(run.pk),
        "response": f"resp_{run.pk.hex}",
        "thread": f"conv_{conversation.pk.hex}",
        "item": f"msg_{answer.pk.hex}",
        "completion": f"chatcmpl-{run.pk.hex}",
        "cursor": str(Cursor(run.pk, last.seq, last.end)),
        "number": str(message.position),
        "todo": str(todo.pk),
        "file": f"file-{file.pk.hex}",
        "apikey": str(issue_api_key(user=subject.user)[0].pk),
        "import": str(told_by_import.pk),
        "user": str(subject.user.pk),
        "username": subject.user.username,
        "hex": message.pk.hex,
        "page": time_cursor("c", conversation.updated_at, conversation.pk),
        "found": next_of(subject, told["word"]),
    }


def link_to(message: Message) -> SharedLink:
    """Return a shared link to the branch that ends with a message, also where its owner could not make one."""
    pk = uuid7()
    return SharedLink.objects.create(
        id=pk,
        owner_id=message.conversation.owner_id,
        conversation=message.conversation,
        message=message,
        title=message.conversation.title,
        digest=digest_of(token_of(pk)),
        expires_at=timezone.now() + dt.timedelta(days=1),
    )


def nobodys(like: Mapping[str, str]) -> dict[str, str]:
    """Return unused ids of the same age as the others, so that only the owner differs."""
    ids = {name: str(near(uuid.UUID(like[name]))) for name in NAMES}
    conversation = Conversation.objects.get(pk=like["conversation"])
    return {
        **like,
        **words(),
        **ids,
        "completion": f"chatcmpl-{uuid.UUID(ids['run']).hex}",
        "username": f"nobody-{uuid.uuid4().hex[:12]}",
        "response": f"resp_{uuid.UUID(ids['run']).hex}",
        "thread": f"conv_{uuid.UUID(ids['conversation']).hex}",
        "item": f"msg_{uuid.UUID(ids['answer']).hex}",
        "cursor": ".".join([uuid.UUID(ids["run"]).hex, *like["cursor"].split(".")[1:]]),
        "hex": uuid.UUID(ids["message"]).hex,
        "file": f"file-{near(uuid.UUID(like['file'].removeprefix('file-'))).hex}",
        "page": time_cursor("c", conversation.updated_at, uuid.UUID(ids["conversation"])),
        "found": write_cursor(1, (), "nobody"),
    }


def next_of(subject: Subject, word: str) -> str:
    """Return the cursor of the second page of a subject's search for their messages and answers."""
    principal = Principal(subject.user.pk, subject.user.username, is_guest=subject.is_guest)
    # The index is updated after the messages.
    return wait_until(
        lambda: search_messages(principal, word, mode=Mode.TEXT, limit=1).next_cursor,
        what=f"the index of what {subject.name} said",
    )


def near(pk: uuid.UUID) -> uuid.UUID:
    """Return another id of the same millisecond."""
    return uuid.UUID(bytes=pk.bytes[:8] + uuid.uuid4().bytes[8:])


def time_cursor(kind: str, at: dt.datetime, pk: uuid.UUID) -> str:
    """Return a position in a list, encoded as GraphQL does."""
    plain = f"{kind}:{(at - EPOCH) // dt.timedelta(microseconds=1)}:{pk.hex}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def subject_of(name: str, service: Service, *, staff: bool = False, guest_made: bool = False) -> Subject:
    """Create a user with a key."""
    api_user = make_api_user(name, url=service.url, staff=staff)
    # The key with all permissions: if this one cannot reach something, no key can.
    ApiKey.objects.filter(pk=api_user.key.pk).update(may_change_credentials=True)
    if guest_made:
        User.objects.filter(pk=api_user.user.pk).update(guest_made=True)
    return Subject(name, api_user.user, api_user.headers, api_user.http)


def signed_in(user: User, service: Service) -> dict[str, str]:
    """Return the headers of a signed-in browser that sends a request from our own page."""
    client = Client()
    client.force_login(user)
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    return {
        "Cookie": f"theme=dark; {settings.SESSION_COOKIE_NAME}={session}",
        "Origin": service.url,
        "Sec-Fetch-Site": "same-origin",
        "X-Requested-With": "chat",
    }


def at_a_browser(service: Service) -> Subject:
    """Create a user who signed in with a browser, and has no key."""
    user = register_user(username=f"browser-{uuid.uuid4().hex[:12]}")
    headers = signed_in(user, service)
    return Subject("browser", user, headers, _client(service, headers))


def with_bad_sessions(owner: Subject, service: Service) -> list[Subject]:
    """Return the owner as a caller from another site's page, without any page, and after signing out."""
    good, over = signed_in(owner.user, service), signed_in(owner.user, service)
    Session.objects.filter(session_key=over["Cookie"].rpartition("=")[2]).delete()
    headers = {
        "cross-site": {**good, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        "same site": {**good, "Sec-Fetch-Site": "same-site"},
        "unmarked": {"Cookie": good["Cookie"]},
        "signed out": over,
    }
    return [Subject(name, owner.user, each, _client(service, each), admitted=False) for name, each in headers.items()]


def guest(service: Service) -> Subject:
    return Subject("guest", guest_user(), {}, _client(service, {}))


def with_bad_keys(owner: Subject, service: Service) -> list[Subject]:
    """Return the owner as a caller with a key that is expired, revoked, or of a disabled account."""
    _, expired = issue_api_key(user=owner.user, expires_at=timezone.now() - dt.timedelta(seconds=5))
    key, revoked = issue_api_key(user=owner.user)
    revoke_api_key(key=key)
    disabled = subject_of("disabled", service)
    User.objects.filter(pk=disabled.user.pk).update(is_active=False)
    headers = {
        name: {"Authorization": f"Bearer {secret}"} for name, secret in (("expired", expired), ("revoked", revoked))
    }
    headers["disabled"] = dict(disabled.headers)
    return [Subject(name, owner.user, each, _client(service, each), admitted=False) for name, each in headers.items()]


def _client(service: Service, headers: Mapping[str, str]) -> httpx2.Client:
    return httpx2.Client(base_url=service.url, headers=headers, timeout=30, trust_env=False)
