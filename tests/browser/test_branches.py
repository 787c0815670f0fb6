"""Other versions of a message: regenerated, edited, and switching between them."""

from __future__ import annotations

from playwright.sync_api import expect

from conversations.models import Conversation
from tests.browser.case import one_database_is_enough
from tests.browser.chatting import ChatCase


@one_database_is_enough
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

    def test_leaving_an_edit_changes_nothing(self) -> None:
        talk = self.talk("A question", "An answer")
        self.open(f"/#{talk.pk}")
        self.page.get_by_label("Message", exact=True).press("ArrowUp")
        field = self.page.get_by_role("textbox", name="Edit message")
        field.fill("Something else")
        field.press("Escape")
        expect(self.page.locator("article.mine .body")).to_have_text("A question")
        self.assertEqual(len(self.stored()), 2)


@one_database_is_enough
class ListTest(ChatCase):
    def menu(self, title: str) -> None:
        self.page.get_by_role("link", name=title).hover()
        self.page.get_by_role("button", name=f"Actions for {title}").click()

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
