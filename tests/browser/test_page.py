"""The page itself: search, guests, phones, the keyboard, hostile text, weight, accessibility."""

from __future__ import annotations

import gzip
import re

from playwright.sync_api import FilePayload, expect

from chatservice.testing import running_service, tried_once, wait_until
from completions.models import Run
from conversations.models import Conversation, Message
from search.models import PendingMessage
from tests.browser.case import PHONE
from tests.browser.chatting import ChatCase, copy_all, flat

FIRST_LOAD_BYTES = 60_000  # compressed, as a proxy or a CDN sends them


@tried_once
class SearchTest(ChatCase):
    def test_a_hit_is_marked_and_leads_to_the_message(self) -> None:
        said = [f"Filler number {number}, about nothing in particular" for number in range(120)]
        said[10] = "The recipe needs saffron, and patience"
        talk = self.talk(*said, title="Cooking")
        self.talk("Something else", "Entirely", title="Other")
        self.open()
        self.page.keyboard.press("Control+k")
        self.find("saffron")
        hit = self.page.locator("#hits a")
        expect(hit).to_have_count(1)
        expect(hit.locator("mark")).to_have_text("saffron")
        expect(hit).to_contain_text("Cooking")
        hit.click()
        target = self.page.locator("article", has_text="The recipe needs saffron")
        expect(target).to_be_in_viewport()
        expect(target).to_be_focused()
        self.assertEqual(self.page.evaluate("[...CSS.highlights.get('found')].map(String)"), ["saffron"])
        self.assertIn(str(talk.pk), self.page.url)
        # Both ends of the conversation can be reached from there.
        self.page.locator("#scroller").evaluate("box => box.scrollTop = 0")
        expect(self.page.get_by_text("Filler number 0,")).to_be_attached()
        expect(self.page.locator("#older")).to_be_hidden()
        self.page.get_by_role("button", name="Jump to the latest message").click()
        expect(self.page.get_by_text("Filler number 119,")).to_be_in_viewport()

    def test_a_hit_on_another_branch_shows_that_branch(self) -> None:
        talk = self.talk("A question", "An answer about saffron")
        first = Message.objects.of(talk.pk).get(position=1)
        other = Message.objects.create(
            conversation=talk, parent=first, position=3, role="assistant", content="About pepper"
        )
        Conversation.objects.filter(pk=talk.pk).update(head=other, next_position=4)
        self.open(f"/#{talk.pk}")
        expect(self.page.get_by_text("About pepper")).to_be_visible()
        self.find("saffron")
        self.page.locator("#hits a").click()
        expect(self.page.get_by_text("An answer about saffron").last).to_be_visible()
        expect(self.page.get_by_text("About pepper")).to_have_count(0)
        expect(self.page.get_by_text("1/2")).to_be_visible()

    def test_what_is_asked_at_a_hit_is_what_a_reload_shows(self) -> None:
        self.talk("A question about saffron", "An answer")
        self.open()
        self.find("saffron")
        self.page.locator("#hits a").click()
        expect(self.page.locator("article.mine")).to_be_focused()
        self.page.locator("article.mine").get_by_role("button", name="Edit message").click()
        field = self.page.get_by_role("textbox", name="Edit message")
        field.fill("A question about pepper")
        field.press("Enter")
        self.is_answered()
        self.says("pepper")
        head = self.conversation().head_id
        self.page.reload()
        self.says("pepper")
        expect(self.page.get_by_text("2/2")).to_be_visible()
        self.assertEqual(self.conversation().head_id, head)

    def test_a_hit_is_marked_while_the_next_question_is_on_its_way(self) -> None:
        self.network_may_fail = True  # the held request is aborted at the end
        self.talk("The recipe needs saffron, and patience", title="Cooking")
        self.open()
        self.find("saffron")
        hit = self.page.locator("#hits a")
        expect(hit).to_have_count(1)
        self.page.route(
            "**/graphql", lambda route: None if "pepper" in (route.request.post_data or "") else route.continue_()
        )
        with self.page.expect_request(lambda request: "pepper" in (request.post_data or "")):
            self.page.get_by_label("Search messages").fill("pepper")
        hit.click()
        expect(self.page.locator("article", has_text="The recipe needs saffron")).to_be_focused()
        self.assertEqual(self.page.evaluate("[...CSS.highlights.get('found')].map(String)"), ["saffron"])

    def test_a_hit_shows_no_signs_of_markdown(self) -> None:
        self.talk("## Rice\n> Take **saffron**, `salt` and 2 * 3 eggs of snake_case")
        self.open()
        self.find("saffron")
        expect(self.page.locator("#hits .snippet")).to_have_text("Rice Take saffron, salt and 2 * 3 eggs of snake_case")
        expect(self.page.locator("#hits mark")).to_have_text("saffron")

    def test_what_is_only_near_is_shown_below_a_line_that_says_so(self) -> None:
        self.talk("The recipe needs saffron, and patience", title="Cooking")
        self.talk("Otters sleep afloat", title="Otters")
        self.open()
        wait_until(lambda: not PendingMessage.objects.exists(), what="the index of meaning")
        hits = self.page.locator("#hits li")
        self.page.get_by_label("Search messages").fill("zyzzyva qwxk")
        expect(hits.first).to_have_text("Nothing said that; nearest by meaning:")
        expect(hits).to_have_count(3)
        self.page.get_by_label("Search messages").fill("the recipe needs saffron")
        expect(hits.first).to_contain_text("Cooking")
        expect(hits.nth(1)).to_have_text("Nearest by meaning:")
        expect(hits.nth(2)).to_contain_text("Otters")
        # The arrows go from hit to hit.
        self.page.get_by_label("Search messages").press("ArrowDown")
        self.page.keyboard.press("ArrowDown")
        expect(hits.nth(2).locator("a")).to_be_focused()

    def test_the_hits_of_a_conversation_are_folded_into_its_best_one(self) -> None:
        self.talk("Saffron, please", "Saffron it is", "More saffron", "No more saffron", title="Cooking")
        self.talk("Is saffron a colour?", title="Colours")
        self.open()
        self.find("saffron")
        hits = self.page.locator("#hits a")
        expect(hits).to_have_count(2)
        more = self.page.locator("#hits").get_by_role("button", name="3 more in this conversation")
        self.page.get_by_label("Search messages").press("ArrowDown")
        for _ in range(2):
            if not more.evaluate("each => each === document.activeElement"):
                self.page.keyboard.press("ArrowDown")
        expect(more).to_be_focused()
        self.page.keyboard.press("Enter")
        expect(hits).to_have_count(5)
        expect(self.page.locator("#hits .fold a").first).to_be_focused()
        self.assertEqual(self.page.locator("#hits .fold a", has_text="Colours").count(), 0)

    def test_nothing_found_is_said(self) -> None:
        self.open()
        self.find("zyzzyva")
        expect(self.page.get_by_text("No results.")).to_be_visible()
        self.page.get_by_label("Search messages").press("Escape")
        expect(self.page.get_by_text("No results.")).to_be_hidden()

    def test_that_only_words_were_searched_is_said_also_where_none_was_found(self) -> None:
        service = self.enterContext(
            running_service(
                SEARCH_EMBEDDER="openai:embedder", OPENAI_BASE_URL="http://127.0.0.1:9/v1", OPENAI_API_KEY="sk-x"
            )
        )
        self.home = service.url
        context = self.new_context(base_url=service.url)
        self.sign_in(self.user, context)
        page = self.open(f"{service.url}/", page=context.new_page())
        page.get_by_label("Search messages").fill("zyzzyva")
        told = re.compile(
            "No results. Try other words. (The embedder is still loading|The embeddings server does not answer)"
        )
        expect(page.locator("#search-note")).to_have_text(told)


