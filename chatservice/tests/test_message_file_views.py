"""What the chat page asks for to show the pictures and files of messages."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import httpx2
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.services import guest_user
from chatservice.testing import ServiceTestCase, tried_once
from conversations.models import Message, MessagePart
from conversations.services import append_message, start_conversation
from files.models import File
from files.public_ids import public_id
from files.services import delete_file, store_file
from files.tests.pictures import opened, picture

GONE: dict[str, Any] = dict.fromkeys(("id", "address", "text_details"), "")
GONE |= {"name": "File", "facts": "no longer available", "has_thumbnail": False}


class MessageFilesCase(ServiceTestCase):
    def store(self, name: str, content: bytes) -> File:
        return store_file(owner_id=self.alice.user.pk, content=ContentFile(content), name=name, purpose="vision")

    def say(self, *content: dict[str, Any], owner_id: uuid.UUID | None = None) -> Message:
        talk = start_conversation(owner_id=owner_id or self.alice.user.pk)
        return append_message(conversation=talk, role="user", content="", extras={"content": list(content)})

    def refer(self, file: File, **fields: Any) -> dict[str, Any]:
        return {"type": "file", "file": {"file_id": public_id(file.pk), **fields}}

    def shown(self, *messages: Message, http: httpx2.Client | None = None) -> dict[str, Any]:
        query = {"message": [str(message.pk) for message in messages]}
        response = (http or self.alice.http).get("/files", params=query)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found


@tried_once
class FilesOfMessagesTest(MessageFilesCase):
    def test_each_kind_of_part_is_described_in_the_order_of_the_message(self) -> None:
        whale, notes = self.store("whale.png", picture()), self.store("", b"Whales sleep.")
        message = self.say(
            {"type": "input_image", "file_id": public_id(whale.pk)},
            {"type": "text", "text": "What is this?"},
            self.refer(notes, filename="notes.txt"),
            {"type": "image_url", "image_url": {"url": "https://user@evil.example/a.png"}},
            {"type": "input_file", "file_url": "HTTP://evil.example:81\\@good.example/"},
            {"type": "image_url", "image_url": {"url": "javascript:alert(1)//https://evil.example"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image_url", "image_url": "https://evil.example"},
            {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
            {"type": "image_url", "image_url": {"file_id": ["x"]}},
        )
        plain = append_message(conversation=message.conversation, role="user", content="Nothing with it")
        found = self.shown(message, plain, plain)
        self.assertEqual(list(found), [str(message.pk)])
        size = f"{whale.size / 1024:.1f}\xa0KB"
        self.assertEqual(
            [(each["name"], each["facts"], each["address"], each["has_thumbnail"]) for each in found[str(message.pk)]],
            [
                ("whale.png", f"PNG, {size}", "", True),
                ("notes.txt", "Text, 13\xa0bytes", "", False),
                ("evil.example", "at another site", "https://user@evil.example/a.png", False),
                ("evil.example:81", "at another site", "HTTP://evil.example:81\\@good.example/", False),
                ("evil.example", "at another site", "https://evil.example", False),
                ("Picture", "no longer available", "", False),
            ],
        )

    def test_a_deleted_file_an_expired_one_and_somebody_elses_are_all_gone(self) -> None:
        deleted, expired = self.store("a.txt", b"a"), self.store("b.txt", b"b")
        foreign = store_file(owner_id=self.bob.user.pk, content=ContentFile(b"c"), name="c.txt", purpose="vision")
        message = self.say(*(self.refer(file) for file in (deleted, expired, foreign)))
        self.assertEqual(MessagePart.objects.filter(message=message, file__isnull=False).count(), 3)
        delete_file(file=deleted)
        File.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - dt.timedelta(seconds=1))
        self.assertEqual(self.shown(message)[str(message.pk)], [GONE, GONE, GONE])
        for file in (deleted, expired, foreign):
            self.assertEqual(self.alice.http.get(f"/files/{public_id(file.pk)}").status_code, 404)

    def test_others_messages_are_as_if_they_were_not_there(self) -> None:
        message = self.say(self.refer(self.store("a.txt", b"a")))
        with httpx2.Client(base_url=self.service.url, trust_env=False) as guest:
            for http in (self.bob.http, guest):
                self.assertEqual(self.shown(message, http=http), {})
        self.assertEqual(self.shown(Message(pk=uuid.uuid4())), {})

    def test_guests_see_what_guests_sent(self) -> None:
        file = store_file(owner_id=guest_user().pk, content=ContentFile(picture()), name="a.png", purpose="vision")
        message = self.say(self.refer(file), owner_id=guest_user().pk)
        with httpx2.Client(base_url=self.service.url, trust_env=False) as guest:
            self.assertEqual(self.shown(message, http=guest)[str(message.pk)][0]["name"], "a.png")
            self.assertEqual(guest.get(f"/files/{public_id(file.pk)}/thumbnail").status_code, 200)
        self.assertEqual(self.shown(message), {})

    def test_what_is_no_id_is_passed_over_and_too_many_are_refused(self) -> None:
        for query in ("", "?message=", "?message=x&message=%00", f"?message={'f' * 5_000}", "?other=1"):
            response = self.alice.http.get(f"/files{query}")
            self.assertEqual((response.status_code, response.json()), (200, {}), query)
        many = self.alice.http.get("/files", params=[("message", str(uuid.uuid4()))] * 51)
        self.assertEqual((many.status_code, many.json()["error"]["code"]), (400, "invalid_request"))

    def test_fifty_messages_take_as_many_queries_as_one(self) -> None:
        from accounts.callers import Principal
        from chatservice.message_file_views import _shown_files

        file = self.store("a.txt", b"a")
        ids = [self.say(self.refer(file)).pk for _ in range(5)]
        principal = Principal(self.alice.user.pk, "alice")
        for asked in (ids[:1], ids):
            with self.assertNumQueries(2):
                self.assertEqual(set(_shown_files(principal, asked)), set(asked))


@tried_once
class ContentTest(MessageFilesCase):
    def test_a_picture_is_shown_and_whatever_a_browser_could_run_is_saved(self) -> None:
        for name, content, kind, disposition in (
            ("whale.html", picture(), "image/png", "inline"),
            ("whale.png", b"<script>alert(1)</script>", "text/plain; charset=utf-8", "attachment"),
            ("whale.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text/plain; charset=utf-8", "attachment"),
            ("whale.pdf", b"%PDF-1.7", "application/pdf", "attachment"),
            ("whale.tif", picture("TIFF"), "image/tiff", "attachment"),
        ):
            response = self.alice.http.get(f"/files/{public_id(self.store(name, content).pk)}")
            self.assertEqual(response.content, content)
            self.assertEqual(response.headers["Content-Type"], kind)
            self.assertEqual(response.headers["Content-Disposition"], f'{disposition}; filename="{name}"')
            self.assertEqual(response.headers["X-Content-Type-Options"], "nosniff")
            self.assertTrue(response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'"))
            self.assertNotIn("script", response.headers["Content-Security-Policy"])
            self.assertEqual(response.headers["Cache-Control"], "no-store")

    def test_a_thumbnail_is_sent_once_and_then_only_confirmed_to_its_owner(self) -> None:
        file = self.store("whale.png", picture())
        address = f"/files/{public_id(file.pk)}/thumbnail"
        first = self.alice.http.get(address)
        self.assertEqual(opened(first.content).size, (512, 341))
        self.assertEqual(first.headers["Content-Type"], "image/webp")
        self.assertEqual(first.headers["Content-Security-Policy"], "sandbox; default-src 'none'")
        self.assertEqual(first.headers["Cache-Control"], "private, no-cache")
        known = {"If-None-Match": first.headers["ETag"]}
        again = self.alice.http.get(address, headers=known)
        self.assertEqual((again.status_code, again.content), (304, b""))
        self.assertEqual(self.bob.http.get(address, headers=known).status_code, 404)
        delete_file(file=file)
        self.assertEqual(self.alice.http.get(address, headers=known).status_code, 404)

    def test_what_cannot_be_drawn_has_no_thumbnail(self) -> None:
        for content in (picture()[:60], b"text"):
            response = self.alice.http.get(f"/files/{public_id(self.store('a.png', content).pk)}/thumbnail")
            self.assertEqual((response.status_code, response.json()["error"]["code"]), (404, "no_thumbnail"))
            self.assertEqual(response.headers["Cache-Control"], "no-store")
