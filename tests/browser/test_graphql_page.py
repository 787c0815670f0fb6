"""The page to try GraphQL on: with the keyboard alone, and with what is wrong said where it is."""

from __future__ import annotations

from playwright.sync_api import expect

from chatservice.testing import tried_once
from tests.browser.chatting import ChatCase

QUERY = "query ($first: Int!) { conversations(first: $first) { edges { node { title } } } }"


@tried_once
class GraphQLPageTest(ChatCase):
    def test_an_operation_is_written_run_and_mended_with_the_keyboard(self) -> None:
        self.talk("Hello", "Hi", title="Found by GraphQL")
        page = self.page
        page.goto("/graphql")
        answer, variables = page.locator("#answer"), page.get_by_label("Variables")
        page.get_by_label("Query").fill(QUERY)
        for wrong in ("{first: 1}", "[1]"):
            variables.fill(wrong)
            variables.press("Control+Enter")
            expect(page.get_by_role("alert")).to_contain_text("The variables are no JSON object")
            expect(variables).to_be_focused()
            expect(answer).to_be_empty()
            self.assert_accessible()
        variables.fill('{"first": 1}')
        variables.press("Control+Enter")
        expect(answer).to_contain_text("Found by GraphQL")
        expect(page.get_by_role("status")).to_contain_text("HTTP 200")
        expect(page.get_by_role("alert")).to_be_hidden()
        with page.expect_download() as saving:
            page.get_by_role("button", name="Save as schema.graphql").click()
        self.assertIn("type Conversation {", saving.value.path().read_text(encoding="utf-8"))
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.reload()
            self.assert_accessible()