@tried_once
class GuestTest(ChatCase):
    def setUp(self) -> None:
        super().setUp()
        self.context.clear_cookies()

    def test_a_guest_can_talk_and_is_told_that_it_is_one(self) -> None:
        self.open()
        expect(self.page.get_by_text("You are a guest")).to_be_visible()
        self.ask("Hello from a guest")
        self.is_answered()
        self.says("Hello from a guest")
        expect(self.page.get_by_role("link", name="Sign in")).to_be_visible()
        self.page.locator("#file").set_input_files(FilePayload(name="a.txt", mimeType="text/plain", buffer=b"a"))
        expect(self.page.get_by_text("sign in to attach some")).to_be_visible()

    def test_a_session_that_ended_leads_to_the_sign_in_and_not_to_the_guests(self) -> None:
        self.network_may_fail = True
        self.sign_in(self.user)
        self.open()
        self.user.set_password("a new long phrase")
        self.user.save()
        self.page.wait_for_timeout(1_100)  # KEY_CACHE_SECONDS: the service caches the session that long
        self.page.get_by_label("Search messages").fill("hello")
        dialog = self.page.get_by_role("alertdialog", name="You are signed out")
        dialog.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/login?next=**")

    def test_signing_out_ends_the_session(self) -> None:
        self.sign_in(self.user)
        self.open()
        self.page.get_by_role("button", name="Sign out").click()
        self.page.wait_for_url("**/login?next=**")
        self.open()
        expect(self.page.get_by_text("You are a guest")).to_be_visible()


