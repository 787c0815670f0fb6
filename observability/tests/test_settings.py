"""The settings of metrics: off by default, and what stops the start."""

from __future__ import annotations

import os
from unittest import mock

from django.test import SimpleTestCase

from chatservice.environment import Environment
from chatservice.metrics_settings import APP, MIDDLEWARE, metrics_settings


class MetricsSettingsTest(SimpleTestCase):
    def read(self, **variables: str) -> tuple[tuple[str, int, str], list[str], list[str], list[str]]:
        self.enterContext(mock.patch.dict(os.environ, variables, clear=True))
        env, apps, middleware = Environment(), ["first"], ["first"]
        return metrics_settings(env, apps, middleware), apps, middleware, env.problems

    def test_nothing_is_installed_by_default(self) -> None:
        self.assertEqual(self.read(), (("127.0.0.1", 0, ""), ["first"], ["first"], []))

    def test_a_port_or_a_token_turns_them_on(self) -> None:
        for variables in ({"METRICS_PORT": "9464"}, {"METRICS_TOKEN": "x" * 16}):
            _, apps, middleware, problems = self.read(**variables)
            self.assertEqual((apps, middleware, problems), (["first", APP], [MIDDLEWARE, "first"], []))

    def test_wrong_values_stop_the_start_and_a_token_is_not_repeated(self) -> None:
        for name, value in (
            ("METRICS_PORT", "65536"),
            ("METRICS_PORT", "on"),
            ("METRICS_HOST", "127.0.0.1:9464"),
            ("METRICS_TOKEN", "short-secret"),
            ("METRICS_TOKEN", "a long secret with ünicode"),
        ):
            problems = self.read(**{name: value})[3]
            self.assertEqual(len(problems), 1, value)
            self.assertTrue(problems[0].startswith(name), problems)
            self.assertNotIn("secret", problems[0])
