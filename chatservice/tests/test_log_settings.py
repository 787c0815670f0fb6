"""How log lines are written is chosen by a setting, a terminal and DEBUG."""

from __future__ import annotations

import sys
from unittest import mock

from django.test import SimpleTestCase

from chatservice.log_settings import log_settings
from chatservice.testing import tried_on


@tried_on("sqlite")
class LogSettingsTest(SimpleTestCase):
    def test_a_setting_chooses_between_json_and_plain(self) -> None:
        plain, structured = "PlainFormatter", "JsonFormatter"
        for form, debug, terminal, expected in (
            ("auto", False, False, structured),
            ("auto", False, True, plain),
            ("auto", True, False, plain),
            ("json", True, True, structured),
            ("plain", False, False, plain),
        ):
            env = mock.Mock()
            env.str.side_effect = lambda name, form=form, **options: form if name == "LOG_FORMAT" else "INFO"
            with mock.patch.object(sys.stderr, "isatty", return_value=terminal, create=True):
                _, logging_settings = log_settings(env, debug=debug)
            self.assertTrue(logging_settings["formatters"]["line"]["()"].endswith(expected), (form, debug, terminal))
