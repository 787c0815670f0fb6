"""Pictures and files of messages, on the chat page and in the admin."""

from __future__ import annotations

import base64
from typing import Any

from django.core.files.base import ContentFile
from playwright.sync_api import FilePayload, Locator, Page, expect

from accounts.models import User
from chatservice.testing import needs_dialect, tried_once, wait_until
from conversations.models import AccessLogEntry, Conversation, Message
from conversations.services import append_message, start_conversation
from files.models import File
from files.public_ids import public_id
from files.services import delete_file, store_file
from files.tests.pictures import picture
from tests.browser.case import PHONE, WIDE, BrowserTestCase
from tests.browser.chatting import ChatCase
from tests.staff import LIST, REASON, staff

ELSEWHERE = "https://evil.example/whale.png"
GIVE = """([kind, name, type, text]) => {
  const data = new DataTransfer();
  data.items.add(new File([text], name, { type }));
  const how = { bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data };
  const event = kind === "drop" ? new DragEvent(kind, how) : new ClipboardEvent(kind, how);
  (document.activeElement ?? document.body).dispatchEvent(event);
}"""
DESK = {"width": 1440, "height": 900}


class Illustrated:
    """A conversation of somebody with pictures and files."""

    def __init__(self, owner: User) -> None:
        self.owner = owner
        self.whale = self.store("whale.png", picture(size=(1600, 900)))
        self.notes = self.store("notes about whales.txt", b"Whales sleep near the surface.")
        self.gone = self.store("gone.png", picture())
        self.broken = self.store("broken.png", picture()[:60])
        self.talk: Conversation = start_conversation(owner_id=owner.pk, title="Whales")
        self.question = self.say(
            "user",
            {"type": "text", "text": "Is this one asleep?"},
            self.image(self.whale),
            {"type": "file", "file": {"file_id": public_id(self.notes.pk)}},
            self.image(self.gone),
            self.image(self.broken),
            {"type": "image_url", "image_url": {"url": ELSEWHERE}},
        )
        append_message(conversation=self.talk, role="assistant", content="It is.", model="default")
        self.only_picture = self.say("user", self.image(self.store("tall.jpg", picture("JPEG", size=(300, 1200)))))
        append_message(conversation=self.talk, role="assistant", content="That one is awake.", model="default")
        delete_file(file=self.gone)

    def store(self, name: str, content: bytes) -> File:
        return store_file(owner_id=self.owner.pk, content=ContentFile(content), name=name, purpose="vision")

    def image(self, file: File) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"file_id": public_id(file.pk)}}

    def say(self, role: str, *content: dict[str, Any]) -> Any:
        text = "\n".join(part["text"] for part in content if part["type"] == "text")
        return append_message(conversation=self.talk, role=role, content=text, extras={"content": list(content)})


def plain(name: str, size: int = 60) -> FilePayload:
    return FilePayload(name=name, mimeType="text/plain", buffer=b"a" * size)


def is_painted(image: Locator) -> None:
    image.scroll_into_view_if_needed()
    expect(image).to_have_js_property("complete", True)
    assert image.evaluate("each => each.decode().then(() => each.naturalWidth)") > 0


