"""Settings are read as written, or refused: types, ranges, names, and any form of `.env` file."""

from __future__ import annotations

import ast
import datetime as dt
import os
import re
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from django.test import SimpleTestCase
from django.utils import timezone

from chatservice import settings
from chatservice.environment import ConfigurationError, Environment, is_allowed_host
from chatservice.testing import ROOT
from scripts.document_settings import source_text

# Other variables in real environments: shells, init systems, containers, CI, proxies, other programs.
OTHER_NAMES = """
PATH HOME HOSTNAME HOSTS HOSTTYPE TERM LANG LANGUAGE SHELL USER LOGNAME PWD OLDPWD SHLVL TZ EDITOR DISPLAY
http_proxy https_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY PORTS PORT0 PORT1 DEBUG_COLORS
DEBUGINFOD_URLS LOGLEVEL LOG_FORMAT DATABASE_URI DATABASE_HOST DATABASE_PORT DATABASE_NAME DATABASE_USER
DATABASE_PASSWORD POSTGRES_USER POSTGRES_PASSWORD PGHOST PGPORT PGUSER PGSSLMODE REDIS_HOST REDIS_PORT
REDIS_PASSWORD REDIS_SERVICE_HOST REDIS_PORT_6379_TCP_ADDR CHAT_SERVICE_HOST CHAT_SERVICE_PORT CHAT_PORT
KUBERNETES_PORT KUBERNETES_SERVICE_HOST SECRET_KEY_BASE DJANGO_SECRET_KEY DJANGO_SETTINGS_MODULE
PYTHONUNBUFFERED PYTHONPATH VIRTUAL_ENV WEB_CONCURRENCY MALLOC_ARENA_MAX OMP_NUM_THREADS HF_HOME
HF_HUB_OFFLINE TRANSFORMERS_CACHE TOKENIZERS_PARALLELISM SSL_CERT_FILE REQUESTS_CA_BUNDLE OPENAI_API_BASE
OPENAI_ORGANIZATION OPENAI_PROJECT OPENAI_API_VERSION OPENAI_MODEL DEFAULT_REGION DOCKER_HOST CI
GITHUB_ACTIONS INVOCATION_ID JOURNAL_STREAM NOTIFY_SOCKET XDG_RUNTIME_DIR XDG_SESSION_ID SSH_CONNECTION
SSH_AUTH_SOCK SUDO_USER MAKEFLAGS MAKELEVEL MFLAGS PYTEST_CURRENT_TEST PIP_CACHE_DIR LS_COLORS LESSOPEN MAIL
TMPDIR DATABASE_URL_TEST ENV_FILE
"""


class EnvironmentCase(SimpleTestCase):
    def environment(self, variables: dict[str, str] | None = None, *, file: str | bytes | None = None, **how: Any):
        """Return an Environment with only these variables, and this text as its `.env`."""
        self.enterContext(mock.patch.dict(os.environ, variables or {}, clear=True))
        env = Environment(**how)
        if file is not None:
            path = Path(self.enterContext(tempfile.TemporaryDirectory())) / ".env"
            path.write_bytes(file if isinstance(file, bytes) else file.encode())
            env.read_file(path)
        return env