# The lines that the text of each element takes.
LINES = """all => all.map((each) => {
  const text = new Range();
  text.selectNodeContents(each);
  return text.getClientRects().length;
})"""


@tried_once
class PhoneTest(ChatCase):
    viewport = PHONE
    options = {"has_touch": True, "is_mobile": True}

    def test_the_list_is_a_drawer_and_everything_fits(self) -> None:
        self.talk("Hello", "Hi there", title="On the way")
        self.open()
        expect(self.page.get_by_role("link", name="On the way")).to_be_hidden()
        self.page.get_by_role("button", name="Conversations and search").click()
        self.page.get_by_role("link", name="On the way").click()
        expect(self.page.get_by_text("Hi there")).to_be_visible()
        expect(self.page.get_by_role("link", name="On the way")).to_be_hidden()
        self.ask("x" * 300)
        self.is_answered()
        self.assertLessEqual(self.page.evaluate("document.documentElement.scrollWidth"), PHONE["width"])
        self.assert_accessible()
        self.page.get_by_role("button", name="Conversations and search").click()
        self.assert_accessible()

    def test_the_header_has_room_for_the_title_while_the_line_is_down(self) -> None:
        talk = self.talk("Hello", "Hi there", title="A conversation with a title that is long enough")
        self.open(f"/#{talk.pk}")
        self.page.evaluate("document.getElementById('line').hidden = false")
        box = self.page.get_by_role("heading", name=talk.title).bounding_box()
        assert box is not None
        self.assertGreater(box["width"], 200)
        self.page.get_by_role("button", name="Conversations and search").click()
        light = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        self.page.get_by_role("button", name="Light or dark").click()
        expect(self.page.locator("body")).not_to_have_css("background-color", light)

    def test_a_wide_table_scrolls_and_breaks_no_word(self) -> None:
        words = ("Configuration", "Compatibility", "Recommendation", "Availability", "Approximately")
        row = f"| {' | '.join(words)} |\n"
        talk = self.talk("A table?", row + "|---" * 5 + "|\n" + row * 3)
        self.open(f"/#{talk.pk}")
        cells = self.page.locator("article td")
        expect(cells).to_have_count(15)
        self.assertEqual(set(cells.evaluate_all(LINES)), {1})
        table = self.page.get_by_role("group", name="Table")
        self.assertTrue(table.evaluate("box => box.scrollWidth > box.clientWidth"))
        self.assertLessEqual(self.page.evaluate("document.documentElement.scrollWidth"), PHONE["width"])
        self.assert_accessible()