@tried_once
class FilesOnThePageTest(ChatCase):
    network_may_fail = True  # the thumbnail of a broken picture

    def setUp(self) -> None:
        super().setUp()
        self.told = Illustrated(self.user)

    def is_shown(self, page: Page) -> None:
        question = page.locator(f"#m-{self.told.question.pk}")
        is_painted(question.get_by_role("img", name="whale.png"))
        expect(question.get_by_role("link", name="notes about whales.txt")).to_contain_text("Text, 30\xa0bytes")
        expect(question.get_by_role("img")).to_have_count(1)
        expect(question.get_by_role("link", name="broken.png")).to_contain_text("PNG, 60\xa0bytes")
        expect(question.locator(".gone")).to_contain_text("Picture")
        expect(question.locator(".gone")).to_contain_text("no longer available")
        expect(question.get_by_role("link", name="evil.example")).to_have_attribute("href", ELSEWHERE)
        is_painted(page.locator(f"#m-{self.told.only_picture.pk}").get_by_role("img", name="tall.jpg"))
        width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        self.assertEqual(width, 0)

    def test_they_are_shown_in_every_width_light_and_dark_and_after_a_reload(self) -> None:
        for name, size in (("phone", PHONE), ("wide", DESK)):
            self.page.set_viewport_size(size)  # type: ignore[arg-type]  # two integers
            for scheme in ("light", "dark"):
                with self.subTest(f"{name}, {scheme}"):
                    self.page.emulate_media(color_scheme=scheme)
                    self.open(f"/#{self.told.talk.pk}")
                    self.page.reload()
                    self.is_ready()
                    self.is_shown(self.page)
                    self.assert_accessible()
                    self.page.locator("#scroller").evaluate("box => box.scrollTop = 0")
                    self.shot(f"files-{name}-{scheme}")

    def test_files_are_chosen_dropped_and_pasted_kept_with_the_draft_and_sent(self) -> None:
        self.open()
        whale = FilePayload(name="blue whale.png", mimeType="image/png", buffer=picture(size=(90, 60)))
        with self.page.expect_file_chooser() as choosing:
            self.page.get_by_role("button", name="Attach files").click()
        choosing.value.set_files([whale, plain("wrong.txt")])
        attached = self.page.get_by_role("list", name="Attached files")
        expect(attached.get_by_role("listitem")).to_have_count(2)
        is_painted(attached.get_by_role("img", name="blue whale.png"))
        self.page.reload()
        self.is_ready()
        is_painted(attached.get_by_role("img", name="blue whale.png"))
        self.page.evaluate(GIVE, ["drop", "dropped.csv", "text/csv", "a,b"])
        self.page.evaluate(GIVE, ["paste", "pasted.md", "text/markdown", "# Whales"])
        expect(attached.get_by_role("listitem")).to_have_count(4)
        expect(attached.get_by_role("progressbar")).to_have_count(0)
        attached.get_by_role("button", name="Remove wrong.txt").click()
        expect(attached.get_by_text("wrong.txt")).to_have_count(0)
        self.assert_accessible()
        names = ["blue whale.png", "dropped.csv", "pasted.md"]
        wait_until(lambda: not File.objects.filter(name="wrong.txt").exists(), what="its deletion")
        self.page.get_by_role("button", name="Send", exact=True).click()  # without a word
        self.is_answered()
        expect(attached).to_be_hidden()
        for _ in range(2):
            question = self.page.locator("article.mine")
            is_painted(question.get_by_role("img", name="blue whale.png"))
            for name in names[1:]:
                expect(question.get_by_role("link", name=name)).to_be_visible()
            self.page.reload()
            self.is_ready()
        asked = Message.objects.filter(conversation__owner=self.user, role="user").latest("created_at")
        self.assertEqual([part.file and part.file.name for part in asked.parts.exclude(file=None)], names)

    def test_what_is_not_attached_is_said(self) -> None:
        self.open()
        field = self.page.locator("#file")
        toasts = self.page.locator("#toasts")
        field.set_input_files(plain("empty.txt", 0))
        expect(toasts).to_contain_text("“empty.txt” is empty.")
        self.page.locator("#composer").evaluate("form => form.dataset.bytes = '100'")
        field.set_input_files([plain("a.txt"), plain("a.txt"), plain("large.txt", 101)])
        expect(toasts).to_contain_text("“a.txt” is left out: a message takes 1 KB of files.")
        expect(toasts).to_contain_text("“large.txt” is too large")
        expect(self.page.locator("#attached li")).to_have_count(1)
        self.page.locator("#composer").evaluate("form => form.dataset.bytes = ''")
        field.set_input_files([plain(f"{number}.txt") for number in range(20)])
        expect(toasts).to_contain_text("“19.txt” is left out: a message takes 20 files.")
        expect(self.page.locator("#attached li")).to_have_count(20)
        expect(self.page.locator("#attached progress")).to_have_count(0)  # none of them is refused below
        self.page.get_by_role("button", name="Remove 18.txt").click()
        self.page.route("**/v1/files", lambda route: route.fulfill(status=413, body="<html>no</html>"))
        field.set_input_files(plain("refused.txt"))
        expect(toasts).to_contain_text("“refused.txt” was not uploaded. It is too large for this service.")
        self.page.unroute("**/v1/files")
        toasts.get_by_role("button", name="Try again").click()
        expect(self.page.get_by_role("button", name="Remove refused.txt")).to_be_visible()
        self.page.get_by_label("Search messages").focus()
        self.page.evaluate(GIVE, ["paste", "pasted.md", "text/markdown", "# Whales"])
        expect(toasts).to_contain_text("Files go with a message")

    def test_an_edit_keeps_the_files_that_there_are(self) -> None:
        self.open(f"/#{self.told.talk.pk}")
        question = self.page.locator(f"#m-{self.told.question.pk}")
        question.get_by_role("button", name="Edit message").click()
        field = self.page.get_by_role("textbox", name="Edit message")
        field.fill("Are they asleep?")
        field.press("Enter")
        self.is_answered()
        is_painted(self.page.locator("article.mine").get_by_role("img", name="whale.png"))
        expect(self.page.locator("article.mine").get_by_role("link", name="notes about whales.txt")).to_be_visible()

    def test_a_thumbnail_opens_the_picture_and_a_file_is_saved(self) -> None:
        self.page.set_viewport_size(WIDE)  # type: ignore[arg-type]  # two integers
        self.open(f"/#{self.told.talk.pk}")
        with self.page.expect_popup() as opening:
            self.page.get_by_role("img", name="whale.png").click()
        full = opening.value.locator("img")
        is_painted(full)
        self.assertEqual(full.evaluate("each => each.naturalWidth"), 1600)
        with self.page.expect_download() as saving:
            self.page.get_by_role("link", name="notes about whales.txt").click()
        self.assertEqual(saving.value.suggested_filename, "notes about whales.txt")
        self.assertEqual(saving.value.path().read_bytes(), b"Whales sleep near the surface.")

    def test_one_that_came_inside_of_a_question_is_shown(self) -> None:
        needs_dialect("openai_v1")
        url = f"data:image/jpeg;base64,{base64.b64encode(picture('JPEG')).decode()}"
        content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
        body = {"model": "echo", "messages": [{"role": "user", "content": content}]}
        answer = self.alice.http.post("/v1/chat/completions", json=body).raise_for_status()
        self.open(f"/#{answer.headers['X-Conversation-Id']}")
        is_painted(self.page.locator("article.mine").get_by_role("img"))
        self.says("What is this?")

    def test_nobody_else_gets_them(self) -> None:
        bob = self.new_context()
        self.sign_in(self.bob.user, bob)
        page = bob.new_page()
        for address in (f"/files/{public_id(self.told.whale.pk)}", f"/files/{public_id(self.told.whale.pk)}/thumbnail"):
            response = page.goto(address)
            assert response is not None
            self.assertEqual(response.status, 404)
        answer = page.goto(f"/files?message={self.told.question.pk}")
        assert answer is not None
        self.assertEqual(answer.json(), {})

    def test_who_signs_in_next_at_this_browser_does_not_see_what_it_kept(self) -> None:
        self.open(f"/#{self.told.talk.pk}")
        self.is_shown(self.page)
        address = f"/files/{public_id(self.told.whale.pk)}/thumbnail"
        self.context.clear_cookies()
        self.sign_in(self.bob.user)
        self.page.goto("/healthz")
        loaded = "address => new Promise(done => { const image = new Image(); image.onload = () => done(true);"
        loaded += " image.onerror = () => done(false); image.src = address })"
        self.assertFalse(self.page.evaluate(loaded, address))


