"""Settings of signing in that would lock everybody out, or let others in, are refused at the start."""

from __future__ import annotations

import os
from unittest import mock

from django.test import SimpleTestCase

from chatservice.environment import Environment
from chatservice.sign_in_settings import OpenID, sign_in_settings
from chatservice.testing import tried_on

ISSUER = {"OIDC_ISSUER": "https://id.example.org/realms/main", "OIDC_CLIENT_ID": "chat"}


@tried_on("sqlite")
class SignInSettingsTest(SimpleTestCase):
    def read(self, variables: dict[str, str]) -> tuple[list[str], OpenID, bool, str]:
        with mock.patch.dict(os.environ, variables, clear=True):
            env = Environment()
            return env.problems, *sign_in_settings(env)

    def test_all_of_it_is_off_by_default(self):
        problems, openid, passwords, asked = self.read({})
        self.assertEqual((problems, openid.is_on, passwords, asked), ([], False, True, "off"))
        self.assertFalse(openid.sign_up or openid.link_by_email or openid.sign_out)

    def test_what_is_written_is_read(self):
        more = {"OIDC_GROUPS": '{"chat-users": "Users"}', "OIDC_STAFF_GROUPS": "a, b", "PASSWORD_SIGN_IN": "off"}
        problems, openid, passwords, _ = self.read({**ISSUER, **more})
        self.assertEqual((problems, openid.is_on, passwords), ([], True, False))
        self.assertEqual((openid.groups, openid.staff_groups), ({"chat-users": "Users"}, {"a", "b"}))
        self.assertNotIn("geheim", repr(self.read({**ISSUER, "OIDC_CLIENT_SECRET": "geheim"})[1]))

    def test_what_cannot_work_is_refused(self):
        for variables in (
            {"PASSWORD_SIGN_IN": "false"},
            {"OIDC_ISSUER": ISSUER["OIDC_ISSUER"]},
            {**ISSUER, "OIDC_ISSUER": "http://id.example.org"},
            {**ISSUER, "OIDC_ISSUER": f"https://id.example.org/{'x' * 200}"},
            {**ISSUER, "OIDC_ISSUER": "id.example.org"},
            {**ISSUER, "OIDC_SCOPES": "profile,email"},
            {**ISSUER, "OIDC_GROUPS": '["chat-users"]'},
            {**ISSUER, "OIDC_GROUPS": '{"chat-users": 1}'},
            {"STAFF_SECOND_FACTOR": "yes"},
        ):
            with self.subTest(variables):
                self.assertEqual(len(self.read(variables)[0]), 1)
