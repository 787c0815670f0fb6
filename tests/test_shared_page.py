"""The page of a shared link: who has it reads that branch without an account, and gets nothing else of the owner."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import httpx2
from django.conf import settings
from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.callers import Principal
from accounts.models import User
from accounts.services import deactivate_users, delete_user
from chatservice.testing import ServiceTestCase, running_service, tried_once, without_request_id
from conversations.models import Conversation, Message
from conversations.services import append_message, delete_conversation, edit_message, start_conversation
from files.public_ids import public_id
from files.services import store_file
from files.tests.pictures import opened, picture
from sharing.models import SharedLink
from sharing.services import revoke_link, share_conversation
from tests.matrix.subjects import link_to, signed_in

CANARY = "CANARYNOTSHARED"


class SharedPageCase(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.owner = self.alice.user
        self.anybody = httpx2.Client(base_url=self.service.url, timeout=30, trust_env=False)
        self.addCleanup(self.anybody.close)
        self.talk_id = start_conversation(
            owner_id=self.owner.pk,
            title="The war",
            metadata={"note": CANARY},
            generation={"instructions": CANARY},
        ).pk

    def say(self, role: str, content: str, **fields: Any) -> Message:
        conversation = Conversation.objects.get(pk=self.talk_id)
        return append_message(conversation=conversation, role=role, content=content, **fields)

    def answered(self) -> Message:
        self.say("user", "When did it *end*?")
        return self.say("assistant", "In **1648**: \\(x^2\\).", model="fake/ok")

    def get(self, link: SharedLink, after: str = "", **headers: str) -> httpx2.Response:
        return self.anybody.get(f"/shared/{link.token}{after}", headers=headers)


@tried_once
class SharedPageTest(SharedPageCase):
    def test_it_shows_the_branch_to_anybody_with_no_cookie_and_no_trace(self) -> None:
        response = self.get(link_to(self.answered()))
        self.assertEqual(response.status_code, 200)
        for shown in (
            '<h1 dir="auto">The war</h1>',
            "When did it <em>end</em>?",
            "<strong>1648</strong>",
            'class="math inline"',
            "fake/ok",
            '<meta name="robots" content="noindex, nofollow">',
        ):
            self.assertIn(shown, response.text)
        headers = response.headers
        self.assertEqual(headers["x-robots-tag"], "noindex, nofollow")
        self.assertEqual(headers["referrer-policy"], "no-referrer")
        self.assertEqual(headers["cache-control"], "no-store")
        self.assertNotIn("set-cookie", headers)
        policy = headers["content-security-policy"]
        self.assertNotIn("unsafe", policy)
        self.assertNotIn("connect-src", policy)
        self.assertIn("default-src 'none'", policy)
        self.assertIsNone(re.search(r"<[^>]+ (on[a-z]+|style)=|<script(?![^>]* src=)", response.text))
        self.assertEqual(self.anybody.head(f"/shared/{link_to(self.answered()).token}").status_code, 200)

    def test_nothing_else_of_the_owner_is_in_it(self) -> None:
        self.say("system", CANARY)
        first = self.say("user", f"{CANARY} on another branch")
        asked = edit_message(message=first, content="When did it end?")
        call = {"id": "call_1", "type": "function", "function": {"name": CANARY, "arguments": f'"{CANARY}"'}}
        self.say("assistant", "", extras={"tool_calls": [call]})
        self.say("tool", CANARY, extras={"tool_call_id": "call_1"})
        answer = self.say("assistant", "In 1648.", extras={"reasoning": CANARY}, model="fake/ok")
        link = link_to(answer)
        self.say("user", f"{CANARY} later")
        elsewhere = start_conversation(owner_id=self.owner.pk, title=CANARY)
        append_message(conversation=elsewhere, role="user", content=CANARY)
        Conversation.objects.filter(pk=self.talk_id).update(title=CANARY)
        shown = self.get(link)
        self.assertIn("In 1648.", shown.text)
        everything = f"{shown.headers} {shown.text}"
        self.assertNotIn(CANARY, everything)
        self.assertNotIn(self.owner.username, everything)
        rows = (self.owner, asked, answer, link, Conversation.objects.get(pk=self.talk_id))
        for pk in (row.pk for row in rows):
            self.assertNotIn(str(pk), everything)
            self.assertNotIn(pk.hex, everything)

    def test_what_is_no_link_that_works_gets_the_same_page(self) -> None:
        answer = self.answered()
        gone: dict[str, str] = {"unknown": "A" * 32, "malformed": "x", "an id": str(link_to(answer).pk)}
        expired = link_to(answer)
        SharedLink.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - dt.timedelta(seconds=1))
        revoked = link_to(answer)
        revoke_link(principal=Principal(self.owner.pk, ""), link_id=revoked.pk)
        bob, carol = self.bob.user, self.api_user("disabled").user
        stopped, inactive = (
            link_to(append_message(conversation=start_conversation(owner_id=user.pk), role="user", content="Hi"))
            for user in (bob, carol)
        )
        deactivate_users(users=[bob])
        User.objects.filter(pk=carol.pk).update(is_active=False)
        deleted = link_to(
            append_message(conversation=start_conversation(owner_id=self.owner.pk), role="user", content="Hi")
        )
        delete_conversation(conversation=deleted.conversation)
        leaving = self.api_user("leaving").user
        erased = link_to(
            append_message(conversation=start_conversation(owner_id=leaving.pk), role="user", content="Hi")
        )
        token_of_erased = erased.token
        delete_user(user=leaving)
        links = {"expired": expired, "revoked": revoked, "stopped": stopped, "inactive": inactive, "deleted": deleted}
        gone |= {name: link.token for name, link in links.items()} | {"erased": token_of_erased}
        wanted = None
        for name, token in gone.items():
            with self.subTest(name):
                response = self.anybody.get(f"/shared/{token}")
                kept = {key: value for key, value in response.headers.items() if key not in ("date", "x-request-id")}
                found = (response.status_code, kept, without_request_id(response.text))
                wanted = wanted or found
                self.assertEqual(found, wanted)
                self.assertEqual(response.status_code, 404)
                self.assertEqual(response.headers["x-robots-tag"], "noindex, nofollow")
                picture = self.anybody.get(f"/shared/{token}/pictures/file-{answer.pk.hex}")
                self.assertEqual((picture.status_code, picture.text), (404, response.text))

    def test_it_gives_no_rights_and_takes_none_from_who_reads_it(self) -> None:
        link = link_to(self.answered())
        shown = self.get(link).text
        browser = signed_in(self.owner, self.service)
        for headers in (browser, self.bob.headers, {"Authorization": "Bearer nonsense"}, {"Cookie": "chat_session=x"}):
            response = self.get(link, **headers)
            self.assertEqual((response.status_code, response.text), (200, shown))
            self.assertNotIn("set-cookie", response.headers)
        before = SharedLink.objects.filter(pk=link.pk).values().get()
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            self.assertEqual(self.anybody.request(method, f"/shared/{link.token}").status_code, 405)
        for path in (f"/v1/chat/conversations/{self.talk_id}", "/v1/chat/me", f"/v1/chat/shared-links/{link.pk}"):
            for headers in (
                {"Authorization": f"Bearer {link.token}"},
                {"Cookie": f"{settings.SESSION_COOKIE_NAME}={link.token}", "X-Requested-With": "chat"},
            ):
                for method in ("GET", "DELETE"):
                    self.assertIn(self.anybody.request(method, path, headers=headers).status_code, (401, 405))
        self.assertEqual(SharedLink.objects.filter(pk=link.pk).values().get(), before)

    def test_a_long_one_has_pages(self) -> None:
        for number in range(101):
            last = self.say("user", f"Number {number}.")
        link = link_to(last)
        first, second = self.get(link), self.get(link, "?page=2")
        self.assertIn("Number 99.", first.text)
        self.assertNotIn("Number 100.", first.text)
        self.assertIn("Number 100.", second.text)
        for page in ("99", "²", "-1", "x", "1e5", "9" * 30):
            self.assertEqual(self.get(link, f"?page={page}").status_code, 200)

    def test_what_was_said_is_never_markup_of_the_page(self) -> None:
        evil = '"><script src="//evil.example"></script><img src=x onerror=alert(1)> [x](javascript:alert(1))'
        self.say("user", evil)
        link = link_to(self.say("assistant", evil, model='"><b id=evil>'))
        SharedLink.objects.filter(pk=link.pk).update(title=evil)
        shown = self.get(link).text
        self.assertEqual(len(re.findall("<script", shown)), 2)  # the page's own
        self.assertNotRegex(shown, r"<img|<b id|href=\"javascript")


@tried_once
class SharedPictureTest(SharedPageCase):
    def test_a_picture_is_shown_as_a_small_copy_and_no_other_file_is(self) -> None:
        def stored(name: str, content: bytes) -> Any:
            kept = ContentFile(content)
            return store_file(owner_id=self.owner.pk, content=kept, name=name, purpose="user_data")

        cat, notes, other = (
            stored("cat.jpg", picture("JPEG")),
            stored("notes.txt", CANARY.encode()),
            stored("b.png", picture("PNG")),
        )
        parts = [
            {"type": "text", "text": "Look"},
            {"type": "image_url", "image_url": {"file_id": public_id(cat.pk)}},
            {"type": "file", "file": {"file_id": public_id(notes.pk)}},
            {"type": "image_url", "image_url": {"url": "https://elsewhere.example/secret.png"}},
        ]
        link = link_to(self.say("user", "Look", extras={"content": parts}))
        page = self.get(link)
        [address] = re.findall(r'<img src="([^"]+)" alt="cat.jpg"', page.text)
        self.assertIn("notes.txt", page.text)
        self.assertIn("elsewhere.example", page.text)
        self.assertNotIn("secret.png", page.text)
        shown = self.anybody.get(address)
        self.assertEqual((shown.status_code, shown.headers["content-type"]), (200, "image/webp"))
        self.assertEqual(opened(shown.content).size[0], 512)
        self.assertEqual(shown.headers["x-robots-tag"], "noindex, nofollow")
        self.assertEqual(shown.headers["cache-control"], "private, no-cache")
        again = {"If-None-Match": shown.headers["etag"]}
        self.assertEqual(self.anybody.get(address, headers=again).status_code, 304)
        for file in (notes, other):
            self.assertEqual(self.get(link, f"/pictures/{public_id(file.pk)}").status_code, 404)
        for file in (cat, notes, other):  # by its own address it is still the owner's alone
            for path in (f"/files/{public_id(file.pk)}", f"/v1/files/{public_id(file.pk)}/content"):
                self.assertIn(self.api_user("eve").http.get(path).status_code, (401, 404))
        SharedLink.objects.filter(pk=link.pk).delete()
        self.assertEqual(self.anybody.get(address, headers=again).status_code, 404)


@tried_once
class SettingsTest(SharedPageCase):
    def test_it_is_off_by_default_and_then_nothing_is_shown_and_the_page_offers_nothing(self) -> None:
        link = link_to(self.answered())
        with running_service(SHARING="") as off:
            there = httpx2.get(f"{off.url}/shared/{link.token}", trust_env=False)
            self.assertEqual(there.status_code, 404)
            self.assertEqual(there.headers["x-robots-tag"], "noindex, nofollow")
            body = {"message_id": str(link.message_id)}
            refused = httpx2.post(
                f"{off.url}/v1/chat/shared-links", json=body, headers=self.alice.headers, trust_env=False
            )
            self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (403, "sharing_refused"))
            self.assertNotIn("data-share-days", httpx2.get(off.url, trust_env=False).text)
            listed = httpx2.get(f"{off.url}/v1/chat/shared-links", headers=self.alice.headers, trust_env=False)
            self.assertEqual([row["id"] for row in listed.json()["data"]], [str(link.pk)])
            self.assertNotIn(link.token, off.log())
        self.assertEqual(self.get(link).status_code, 200)
        self.assertIn('data-share-days="90"', self.anybody.get("/").text)
        self.assertNotIn(link.token, self.service.log())

    def test_readers_are_counted_by_their_address_and_links_work_below_a_prefix(self) -> None:
        answer = self.answered()
        with self.settings(SHARING=True):
            link = share_conversation(principal=Principal(self.owner.pk, ""), message_id=answer.pk)
        with running_service(LIMIT_READS_PER_MINUTE="3", URL_PREFIX="/chat") as service:
            made = httpx2.get(f"{service.url}/chat/v1/chat/shared-links", headers=self.alice.headers, trust_env=False)
            [row] = made.json()["data"]
            self.assertEqual(row["url"], f"{service.url}/chat/shared/{link.token}")
            answers = [httpx2.get(row["url"], trust_env=False) for _ in range(4)]
            self.assertEqual([each.status_code for each in answers], [200, 200, 200, 429])
            self.assertGreater(int(answers[-1].headers["retry-after"]), 0)
            self.assertEqual(answers[-1].headers["x-robots-tag"], "noindex, nofollow")
            self.assertIn('href="/chat/static/', answers[0].text)
