"""What turns traces on: nothing by default, then only the standard variables."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from unittest import mock

from django.test import SimpleTestCase

from chatservice import trace_settings
from chatservice.environment import Environment
from chatservice.trace_settings import APP, MIDDLEWARE

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


class TraceSettingsTest(SimpleTestCase):
    def read(self, file: str = "", **variables: str) -> tuple[list[str], list[str], Environment]:
        self.enterContext(mock.patch.dict(os.environ, variables, clear=True))
        env, middleware = Environment(), ["first"]
        apps: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, ".env")
            path.write_text(file)
            env.read_file(path)
        trace_settings.trace_settings(env, apps, middleware)
        env.finish()
        return apps, middleware, env

    def test_traces_are_off_by_default_and_when_they_are_turned_off(self) -> None:
        for variables in (
            {},
            {"OTEL_SERVICE_NAME": "chat"},
            {**ENDPOINT, "OTEL_SDK_DISABLED": "True"},
            {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
        ):
            with self.subTest(variables):
                self.assertEqual(self.read(**variables)[:2], ([], ["first"]))

    def test_an_address_or_an_exporter_turns_them_on(self) -> None:
        for variables in (
            ENDPOINT,
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"},
            {"OTEL_TRACES_EXPORTER": "console"},
            {"OTEL_TRACES_EXPORTER": "otlp"},
        ):
            with self.subTest(variables):
                self.assertEqual(self.read(**variables)[:2], ([APP], [MIDDLEWARE, "first"]))

    def test_the_file_may_hold_them_and_the_environment_comes_first(self) -> None:
        file = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318\nOTEL_SERVICE_NAME=of-the-file\n"
        apps, _, _ = self.read(file, OTEL_SERVICE_NAME="of-the-environment")
        self.assertEqual(apps, [APP])
        self.assertEqual(os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"], "http://127.0.0.1:4318")
        self.assertEqual(os.environ["OTEL_SERVICE_NAME"], "of-the-environment")

    def test_without_the_packages_there_is_a_warning_and_no_traces(self) -> None:
        with mock.patch.object(trace_settings, "EXPORTERS", "of_nobody"):
            apps, middleware, env = self.read(**ENDPOINT)
        self.assertEqual((apps, middleware), ([], ["first"]))
        self.assertIn("requirements-traces.txt", env.warnings[0])
