"""The error messages when a proxy and this service are configured inconsistently, and what `check` finds."""

from __future__ import annotations

from django.core.checks.registry import registry
from django.test import SimpleTestCase, override_settings

from accounts.checks import proxies_and_https_fit, proxies_can_be_counted
from accounts.proxies import HOST_NOT_PASSED_ON, PROTO_NOT_SENT, missing_setting
from accounts.sessions import NOT_OUR_PAGE, refusal_of

HOME = {"host": "chat.example.org"}
SPOKE_HTTPS = (
    {"x-forwarded-proto": "https"},
    {"x-forwarded-proto": "HTTPS, http"},
    {"forwarded": 'for=192.0.2.1;proto="https";by=10.0.0.1'},
    {"x-forwarded-ssl": "on"},
    {"front-end-https": "On"},
    {"origin": "https://chat.example.org"},
    {"referer": "https://chat.example.org/login"},
    {"sec-fetch-site": "none"},
)
SHOWS_NOTHING: tuple[dict[str, str], ...] = (
    {},
    {"x-forwarded-proto": "http"},
    {"forwarded": "proto=http"},
    {"origin": "http://chat.example.org"},
    {"origin": "https://evil.example", "referer": "https://["},
    {"host": "localhost:8000", "sec-fetch-site": "none"},
    {"host": "127.0.0.1:8000", "sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8000"},
    {"sec-fetch-site": "same-origin", "origin": "null", "host": "localhost"},
)


class MissingSettingTest(SimpleTestCase):
    def said(self, headers: dict[str, str], *, secure: bool = False) -> str:
        return missing_setting({**HOME, **headers}, secure=secure)

    def test_each_sign_of_https_names_what_is_not_set(self) -> None:
        for headers in SPOKE_HTTPS:
            for https, proxies in ((True, 0), (False, 1), (False, 0)):
                with override_settings(HTTPS=https, TRUSTED_PROXIES=proxies), self.subTest(f"{headers} {https}"):
                    said = self.said(headers)
                    self.assertEqual(("HTTPS=true" in said, "TRUSTED_PROXIES=1" in said), (not https, not proxies))
                    self.assertEqual(self.said(headers, secure=True), "")

    @override_settings(HTTPS=True, TRUSTED_PROXIES=1)
    def test_where_both_are_set_the_proxy_must_speak(self) -> None:
        self.assertEqual(self.said({"origin": "https://chat.example.org"}), PROTO_NOT_SENT)
        self.assertEqual(self.said({"origin": "https://chat.example.org", "x-forwarded-proto": "http"}), "")

    def test_nothing_is_made_up(self) -> None:
        for headers in SHOWS_NOTHING:
            for https, proxies in ((True, 0), (False, 1), (True, 1), (False, 0)):
                with override_settings(HTTPS=https, TRUSTED_PROXIES=proxies), self.subTest(headers):
                    self.assertEqual(self.said(headers), "")

    def test_a_host_that_the_proxy_changes_is_found_by_what_the_browser_says(self) -> None:
        page = {"host": "127.0.0.1:8000", "origin": "https://chat.example.org"}
        self.assertEqual(self.said({**page, "sec-fetch-site": "same-origin"}), HOST_NOT_PASSED_ON)
        for site in ("cross-site", "same-site"):  # a page of another site: no setting would help
            self.assertNotEqual(self.said({**page, "sec-fetch-site": site}, secure=True), HOST_NOT_PASSED_ON)

    def test_a_session_that_is_refused_for_it_says_so(self) -> None:
        headers = {"host": "127.0.0.1:8000", "origin": "https://chat.example.org", "sec-fetch-site": "same-origin"}
        self.assertEqual(refusal_of("POST", headers, secure=False), f"{NOT_OUR_PAGE} {HOST_NOT_PASSED_ON}")
        evil = {**HOME, "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
        self.assertEqual(refusal_of("POST", evil, secure=True), NOT_OUR_PAGE)


class CheckTest(SimpleTestCase):
    def test_what_does_not_fit_is_a_warning_with_a_stable_id(self) -> None:
        local, named = ["localhost"], ["chat.example.org"]
        for https, proxies, hosts, expected in (
            (True, 1, named, []),
            (False, 0, local, []),
            (True, 0, named, ["accounts.W002"]),
            (False, 1, named, ["accounts.W003"]),
            (True, 1, local, ["accounts.W004"]),
            (True, 0, local, ["accounts.W002", "accounts.W004"]),
        ):
            with override_settings(HTTPS=https, TRUSTED_PROXIES=proxies, ALLOWED_HOSTS=hosts):
                self.assertEqual([each.id for each in proxies_and_https_fit(None)], expected)
        self.assertIn(proxies_and_https_fit, registry.deployment_checks)

    def test_proxies_are_a_number(self) -> None:
        with override_settings(TRUSTED_PROXIES=-1):
            self.assertEqual([each.id for each in proxies_can_be_counted(None)], ["accounts.E002"])
        self.assertEqual(proxies_can_be_counted(None), [])