class TypesTest(EnvironmentCase):
    def test_values_that_mean_something_are_read(self):
        env = self.environment(
            {"PORT": " 80 ", "BIG": "1_000", "SLOW": "2.5", "YES": "On", "NO": "0", "HOSTS": "a, b,,", "WORD": "FULL"}
        )
        self.assertEqual((env.int("PORT", 1), env.int("BIG", 1), env.float("SLOW", 1)), (80, 1000, 2.5))
        self.assertEqual((env.bool("YES", False), env.bool("NO", True)), (True, False))
        self.assertEqual(env.list("HOSTS", []), ["a", "b"])
        self.assertEqual(env.str("WORD", "off", choices=("off", "full")), "full")
        env.finish()

    def test_values_of_the_wrong_type_or_range_are_problems_and_never_something_else(self):
        for text, read in (
            ("ja", lambda env: env.bool("X", False)),
            ("2", lambda env: env.bool("X", False)),
            ("-1", lambda env: env.int("X", 7)),
            ("8000 # the port", lambda env: env.int("X", 7)),
            ("5.5", lambda env: env.int("X", 7)),
            ("65536", lambda env: env.int("X", 7, minimum=1, maximum=65_535)),
            ("0", lambda env: env.seconds("X", 7)),
            ("1,5", lambda env: env.float("X", 7)),
            ("10s", lambda env: env.float("X", 7)),
            ("nan", lambda env: env.float("X", 7)),
            ("inf", lambda env: env.seconds("X", 7)),
            ("1e20", lambda env: env.seconds("X", 7)),
            ("1e20", lambda env: env.days("X", 7)),
            ("36501", lambda env: env.days("X", 7)),
            ("1e9", lambda env: env.hours("X", 7)),
            ("nope", lambda env: env.str("X", "off", choices=("on", "off"))),
            ("127.0.0.1:1", lambda env: env.str("X", "", url=True)),
            ("http://", lambda env: env.str("X", "", url=True)),
            ("http://h:99999/v1", lambda env: env.str("X", "", url=True)),
            ("http://h/v1?key=x", lambda env: env.str("X", "", url=True)),
            ("{", lambda env: env.json("X", {}, values=dict)),
            ("[]", lambda env: env.json("X", {}, values=dict)),
            ('{"a": 5}', lambda env: env.json("X", {}, values=dict)),
            ('{"a": {}, "a": {}}', lambda env: env.json("X", {}, values=dict)),
            ('{"*": true}', lambda env: env.json("X", {}, values=int)),
            ('{"*": 0}', lambda env: env.json("X", {}, values=int)),
            ('{"*": "16000"}', lambda env: env.json("X", {}, values=int)),
        ):
            with self.subTest(text):
                env = self.environment({"X": text})
                read(env)
                with self.assertRaises(ConfigurationError) as raised:
                    env.finish()
                [sentence] = str(raised.exception).splitlines()
                self.assertRegex(sentence, r"^X (must|is|has) .*\.$")

    def test_the_longest_time_can_be_counted_back_from_now(self):
        env = self.environment({"A": "36500", "B": "876000"})
        for time in (dt.timedelta(days=env.days("A", 1)), dt.timedelta(hours=env.hours("B", 1))):
            self.assertLess(timezone.now() - time, timezone.now())
        env.finish()

    def test_what_cannot_be_sent_in_a_header_is_refused_and_not_repeated(self):
        for text in ("sk-schlüssel", "sk-secret\n", "sk-secret\nX: y", " sk-secret", "sk-\u201csecret\u201d", "sk\x7f"):
            env = self.environment({"X": text})
            env.secret("X")
            [sentence] = env.problems
            self.assertTrue(sentence.startswith("X cannot be sent"), sentence)
            self.assertNotIn("sk", sentence)
        env = self.environment({"X": "sk-proj_aB3/+=", "Y": ""})
        self.assertEqual((env.secret("X"), env.secret("Y", "default")), ("sk-proj_aB3/+=", "default"))
        env.finish()

    def test_an_allowed_host_can_match_a_host(self):
        for text in (
            "*",
            "chat.example.org",
            ".example.org",
            "localhost",
            "10.0.0.1",
            "[::1]",
            "XN--bcher-kva.example",
        ):
            self.assertTrue(is_allowed_host(text), text)
        for text in (
            '["a"]',
            "[a]",
            "[]",
            "[127.0.0.1]",
            "'a'",
            '"a"',
            "a b",
            "http://a",
            "a/b",
            "a:80",
            "::1",
            "a..b",
            ".",
        ):
            self.assertFalse(is_allowed_host(text), text)

    def test_an_empty_value_means_the_default(self):
        env = self.environment({"A": "", "B": "", "C": "", "D": ""})
        self.assertEqual(
            (env.int("A", 5), env.bool("B", True), env.json("C", {"x": 1}, values=int), env.list("D", ["d"])),
            (5, True, {"x": 1}, ["d"]),
        )
        env.finish()

    def test_a_reference_is_refused_and_what_only_looks_like_one_is_a_value(self):
        env = self.environment({"OTHER": "secret", "A": "$OTHER", "B": "${OTHER}", "C": "$ecret", "D": "x$OTHER"})
        for name in "ABCD":
            env.str(name)
        self.assertEqual([problem[:2] for problem in env.problems], ["A ", "B "])
        self.assertEqual((env.str("C"), env.str("D")), ("$ecret", "x$OTHER"))

    def test_everything_is_reported_at_once(self):
        env = self.environment({"A": "x", "B": "z"})
        env.int("A", 1)
        env.bool("B", False)
        with self.assertRaises(ConfigurationError) as raised:
            env.finish()
        self.assertEqual(len(str(raised.exception).splitlines()), 2)


