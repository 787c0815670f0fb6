"""What is refused or missing is a page for browsers, in the admin with its navigation, and JSON for who asks for it."""

from __future__ import annotations

import uuid

from django.test import override_settings

from chatservice.testing import tried_once
from tests.staff import StaffCase

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
REFUSED = (("/admin/dashboard/", 403), ("/admin/accounts/user/", 403), ("/admin/nothing/", 404))


@tried_once
class RefusalTest(StaffCase):
    def test_in_the_admin_it_is_a_page_that_leads_on(self) -> None:
        client = self.signed_in(self.eve)
        for path, status in REFUSED:
            for accept in (BROWSER, "*/*"):
                page = client.get(path, headers={"Accept": accept})
                self.assertEqual(page.status_code, status, path)
                self.assertContains(page, 'id="site-name"', status_code=status)
                self.assertContains(page, f"{self.eve.username}", status_code=status)
                self.assertContains(page, 'id="logout-form"', status_code=status)
        self.assertContains(self.signed_in(self.dan).get("/admin/nothing/"), 'id="nav-sidebar"', status_code=404)

    def test_who_asks_for_json_gets_json(self) -> None:
        client = self.signed_in(self.eve)
        for path, status in REFUSED:
            answer = client.get(path, headers={"Accept": "application/json, text/javascript, */*; q=0.01"})
            self.assertEqual((answer.status_code, answer.headers["content-type"]), (status, "application/json"))
            self.assertEqual(answer.json()["error"]["code"], {403: "forbidden", 404: "not_found"}[status])

    def test_elsewhere_a_browser_gets_a_page_and_an_api_keeps_its_shape(self) -> None:
        for path in ("/nothing", "/files/nothing/at/all", "/schema/nothing", "/profile/nothing"):
            self.assertContains(
                self.client.get(path, headers={"Accept": BROWSER}), "<h1>Page not found", status_code=404
            )
            self.assertEqual(self.client.get(path).json()["error"]["code"], "not_found", path)
        for path in ("/v1/nothing", "/v1/chat/nothing", "/chat/nothing", f"/conversations/{uuid.uuid4()}"):
            plain, browser = self.client.get(path), self.client.get(path, headers={"Accept": BROWSER})
            self.assertEqual(browser.status_code, plain.status_code)
            self.assertEqual(browser.json().keys(), plain.json().keys(), path)

    @override_settings(ADMIN_ENABLED="auto")
    def test_a_closed_admin_shows_nothing_of_itself(self) -> None:
        for path, _ in REFUSED:
            page = self.signed_in(self.root).get(path, headers={"Accept": BROWSER})
            self.assertContains(page, "The admin is closed here", status_code=403)
            self.assertNotContains(page, self.root.username, status_code=403)
