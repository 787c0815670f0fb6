"""Other versions of a message: regenerated, edited, and switching between them."""

from __future__ import annotations

import datetime as dt
import json
import re

from django.utils import timezone
from playwright.sync_api import expect

from chatservice.testing import tried_once
from completions.models import Run
from conversations.models import Conversation, Message
from tests.browser.chatting import ChatCase


@tried_once
class BranchTest(ChatCase):
    def test_an_answer_again_is_another_version(self) -> None:
        self.open()
        self.ask("Say something")
        self.is_answered()
        self.page.get_by_role("button", name="Regenerate answer").click()
        expect(self.page.get_by_text("2/2")).to_be_visible()
        self.is_answered()
        self.assertEqual([row.role for row in self.stored()], ["user", "assistant", "assistant"])
        expect(self.page.locator("article")).to_have_count(2)
        self.page.get_by_role("button", name="Previous version").click()
        expect(self.page.get_by_text("1/2")).to_be_visible()
        self.assertEqual(self.conversation().head_id, self.stored()[1].pk)

    def test_an_edit_makes_a_branch_and_the_old_one_stays(self) -> None:
        talk = self.talk("First question", "First answer", "Second question", "Second answer", title="Branches")
        self.open(f"/#{talk.pk}")
        self.page.locator("article.mine").first.hover()
        self.page.locator("article.mine").first.get_by_role("button", name="Edit message").click()
        field = self.page.get_by_role("textbox", name="Edit message")
        expect(field).to_have_value("First question")
        field.fill("Another question")
        field.press("Enter")
        self.is_answered()
        expect(self.page.locator("article")).to_have_count(2)
        self.says("Another question")
        expect(self.page.get_by_text("2/2")).to_be_visible()
        self.page.get_by_role("button", name="Previous version").click()
        expect(self.page.get_by_text("Second answer")).to_be_visible()
        expect(self.page.get_by_text("1/2")).to_be_visible()
        self.page.reload()
        expect(self.page.get_by_text("Second answer")).to_be_visible()
        self.assertEqual(len(self.stored()), 6)

    def test_a_retry_that_failed_is_no_version(self) -> None:
        talk = self.talk("A question", "A good answer")
        self.open(f"/#{talk.pk}", model="fake/429:110")
        self.page.get_by_role("button", name="Regenerate answer").click()
        for _ in range(2):  # live and later
            state = self.page.locator("article.theirs .state")
            expect(state).to_contain_text("The model's server is receiving too many requests.")
            expect(self.page.locator(".versions")).to_have_count(0)
            self.page.reload()
            self.is_ready()
        state.get_by_role("button", name="Back to the last answer").click()
        expect(self.answers().last).to_contain_text("A good answer")
        expect(self.answers().last.locator("footer")).to_be_visible()
        expect(self.page.locator(".versions")).to_have_count(0)
        self.page.get_by_label("Model").select_option("")
        self.page.get_by_role("button", name="Regenerate answer").click()
        expect(self.page.get_by_text("2/2")).to_be_visible()
        self.is_answered()
        # Whoever went on from it can come back to it.
        failed = Message.objects.of(talk.pk).get(status=Message.Status.FAILED)
        Message.objects.create(conversation=talk, parent=failed, position=9, role="user", content="Well?")
        self.page.reload()
        expect(self.page.get_by_text("3/3")).to_be_visible()

    def test_leaving_an_edit_changes_nothing(self) -> None:
        talk = self.talk("A question", "An answer")
        self.open(f"/#{talk.pk}")
        self.page.get_by_label("Message", exact=True).press("ArrowUp")
        field = self.page.get_by_role("textbox", name="Edit message")
        field.fill("Something else")
        field.press("Escape")
        expect(self.page.locator("article.mine .body")).to_have_text("A question")
        self.assertEqual(len(self.stored()), 2)


