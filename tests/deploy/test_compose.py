"""The compose files: valid by the specification's schema, and what they name exists."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import yaml
from django.conf import settings as configured
from django.test import SimpleTestCase
from jsonschema import Draft7Validator

from chatservice import settings
from chatservice.testing import ROOT
from tests.deploy.dockerfile import stages

DEPLOY = ROOT / "deploy"
FILES = ("compose.yaml", "compose.cluster.yaml")
# Made by the operator.
NOT_HERE = {"./tls", "chat.env"}
OURS = ("chat", "chat-1", "chat-2", "migrate")


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text())


class ComposeTest(SimpleTestCase):
    def test_the_schema_holds(self):
        where = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
        schema = Draft7Validator(json.loads(where.read_text()))
        for name in FILES:
            self.assertEqual([error.message for error in schema.iter_errors(read(name))], [], name)

    def test_what_they_name_exists(self):
        for name in FILES:
            content = read(name)
            for key, service in content["services"].items():
                with self.subTest(f"{name}: {key}"):
                    self.assertLessEqual(set(service.get("depends_on", {})), set(content["services"]))
                    for mount in service.get("volumes", []):
                        source = mount.partition(":")[0]
                        if source.startswith("."):
                            self.assertTrue(source in NOT_HERE or (DEPLOY / source).exists(), source)
                        else:
                            self.assertIn(source, content["volumes"])
                    if build := service.get("build"):
                        self.assertEqual((DEPLOY / build["context"]).resolve(), ROOT)
                        self.assertTrue((ROOT / build["dockerfile"]).exists())
                    self.assertLessEqual(set(service.get("env_file", [])), NOT_HERE)

    def test_only_settings_are_set(self):
        for name in FILES:
            for key in OURS:
                environment = read(name)["services"].get(key, {}).get("environment", {})
                self.assertLessEqual(environment.keys(), settings.env.names)
        example = (DEPLOY / "chat.env.example").read_text()
        self.assertLessEqual(set(re.findall(r"^(?:# )?([A-Z_]+)=", example, re.MULTILINE)), settings.env.names)

    def test_the_service_has_no_rights_and_time_to_stop(self):
        image = stages()[-1]
        for name in FILES:
            for key in OURS:
                if service := read(name)["services"].get(key):
                    self.assertTrue(service["read_only"], key)
                    self.assertEqual(service["cap_drop"], ["ALL"], key)
                    self.assertEqual(service["security_opt"], ["no-new-privileges:true"], key)
                    self.assertEqual(service["stop_grace_period"], f"{configured.DRAIN_SECONDS + 10:.0f}s")
                    self.assertIn("/tmp", service["tmpfs"])
                    self.assertIn(f"data:{image.volumes[0]}", service["volumes"])

    def test_nginx_asks_the_processes_that_there_are(self):
        services = read("compose.cluster.yaml")["services"]
        upstream = (DEPLOY / "nginx" / "chat-upstream.cluster.conf").read_text()
        port = stages()[-1].environment["PORT"]
        self.assertEqual(
            re.findall(r"server (\S+) ", upstream), [f"{key}:{port}" for key in services if key in OURS[1:3]]
        )
        self.assertEqual({key for key, each in services.items() if each.get("ports")}, {"nginx"})
