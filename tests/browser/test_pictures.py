"""The screenshots in the documentation: `python -m scripts.screenshots` copies them from test-results/."""

from __future__ import annotations

import datetime as dt
import io

from django.core.management import call_command
from django.utils import timezone
from playwright.sync_api import expect

from accounts.models import User
from accounts.services import delete_user
from chatservice.testing import tried_once
from conversations.models import Conversation, Message
from dashboard import page as dashboard
from tests.browser.case import PHONE, BrowserTestCase
from tests.browser.chatting import ChatCase
from tests.staff import LIST

QUESTION = "How do I keep only the first of each word in a list, in the order they came?"
ANSWER = """A `dict` keeps the order in which its keys were added, so its keys are the answer:

```python
def unique(words: list[str]) -> list[str]:
    \"\"\"Each word once, in the order of its first appearance.\"\"\"
    return list(dict.fromkeys(words))


unique(["b", "a", "b", "c", "a"])  # ["b", "a", "c"]
```

Two things to know:

- It takes **linear time**; `if word not in seen` over a list takes the square of it.
- Words must be hashable. For anything else, remember a key: `{key(x): x for x in reversed(items)}`.
"""
MORE = "And if upper and lower case should count as the same?"
MORE_ANSWER = """Then remember the folded word, and keep the one that came first:

| input | kept |
|---|---|
| `Apple`, `apple` | `Apple` |
| `STRASSE`, `straße` | `STRASSE` |

`str.casefold()` knows more than `lower()`: it makes `ß` and `ss` the same."""
TITLES = (
    ("Deduplicate a list in order", 0),
    ("Dinner for six, one of them vegan", 0),
    ("What a covering index is", 1),
    ("Reminder for the parents' evening", 1),
    ("Plan for three days in Lisbon", 3),
    ("Why the sky is darker at the zenith", 4),
    ("Cover letter, second try", 9),
    ("Rust lifetimes, slowly", 16),
)


@tried_once
class PicturesTest(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        User.objects.filter(username="alice").delete()
        User.objects.filter(pk=self.user.pk).update(username="alice")
        for title, days in reversed(TITLES):
            said = (QUESTION, ANSWER, MORE, MORE_ANSWER) if title == TITLES[0][0] else (title, "Gladly.")
            self.shown_talk = self.talk(*said, title=title)
            at = timezone.now() - dt.timedelta(days=days, minutes=len(title))
            Conversation.objects.filter(pk=self.shown_talk.pk).update(updated_at=at)
        Message.objects.filter(conversation__owner=self.user, role="assistant").update(model="gpt-4o-mini")
        self.addCleanup(User.objects.filter(pk=self.user.pk).delete)

    def look(self, name: str) -> None:
        self.open(f"/#{self.shown_talk.pk}")
        expect(self.page.locator("article")).to_have_count(4)
        self.page.locator("#scroller").evaluate("box => box.scrollTop = 0")
        self.page.wait_for_function("document.getElementById('scroller').scrollTop === 0")
        self.assertTrue(self.shot(name).stat().st_size < 300_000)

    def test_wide_and_dark(self) -> None:
        self.look("page-wide")
        self.page.emulate_media(color_scheme="dark")
        self.page.get_by_label("Search messages").fill("folded word")
        expect(self.page.locator("#hits a").first).to_be_visible()
        self.shot("page-dark")

    def test_phone(self) -> None:
        self.context = self.new_context(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
        self.sign_in(self.user)
        self.page = self.context.new_page()
        self.look("page-phone")


@tried_once
class StaffPicturesTest(BrowserTestCase):
    """The admin, with the history that `manage.py seed_demo` creates."""

    def setUp(self) -> None:
        super().setUp()
        call_command("seed_demo", replace=True, stdout=io.StringIO(), stderr=io.StringIO())
        for user in User.objects.filter(username__startswith="demo-"):
            self.addCleanup(delete_user, user=user)
        self.sign_in(User.objects.get(username="demo-staff"))

    def test_list_search_transcript_and_dashboard(self) -> None:
        self.page.goto(f"{LIST}?owner=demo-alice")  # what other tests leave is newer
        expect(self.page.locator("#result_list")).to_contain_text("demo-alice")
        self.shot("admin-list")
        self.page.locator("#said").fill("wrong encoding")
        self.page.keyboard.press("Enter")
        self.give_reason("Search with this reason")
        expect(self.page.locator(".snippet mark").first).to_be_visible()
        self.shot("admin-search")
        self.page.locator(".hits a[href*='#m-']").first.click()
        self.give_reason("Read the conversation")
        expect(self.page.locator(".transcript .markdown").first).to_be_visible()
        self.shot("admin-transcript")
        dashboard.forget()
        self.page.emulate_media(color_scheme="dark")
        self.page.goto("/admin/dashboard/")
        expect(self.page.get_by_role("img", name="Messages per day")).to_be_visible()
        self.shot("admin-dashboard")