@tried_once
class ListTest(ChatCase):
    def menu(self, title: str) -> None:
        self.page.get_by_role("link", name=title).hover()
        self.page.get_by_role("button", name=f"Actions for {title}").click()

    def test_a_conversation_goes_on_with_its_model_and_a_new_chat_with_the_one_chosen_for_it(self) -> None:
        self.open()
        self.page.evaluate("localStorage.setItem('model', '\"fake/ok\"')")
        self.page.reload()
        self.is_ready()
        picker = self.page.get_by_label("Model")
        self.ask("Asked of the fake one")
        self.is_answered()
        self.page.get_by_role("button", name="New chat").first.click()
        expect(picker).to_have_value("fake/ok")
        picker.select_option("")
        self.ask("Asked of the default one")
        self.is_answered()
        title = self.page.locator("#title")
        fake, other = (self.page.get_by_role("link", name=f"Asked of the {name} one") for name in ("fake", "default"))
        fake.click()
        expect(title).to_have_text("Asked of the fake one")
        expect(picker).to_have_value("fake/ok")
        picker.select_option("")  # chosen, but not asked yet
        other.click()
        expect(title).to_have_text("Asked of the default one")
        expect(picker).to_have_value("")
        picker.select_option("fake/ok")
        fake.click()
        expect(title).to_have_text("Asked of the fake one")
        expect(picker).to_have_value("")
        picker.select_option("fake/ok")
        self.ask("And more of it")
        expect(self.page.locator("article.theirs")).to_have_count(2)
        self.is_answered()
        self.page.reload()
        self.is_ready()
        expect(picker).to_have_value("fake/ok")
        self.page.get_by_role("button", name="New chat").first.click()
        expect(picker).to_have_value("")
        asked = Run.objects.filter(user=self.user).order_by("pk").values_list("model", flat=True)
        self.assertEqual(list(asked), ["fake/ok", "echo", "fake/ok"])

    def test_rename(self) -> None:
        talk = self.talk("Hello", "Hi", title="Old name")
        self.open(f"/#{talk.pk}")
        self.menu("Old name")
        self.page.get_by_role("button", name="Rename").click()
        self.page.get_by_label("Title").fill("New name")
        self.page.get_by_label("Title").press("Enter")
        expect(self.page.get_by_role("link", name="New name")).to_be_visible()
        expect(self.page).to_have_title("New name · Chat")
        self.assertEqual(self.conversation().title, "New name")

    def test_a_conversation_is_saved_in_the_format_that_is_chosen(self) -> None:
        said = [f"Message {number}" for number in range(45)]
        self.talk(*said, title="To keep: a/b")
        self.open()
        texts = {}
        for name, ending in (("Markdown", "md"), ("JSONL", "jsonl"), ("JSON", "json")):
            self.menu("To keep")
            self.page.get_by_role("button", name="Save…").click()
            dialog = self.page.get_by_role("alertdialog", name="Save this conversation")
            self.assert_accessible()
            with self.page.expect_download() as saving:
                dialog.get_by_role("button", name=name, exact=True).press("Enter")
            self.assertEqual(saving.value.suggested_filename, f"To keep  a b.{ending}")
            texts[ending] = saving.value.path().read_text(encoding="utf-8")
        self.assertEqual(texts["md"][:16], "# To keep: a/b\n\n")
        self.assertEqual(re.findall(r"^Message \d+$", texts["md"], re.MULTILINE), said)
        self.assertEqual([each["content"] for each in json.loads(texts["jsonl"])["messages"]], said)
        self.assertEqual(len(json.loads(texts["json"])["mapping"]), len(said) + 1)

    def test_archive_and_back(self) -> None:
        self.talk("Hello", "Hi", title="To be kept away")
        self.open()
        self.menu("To be kept away")
        self.page.get_by_role("button", name="Archive", exact=True).last.click()
        expect(self.page.get_by_role("link", name="To be kept away")).to_have_count(0)
        self.assertIsNotNone(self.conversation().archived_at)
        self.page.get_by_role("button", name="Undo").click()
        expect(self.page.get_by_role("link", name="To be kept away")).to_be_visible()
        self.assertIsNone(self.conversation().archived_at)

    def test_a_pinned_conversation_is_above_the_others_however_old_it_is(self) -> None:
        old = self.talk("Hello", "Hi", title="To be at hand", updated_at=timezone.now() - dt.timedelta(days=60))
        Conversation.objects.bulk_create(Conversation(owner=self.user, title=f"Newer {at}") for at in range(35))
        self.open(f"/#{old.pk}")
        links, pinned = self.page.locator("#conversations a"), self.page.get_by_role("heading", name="Pinned")
        expect(links).to_have_count(30)
        self.page.locator("#talk-menu").click()
        self.page.get_by_role("button", name="Pin", exact=True).click()
        expect(links.first).to_have_text("To be at hand")
        self.page.reload()
        expect(pinned).to_be_visible()
        expect(links).to_have_count(31)
        self.page.get_by_role("button", name="Show more").click()
        expect(links).to_have_count(36)
        expect(links.first).to_have_text("To be at hand")
        self.assert_accessible()
        self.page.locator("#conversations").get_by_role("button", name="Actions for To be at hand").click()
        self.page.get_by_role("button", name="Unpin").click()
        expect(pinned).to_have_count(0)
        old.refresh_from_db()
        self.assertIsNone(old.pinned_at)
        self.page.locator("#talk-menu").click()
        expect(self.page.get_by_role("button", name="Pin", exact=True)).to_be_visible()

    def test_the_archive_is_shown_whatever_is_searched_and_names_itself_and_the_way_back(self) -> None:
        self.talk("Hello", "Hi", title="At hand")
        self.talk("Hello", "Hi", title="Kept away", archived_at=timezone.now())
        self.open()
        self.find("Hello")
        expect(self.page.locator("#hits a").filter(has_text="archived")).to_have_count(1)
        self.page.get_by_role("button", name="Archived").click()
        expect(self.page.get_by_role("heading", name="Archived")).to_be_visible()
        expect(self.page.locator("#conversations a")).to_have_text(["Kept away"])
        expect(self.page.get_by_label("Search messages")).to_have_value("")
        self.assert_accessible()
        back = self.page.get_by_role("button", name="All conversations")
        expect(back).to_be_focused()
        back.press("Enter")
        expect(self.page.locator("#conversations a")).to_have_text(["At hand"])
        expect(self.page.get_by_role("button", name="Archived")).to_be_focused()

    def test_delete_asks_first(self) -> None:
        talk = self.talk("Hello", "Hi", title="Unwanted")
        self.open(f"/#{talk.pk}")
        for answer, left in (("Cancel", 1), ("Delete", 0)):
            self.menu("Unwanted")
            self.page.locator("#menu").get_by_role("button", name="Delete").click()
            self.page.get_by_role("dialog").get_by_role("button", name=answer).click()
            expect(self.page.get_by_role("dialog")).to_have_count(0)
            expect(self.page.get_by_role("link", name="Unwanted")).to_have_count(left)
            self.assertEqual(Conversation.objects.filter(pk=talk.pk).count(), left)
        expect(self.page.get_by_role("heading", name="What is on your mind?")).to_be_visible()

    def test_somebody_elses_conversation_is_not_there(self) -> None:
        theirs = Conversation.objects.create(owner=self.bob.user, title="Bob's own")
        for address in (theirs.pk, "01900000-0000-7000-8000-000000000000", "nonsense"):
            self.page.goto(f"/#{address}")
            expect(self.page.get_by_text("it is not yours")).to_be_visible()
            expect(self.page.get_by_text("Bob's own")).to_have_count(0)
            self.page.goto("about:blank")

    def test_more_conversations_come_on_demand(self) -> None:
        for number in range(35):
            self.talk("Hello", title=f"Talk {number}")
        self.open()
        expect(self.page.locator("#conversations a")).to_have_count(30)
        self.page.get_by_role("button", name="Show more").click()
        expect(self.page.locator("#conversations a")).to_have_count(35)