@tried_once
class FilesInTheAdminTest(BrowserTestCase):
    network_may_fail = True

    def setUp(self) -> None:
        super().setUp()
        self.told = Illustrated(self.alice.user)
        self.transcript = f"{LIST}{self.told.talk.pk}/change/"
        self.sign_in(staff("carol", "view", "read_content"))

    def test_they_are_shown_in_a_transcript(self) -> None:
        self.page.goto(self.transcript)
        self.give_reason("Read the conversation")
        question = self.page.locator(f"#m-{self.told.question.pk}")
        is_painted(question.get_by_role("img", name="whale.png"))
        expect(question.get_by_role("link", name="notes about whales.txt")).to_contain_text("Text, 30\xa0bytes")
        expect(question.get_by_role("link", name="evil.example")).to_have_attribute("href", ELSEWHERE)
        expect(question.locator(".gone")).to_contain_text("no longer available")
        for name, size in (("phone", PHONE), ("wide", DESK)):
            self.page.set_viewport_size(size)  # type: ignore[arg-type]  # two integers
            for scheme in ("light", "dark"):
                self.page.emulate_media(color_scheme=scheme)
                self.assert_accessible()
                question.scroll_into_view_if_needed()
                self.shot(f"staff-files-{name}-{scheme}")
        with self.page.expect_popup() as opening:
            question.get_by_role("img", name="whale.png").click()
        is_painted(opening.value.locator("img"))
        entries = AccessLogEntry.objects.filter(conversation_id=self.told.talk.pk)
        self.assertEqual(list(entries.values_list("kind", "reason")), [("transcript", REASON)])
