"""The mail server and who gets warnings of budgets: what is accepted, and what stops the start."""

from __future__ import annotations

import os
from typing import Any
from unittest import mock

from django.test import SimpleTestCase

from chatservice.environment import Environment
from chatservice.usage_settings import usage_settings


class MailSettingsTest(SimpleTestCase):
    def read(self, **variables: str) -> tuple[list[str], dict[str, Any], list[str]]:
        """Return the addresses, Django's settings and the problems."""
        self.enterContext(mock.patch.dict(os.environ, variables, clear=True))
        env = Environment()
        *_, addresses, mail = usage_settings(env)
        return addresses, mail, env.problems

    def test_no_mail_is_sent_by_default(self) -> None:
        addresses, mail, problems = self.read()
        self.assertEqual((addresses, problems), ([], []))
        self.assertIn("dummy", mail["EMAIL_BACKEND"])

    def test_a_server_with_tls_and_a_password(self) -> None:
        url = "smtp+tls://a%40example.org:p%3Aw@mail.example.org:587"
        addresses, mail, problems = self.read(EMAIL_URL=url, BUDGET_MAIL="a@example.org, b@example.org")
        self.assertEqual((addresses, problems), (["a@example.org", "b@example.org"], []))
        self.assertEqual((mail["EMAIL_HOST"], mail["EMAIL_PORT"]), ("mail.example.org", 587))
        self.assertEqual((mail["EMAIL_HOST_USER"], mail["EMAIL_HOST_PASSWORD"]), ("a@example.org", "p:w"))
        self.assertTrue(mail["EMAIL_USE_TLS"])
        self.assertGreater(mail["EMAIL_TIMEOUT"], 0)

    def test_other_forms(self) -> None:
        self.assertEqual(self.read(EMAIL_URL="smtp://127.0.0.1")[1]["EMAIL_PORT"], 25)
        self.assertTrue(self.read(EMAIL_URL="smtp+ssl://mail.example.org:465")[1]["EMAIL_USE_SSL"])
        self.assertIn("console", self.read(EMAIL_URL="consolemail://")[1]["EMAIL_BACKEND"])

    def test_wrong_values_stop_the_start_and_are_not_repeated(self) -> None:
        for url in (
            *("mail.example.org", "https://a:secret@mail.example.org", "smtp://", "smtp://a:secret@host:port"),
            *("smtp://a:secret@host:99999", "filemail:///etc", "smtp://[::1", "dummymail:///x"),
        ):
            _, mail, problems = self.read(EMAIL_URL=url)
            self.assertEqual(len(problems), 1, url)
            self.assertTrue(problems[0].startswith("EMAIL_URL must be"), problems)
            self.assertNotIn("secret", problems[0])
            self.assertIn("dummy", mail["EMAIL_BACKEND"])
        self.assertIn("BUDGET_MAIL takes", self.read(EMAIL_URL="smtp://h", BUDGET_MAIL="nobody")[2][0])
        self.assertIn("DEFAULT_FROM_EMAIL takes", self.read(EMAIL_URL="smtp://h", DEFAULT_FROM_EMAIL="a\nb@c")[2][0])

    def test_addresses_without_a_server_are_a_mistake(self) -> None:
        self.assertIn("needs EMAIL_URL", self.read(EMAIL_URL="", BUDGET_MAIL="a@example.org")[2][0])