@tried_once
class KeyboardTest(ChatCase):
    def test_what_is_done_often_has_a_key(self) -> None:
        newer, older = self.talk("B", "b", title="Newer"), self.talk("A", "a", title="Older")
        Conversation.objects.filter(pk=older.pk).update(updated_at=older.created_at.replace(year=2020))
        self.open()
        page = self.page
        expect(page.get_by_label("Message", exact=True)).to_be_focused()
        page.keyboard.press("Alt+ArrowDown")
        expect(page).to_have_title("Newer · Chat")
        page.keyboard.press("Alt+ArrowDown")
        expect(page).to_have_title("Older · Chat")
        page.keyboard.press("Alt+ArrowUp")
        expect(page).to_have_title("Newer · Chat")
        self.assertTrue(page.url.endswith(str(newer.pk)))
        page.keyboard.press("Control+Shift+O")
        expect(page).to_have_title("New chat · Chat")
        page.keyboard.press("Control+k")
        expect(page.get_by_label("Search messages")).to_be_focused()
        page.locator("#scroller").focus()
        page.keyboard.press("?")
        expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
        self.assert_accessible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        page.keyboard.press("/")
        expect(page.get_by_label("Message", exact=True)).to_be_focused()


HOSTILE = (
    '<img src=x onerror="alert(1)"><script>alert(2)</script>',
    "<svg onload=alert(3)><iframe src=javascript:alert(4)></iframe>",
    "![pixel](https://evil.example/pixel.png) ![p](//evil.example/p.gif)",
    "[click](javascript:alert(5)) [data](data:text/html,<script>alert(6)</script>)",
    '<style>body{background:url(https://evil.example/x)}</style><link rel=stylesheet href="//evil.example/x.css">',
    "```html\n<script>alert(7)</script>\n```\n<base href=https://evil.example/>",
    "&lt;script&gt;alert(8)&lt;/script&gt; <form action=https://evil.example><button>Send</button></form>",
)


@tried_once
class HostileTextTest(ChatCase):
    """Text of users and models stays text: it runs nothing and requests nothing. BrowserTestCase checks it, too."""

    def assert_harmless(self) -> None:
        page = self.page
        self.assertEqual(
            page.locator("#messages :is(script, iframe, style, link, base, form:not(.editor), img)").count(), 0
        )
        self.assertEqual(
            page.locator("#messages [href^='javascript'], #messages [onerror], #messages [onload]").count(), 0
        )
        for link in page.locator("#messages a").all():
            self.assertIn("noopener", link.get_attribute("rel") or "")

    def test_in_stored_messages_and_titles(self) -> None:
        talk = self.talk(*HOSTILE, title=HOSTILE[0])
        self.open(f"/#{talk.pk}")
        expect(self.page.locator("article")).to_have_count(len(HOSTILE))
        expect(self.page.get_by_role("heading", name=HOSTILE[0])).to_be_visible()
        expect(self.page).to_have_title(f"{HOSTILE[0]} · Chat")
        self.assert_harmless()
        self.find("onerror")
        expect(self.page.locator("#hits a").first).to_be_visible()
        self.assertEqual(self.page.locator("#side :is(img, script, iframe)").count(), 0)

    def test_while_it_is_written_and_when_it_is_told_again(self) -> None:
        self.open()
        self.ask("\n\n".join(HOSTILE))
        self.is_answered()
        self.says("alert(2)")
        self.assert_harmless()

    def test_in_an_error_and_in_the_name_of_a_model(self) -> None:
        self.open(model="fake/<img src=x onerror=alert(9)>")
        self.ask("Hello")
        expect(self.page.locator(".state, .toast").first).to_be_visible()
        self.assertEqual(self.page.locator("img").count(), 0)
        self.assertLessEqual(Run.objects.filter(conversation__owner=self.user).count(), 1)