class FileTest(EnvironmentCase):
    def test_whatever_editors_and_shells_make_of_it(self):
        for text in (
            "DEBUG=true\nWORD=two words\n",
            b"\xef\xbb\xbfDEBUG=true\r\nWORD=two words\r\n",
            "export DEBUG=true\nexport WORD='two words'\n",
            '# a comment\n\nDEBUG = "true"\nWORD="two words" # why\n',
            "DEBUG=true # for today\nWORD=two words",
        ):
            with self.subTest(text):
                env = self.environment(file=text)
                self.assertEqual((env.bool("DEBUG", False), env.str("WORD")), (True, "two words"))
                env.finish()

    def test_json_stands_there_as_in_the_example(self):
        for text in ('X={"a": {"models": ["llama*"]}}', """X='{"a": {"models": ["llama*"]}}'"""):
            self.assertEqual(self.environment(file=text).json("X", {}, values=dict), {"a": {"models": ["llama*"]}})

    def test_what_cannot_be_read_is_said_with_its_line_and_without_its_content(self):
        for text, sentence in (
            ("DEBUG=true\n\nhunter2\n", ".env, line 3: this is not NAME=value."),
            ("DEBUG=true\nPASSWORD: hunter2\n", ".env, line 2: this is not NAME=value."),
            ("DEBUG='hunter2\n", ".env, line 1: this is not NAME=value."),
            ("DEBUG=true\nDEBUG=false\n", ".env, line 2: DEBUG is set a second time."),
            (b"DEBUG=\xff\xfe", "is not a text file in UTF-8."),
        ):
            with self.subTest(text):
                env = self.environment(file=text)
                env.bool("DEBUG", False)
                with self.assertRaises(ConfigurationError) as raised:
                    env.finish()
                self.assertIn(sentence, str(raised.exception))
                self.assertNotIn("hunter2", str(raised.exception))

    def test_any_unknown_name_is_an_error_with_a_suggestion(self):
        env = self.environment(file="ANONYMUS=off\nlimit_body_bytes=5\nHF_HOME=/models\n")
        env.str("ANONYMOUS")
        env.int("LIMIT_BODY_BYTES", 1)
        with self.assertRaises(ConfigurationError) as raised:
            env.finish()
        self.assertEqual(
            str(raised.exception).splitlines(),
            [
                ".env, line 1: ANONYMUS is not a setting of this service. Did you mean ANONYMOUS?",
                ".env, line 2: limit_body_bytes is not a setting of this service. Did you mean LIMIT_BODY_BYTES?",
                ".env, line 3: HF_HOME is not a setting of this service. "
                "Variables of other programs do not belong here.",
            ],
        )

    def test_the_environment_wins_even_where_it_is_empty(self):
        env = self.environment({"A": "environment", "B": ""}, file="A=file\nB=file\nC=file\n")
        self.assertEqual((env.str("A"), env.str("B", "default"), env.str("C")), ("environment", "default", "file"))

    def test_another_file_must_be_there(self):
        env = self.environment({"ENV_FILE": "/nowhere/chat.env"})
        env.read_file(Path("/nowhere/.env"))
        self.assertEqual(env.problems, ["ENV_FILE names /nowhere/chat.env, which does not exist."])
        env = self.environment({"ENV_FILE": os.devnull})
        env.read_file(Path("/nowhere/.env"))
        env.finish()


