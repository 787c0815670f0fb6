"""The service keeps to every schema: schemathesis finds no 5xx, no undocumented status, no other shape.

This is a small part of what `python -m scripts.fuzz_schemas --examples 2000` tries. How a dialect says things depends
on no database, so each is tried on one; the contract tests and the hostile inputs are tried on both.
"""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import SimpleTestCase

from chatservice.dialects import DIALECTS
from chatservice.docs import documented_dialects
from chatservice.testing import ROOT, ServiceTestCase, tried_on
from scripts.fuzz_documents import MAX_ALTERNATIVES, resolved, with_few_alternatives

EXAMPLES = 150


@pytest.mark.timeout(180)
class SchemathesisTest(ServiceTestCase):
    def fuzz(self, dialect: str) -> None:
        if dialect not in DIALECTS:
            self.skipTest(f"{dialect} is not there")
        options = ["--url", self.service.url, "--key", self.alice.secret, "--examples", str(EXAMPLES)]
        options += ["--seed", str(random.randrange(2**32)), "--phases", "examples,coverage,fuzzing"]
        command = [sys.executable, "-m", "scripts.fuzz_schemas", *options, dialect]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170)
        self.assertEqual(done.returncode, 0, done.stdout[-20_000:] + done.stderr[-2_000:])
        self.assertIn("No issues found", done.stdout)

    @tried_on("sqlite")
    def test_chat(self) -> None:
        self.fuzz("chat")

    @tried_on("postgresql")
    def test_chat_v1(self) -> None:
        self.fuzz("chat_v1")

    @tried_on("postgresql")
    def test_openai_v1(self) -> None:
        self.fuzz("openai_v1")

    @tried_on("sqlite")
    def test_resources(self) -> None:
        self.fuzz("resources")

    @tried_on("postgresql")
    def test_graphql(self) -> None:
        self.fuzz("graphql")

    def test_no_dialect_is_forgotten(self) -> None:
        names = {name.removeprefix("test_") for name in dir(self) if name.startswith("test_")}
        # OpenAPI does not describe the websocket and MCP.
        self.assertLessEqual({*documented_dialects(), *DIALECTS} - {"websocket", "mcp"}, names)
        self.assertTrue(Path(sys.executable).with_name("schemathesis").exists())


class DocumentsTest(SimpleTestCase):
    def test_large_unions_are_smaller_in_requests_only(self) -> None:
        union = {"oneOf": [{"const": number} for number in range(9)], "discriminator": {"propertyName": "x"}}
        item = {"$ref": "#/components/schemas/Item"}
        body = {"content": {"application/json": {"schema": {"items": item}}}}
        document = {
            "paths": {"/a": {"post": {"requestBody": body, "responses": {"200": copy.deepcopy(body)}}}},
            "components": {"schemas": {"Item": union}},
        }
        choices = {json.dumps(self.sent(copy.deepcopy(document), seed, union)) for seed in range(5)}
        self.assertGreater(len(choices), 1)

    def sent(self, document: dict[str, Any], seed: int, union: dict[str, Any]) -> Any:
        made = with_few_alternatives(document, random.Random(seed))
        operation, schemas = made["paths"]["/a"]["post"], made["components"]["schemas"]
        sent = operation["requestBody"]["content"]["application/json"]["schema"]["items"]
        answered = operation["responses"]["200"]["content"]["application/json"]["schema"]["items"]
        self.assertEqual(resolved(made, answered), union)
        self.assertEqual((set(schemas), resolved(made, sent)), ({"Item", "SentItem"}, schemas["SentItem"]))
        self.assertEqual((len(schemas["SentItem"]["oneOf"]), set(schemas["SentItem"])), (MAX_ALTERNATIVES, {"oneOf"}))
        return schemas["SentItem"]