@tried_once
class WeightTest(ChatCase):
    def test_the_first_load_is_light_and_all_of_it_is_ours(self) -> None:
        sizes: list[int] = []
        self.page.on("response", lambda response: sizes.append(len(gzip.compress(response.body()))))
        self.open()
        self.assertLess(sum(sizes), FIRST_LOAD_BYTES)
        self.assertGreater(len(sizes), 10)

    def test_mathematics_is_shown_and_copied_as_source_and_weighs_nothing_where_there_is_none(self) -> None:
        plain = self.talk("What is it?", "It costs $5 and $6, $$ and $$$")
        self.open(f"/#{plain.pk}")
        expect(self.page.get_by_text("It costs $5 and $6, $$ and $$$")).to_be_visible()
        self.assertFalse([url for url in self.requests if "katex" in url])
        formulas = (r"\(x^2\)", "\\[\n\\boxed{\\sqrt{x}}\n= \\pmb{y}\n\\]", "$$a_1$$", r"\(\nosuch\)")
        talk = self.talk("What is it?", "So {}:\n\n{}\n\nand {}, but {}".format(*formulas))
        self.open(f"/#{talk.pk}")
        expect(self.page.locator("article .katex")).to_have_count(3)
        expect(self.page.get_by_text(formulas[-1])).to_be_visible()
        fonts = "document.fonts.ready.then(() => [...document.fonts].some((font) => font.status === 'loaded'))"
        self.assertTrue(self.page.evaluate(fonts))
        copied = copy_all(self.page, "article.theirs .body")
        self.assertEqual([formula for formula in formulas if flat(formula) not in flat(copied)], [], copied)
        self.assert_accessible()

    def test_code_says_its_language_and_can_be_wrapped_saved_and_copied(self) -> None:
        self.context.grant_permissions(["clipboard-read", "clipboard-write"])
        line = "x = 'wide' + " * 40
        talk = self.talk("Code?", f"```python\n{line}\n```")
        self.open(f"/#{talk.pk}")
        code = self.page.locator(".code")
        expect(code.get_by_text("python", exact=True)).to_be_visible()
        is_wide = "pre => pre.scrollWidth > pre.clientWidth"
        self.assertTrue(code.locator("pre").evaluate(is_wide))
        code.get_by_role("button", name="Wrap lines", pressed=False).click()
        self.assertFalse(code.locator("pre").evaluate(is_wide))
        expect(code.get_by_role("button", name="Wrap lines", pressed=True)).to_be_visible()
        with self.page.expect_download() as download:
            code.get_by_role("button", name="Download code").click()
        self.assertEqual(download.value.suggested_filename, "code.py")
        self.assertEqual(download.value.path().read_text(), f"{line}\n")
        code.get_by_role("button", name="Copy code").click()
        expect(self.page.get_by_text("Copied.")).to_be_visible()
        self.assertEqual(self.page.evaluate("navigator.clipboard.readText()"), f"{line}\n")

    def test_the_policy_is_strict(self) -> None:
        for path in ("/", "/login", "/profile"):
            policy = self.guest.get(path).headers["content-security-policy"]
            self.assertIn("default-src 'none'", policy)
            self.assertNotRegex(policy, r"unsafe|\*|https?:")
            page = self.guest.get(path).text
            self.assertIsNone(re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", page), path)


@tried_once
class AccessibilityTest(ChatCase):
    def test_axe_has_nothing_serious_to_say_in_light_and_dark(self) -> None:
        said = "Some **code**:\n\n```python\ndef f(x):\n    return x  # this\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |"
        talk = self.talk("A question with `code`", said, title="Looked at")
        Message.objects.of(talk.pk).filter(position=2).update(status="interrupted", model="echo")
        self.open()
        self.assert_accessible()
        self.page.goto(f"/#{talk.pk}")
        expect(self.page.get_by_text("The answer broke off.")).to_be_visible()
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)
            self.page.reload()  # otherwise axe may run during a colour transition
            expect(self.page.get_by_text("The answer broke off.")).to_be_visible()
            self.assert_accessible()
        self.page.get_by_role("button", name="Actions for this conversation").click()
        self.assert_accessible()

    def test_light_and_dark_follow_the_system_and_can_be_chosen(self) -> None:
        self.open()
        body = self.page.locator("body")
        light = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        self.page.emulate_media(color_scheme="dark")
        expect(body).not_to_have_css("background-color", light)
        self.page.get_by_role("button", name="Switch between light and dark").click()
        expect(body).to_have_css("background-color", light)
        self.page.reload()
        expect(body).to_have_css("background-color", light)
