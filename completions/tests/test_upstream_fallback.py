"""The run and the message record which upstream answered, streamed or not."""

from __future__ import annotations

import json
from io import StringIO
from unittest import mock

from django.core.management import call_command
from django.test import SimpleTestCase, override_settings

from chatservice.testing import ServiceTestCase, running_service, tried_on, tried_once, wait_until
from completions import providers
from completions.checks import redis_url_is_understood, upstreams_are_understood
from completions.models import Run
from completions.tests.streaming import URL, body_of
from completions.tests.test_providers_registry import DEAD, upstreams
from completions.tests.upstream import FaultyUpstream
from completions.tests.upstream_wire import TEXT


@tried_once
class RecordTests(ServiceTestCase):
    def test_the_run_and_its_message_say_who_answered(self):
        with FaultyUpstream() as up:
            entries = {
                "dead": {"base_url": DEAD, "models": ["pair", "dead"]},
                "spare": {"base_url": up.base_url, "models": ["pair"], "rename": {"pair": "ok"}},
            }
            with running_service(UPSTREAMS=json.dumps(entries)) as service:
                for stream in (True, False):
                    body = {**body_of("pair"), "stream": stream}
                    response = self.alice.http.post(service.url + URL, json=body)
                    self.assertEqual(response.status_code, 200, response.text)
                    run = Run.objects.select_related("message").get(pk=response.headers["x-run-id"])
                    settled = Run.objects.filter(pk=run.pk, state="complete")
                    wait_until(settled.exists)
                    run.refresh_from_db()
                    assert run.message is not None
                    self.assertEqual(
                        (run.upstream, run.message.upstream, run.message.content), ("spare",) * 2 + (TEXT,)
                    )
                asked = [self.alice.http.post(service.url + URL, json=body_of("dead")) for _ in range(2)]
                self.assertEqual(asked[-1].status_code, 503, asked[-1].text)
                self.assertEqual(asked[-1].json()["error"]["code"], "upstream_unavailable")
                self.assertTrue(1 <= int(asked[-1].headers["retry-after"]) <= 10)


@tried_on("sqlite")
class ConfigurationTests(SimpleTestCase):
    def problems(self, **entries: object) -> list[str]:
        with override_settings(UPSTREAMS=entries):
            return [problem.msg for problem in upstreams_are_understood(None)]

    def test_a_configuration_that_is_not_understood_is_refused_by_name(self):
        good = {"base_url": DEAD, "models": ["*"], "priority": 1, "rename": {"a": "b"}, "proxy": "http://proxy:3128"}
        good |= {"api_key": "sk-1", "headers": {"X-Team_1": "a team", "X-Empty": ""}}
        self.assertEqual(self.problems(good=good, echo={}), [])
        for bad in (
            {"base_url": "ftp://x"},
            {"base_url": DEAD, "model": ["*"]},
            {"base_url": DEAD, "models": "*"},
            {"base_url": DEAD, "models": [1]},
            {"base_url": DEAD, "rename": {"a": None}},
            {"base_url": DEAD, "headers": {"X-Team": 1}},
            {"base_url": DEAD, "max_connections": 0},
            {"base_url": DEAD, "priority": "first"},
            {"base_url": DEAD, "ca_file": "/nowhere/ca.pem"},
            {"base_url": DEAD, "proxy": "proxy:3128"},
            {"base_url": DEAD, "proxy": "http://proxy:99999"},
            {"base_url": "http://127.0.0.1:99999/v1"},
            {"base_url": "http://"},
            {"base_url": "http://geheim host/v1"},
            {"base_url": DEAD, "api_key": "geheim-ä"},
            {"base_url": DEAD, "api_key": "geheim\n"},
            {"base_url": DEAD, "headers": {"X geheim": "a"}},
            {"base_url": DEAD, "headers": {"": "a"}},
            {"base_url": DEAD, "headers": {"X-Team": "geheim\r\nX: y"}},
            {"base_url": DEAD, "headers": {"X-Team": "geheim-ä"}},
            ["list"],
        ):
            found = self.problems(bad=bad)
            self.assertEqual(len(found), 1, bad)
            self.assertIn("'bad'", found[0])
            self.assertNotIn("geheim", found[0])

    def test_an_address_of_redis_that_would_be_used_in_part_is_refused_without_its_password(self):
        for url in (
            "",
            "redis://127.0.0.1:6379/1",
            "rediss://:hunter2@h?socket_timeout=3",
            "unix:///run/redis.sock?db=1",
        ):
            with override_settings(REDIS_URL=url):
                self.assertEqual(redis_url_is_understood(None), [], url)
        for url, said in (
            ("redis://:hunter2@h/0?sockettimeout=3", "has an unknown option 'sockettimeout'."),
            ("redis://:hunter2@h/cache", "cannot be read"),
            ("redis://:hunter2@h:port", "cannot be read"),
            ("127.0.0.1:6379", "cannot be read"),
        ):
            with override_settings(REDIS_URL=url):
                [problem] = redis_url_is_understood(None)
            self.assertIn(said, problem.msg)
            self.assertNotIn("hunter2", problem.msg)

    def test_the_command_tells_how_each_upstream_is(self):
        with FaultyUpstream() as up:
            entries = {"dead": {"base_url": DEAD, "models": ["x"]}, "first": {"base_url": up.base_url, "priority": -1}}
            with upstreams(**entries):
                out = StringIO()
                self.enterContext(mock.patch.object(providers, "LISTING_SECONDS", 30.0))  # the machine may be busy
                call_command("list_models", "--upstreams", stdout=out)
        lines = [line.split("\t") for line in out.getvalue().splitlines()]
        self.assertEqual(
            [(line[0], line[3]) for line in lines[:2]], [("first", "2 models"), ("dead", "upstream_unreachable")]
        )
        self.assertEqual(lines[2], ["echo", "built in", "(all others)", "1 models"])