class NamesTest(EnvironmentCase):
    def looked_at(self, *variables: str) -> tuple[list[str], list[str]]:
        """Return the errors and the warnings about these names, checked against the service's own settings."""
        env = self.environment(dict.fromkeys(variables, "1"))
        env.names |= settings.env.names
        try:
            env.finish()
        except ConfigurationError:
            pass
        return env.problems, env.warnings

    def test_a_slip_in_the_environment_is_an_error(self):
        for slip, name in (
            ("ANONYMUS", "ANONYMOUS"),
            ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
            ("ALLOWED_HOST", "ALLOWED_HOSTS"),
            ("LIMIT_RUN_PER_USER", "LIMIT_RUNS_PER_USER"),
            ("DATABASE_ULR", "DATABASE_URL"),
            ("database_url", "DATABASE_URL"),
            ("KEY_PEPER", "KEY_PEPPER"),
        ):
            problems, warnings = self.looked_at(slip)
            self.assertEqual(
                (problems, warnings),
                ([f"{slip} in the environment is not a setting of this service. Did you mean {name}?"], []),
            )

    def test_beside_the_right_name_it_is_a_warning(self):
        problems, warnings = self.looked_at("ALLOWED_HOST", "ALLOWED_HOSTS")
        self.assertEqual((problems, len(warnings)), ([], 1))

    def test_what_other_programs_use_stops_no_start(self):
        problems, warnings = self.looked_at(*OTHER_NAMES.split())
        self.assertEqual(problems, [])
        self.assertLessEqual(len(warnings), 1, warnings)

    def test_a_renamed_setting_works_for_one_release_and_says_so(self):
        env = self.environment({"OLD_NAME": "5"}, renamed={"OLD_NAME": "NEW_NAME"})
        self.assertEqual(env.int("NEW_NAME", 1), 5)
        env.finish()
        self.assertEqual(
            env.warnings, ["OLD_NAME is now called NEW_NAME; the former name still works in this release."]
        )
        both = self.environment({"NEW_NAME": "6"}, file="OLD_NAME=5\n", renamed={"OLD_NAME": "NEW_NAME"})
        self.assertEqual(both.int("NEW_NAME", 1), 6)
        both.finish()
        self.assertEqual(both.warnings, ["OLD_NAME is now called NEW_NAME; the former name is ignored."])


class KnownNamesTest(SimpleTestCase):
    def test_every_setting_is_known_whatever_the_others_are(self):
        """If a setting were read only under a condition, `.env` would refuse it while the condition is false."""
        calls = (node for node in ast.walk(ast.parse(source_text())) if isinstance(node, ast.Call))
        asked = {
            node.args[0].value
            for node in calls
            if isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and (node.func.value.id, node.func.attr not in ("problem", "warn")) == ("env", True)
            and node.args
            and isinstance(node.args[0], ast.Constant)
        }
        self.assertGreater(len(asked), 80)
        self.assertEqual(asked | settings.RENAMED.keys(), settings.env.names)

    def test_what_the_documents_name_is_a_setting(self):
        example = set(re.findall(r"^# ([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
        self.assertGreater(len(example), 10)
        pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
        tables = [cell for page in pages for cell in re.findall(r"^\| `([^|]*)` \|", page.read_text(), re.MULTILINE)]
        named = {name for cell in tables for name in re.findall(r"\b[A-Z][A-Z_]{3,}\b(?!\*)", cell)}
        self.assertGreater(len(named), 100)
        # The pages write LIMIT_* for all limits.
        self.assertEqual((example | named) - settings.env.names - {"LIMIT_", "DELETE", "PATCH", "POST"}, set())
