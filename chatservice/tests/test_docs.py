"""The documentation page and its schemas load nothing from other hosts; errors and headers outside of views."""

from __future__ import annotations

import re
from typing import Any

from drf_spectacular.plumbing import get_doc
from drf_spectacular.validation import validate_schema
from rest_framework.views import APIView

from chatservice import __version__
from chatservice.dialects import DIALECTS
from chatservice.docs import documented_dialects
from chatservice.testing import ServiceTestCase, needs_dialect, tried_once
from completions.exceptions import Refused

# GraphQL describes itself, and OpenAPI cannot describe websockets.
UNDOCUMENTED = {"graphql", "mcp", "websocket"}
LINK = re.compile(r"""(?:src|href)=["']([^"']+)""")


def docstrings(view: type[Any] = APIView) -> set[str]:
    """Return the docstrings of all our views and their base classes, as drf-spectacular would show them."""
    found = {str(get_doc(each)) for each in view.__mro__}
    for subclass in view.__subclasses__():
        found |= docstrings(subclass)
    return found


@tried_once
class DocsTest(ServiceTestCase):
    def test_the_page_and_all_it_loads_come_from_this_host(self):
        page = self.guest.get("/docs")
        self.assertEqual(page.status_code, 200)
        links = LINK.findall(page.text)
        self.assertGreater(len(links), 3)
        for link in links:
            self.assertRegex(link, r"\A/(?!/)", "another host")
            asset = self.guest.get(link)
            self.assertEqual(asset.status_code, 200, link)
            self.assertTrue(asset.content, link)
        own = self.guest.get(next(link for link in links if link.endswith("docs.js"))).text
        self.assertIsNone(re.search(r"https?://", own))
        self.assertIn("validatorUrl: null", own)
        for dialect in documented_dialects():
            self.assertIn(dialect, page.text)

    def test_every_dialect_has_a_valid_schema_of_its_own_paths(self):
        self.assertEqual(set(DIALECTS) - set(documented_dialects()), set(DIALECTS) & UNDOCUMENTED)
        for dialect in documented_dialects():
            answer = self.guest.get(f"/schema/{dialect}")
            self.assertEqual(answer.status_code, 200, dialect)
            schema = answer.json()
            validate_schema(schema)
            self.assertEqual(schema["info"]["version"], __version__, dialect)
            self.assertTrue(schema["paths"], dialect)
            for path in schema["paths"]:
                self.assertTrue(path.startswith(f"/{DIALECTS[dialect]}"), path)

    def test_the_chat_completion_is_documented_both_ways(self):
        needs_dialect("openai_v1")
        paths = self.guest.get("/schema/openai_v1").json()["paths"]
        operation = paths["/v1/chat/completions"]["post"]
        self.assertEqual(set(operation["responses"]["200"]["content"]), {"application/json", "text/event-stream"})
        self.assertTrue({"400", "401", "429", "502"} <= set(operation["responses"]))

    def test_no_docstring_is_shown_to_clients(self):
        for dialect in documented_dialects():
            paths = self.guest.get(f"/schema/{dialect}").json()["paths"]
            shown = {each.get("description", "") for methods in paths.values() for each in methods.values()}
            self.assertFalse({doc for doc in shown if doc and doc in docstrings()}, dialect)

    def test_whoever_asks_can_read_with_which_statuses_that_is_refused(self):
        # Except 404: not every request names something that may be missing.
        refused = {str(each.status) for each in Refused.__subclasses__()} - {"404"}
        for dialect in documented_dialects():
            operations = [
                (path, method, set(operation["responses"]))
                for path, methods in self.guest.get(f"/schema/{dialect}").json()["paths"].items()
                for method, operation in methods.items()
                if any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ()))
                and "503" in operation["responses"]
            ]
            self.assertTrue(operations, dialect)
            for path, method, documented in operations:
                self.assertLessEqual(refused, documented, f"{method} {path}")

    def test_an_unknown_schema_is_not_found(self):
        self.assertEqual(self.guest.get("/schema/nothing").status_code, 404)


@tried_once
class NowhereTest(ServiceTestCase):
    def test_unknown_routes_are_told_in_json_in_the_dialects_own_shape(self):
        for path in ("/nothing-here-1", "/healthz/x", "/schema"):
            answer = self.guest.get(path)
            self.assertEqual((answer.status_code, answer.headers["content-type"]), (404, "application/json"), path)
        needs_dialect("openai_v1")
        openai = self.guest.get("/v1/nothing").json()["error"]
        self.assertEqual(set(openai), {"message", "type", "param", "code"})

    def test_every_answer_has_its_headers(self):
        for path in ("/healthz", "/docs", "/v1/nothing", "/v1/models", "/nothing-here-1", "/admin/login/"):
            answer = self.guest.get(path)
            self.assertEqual(answer.headers["x-content-type-options"], "nosniff", path)
            self.assertEqual(answer.headers["referrer-policy"], "same-origin", path)
            self.assertTrue(answer.headers["x-request-id"], path)
            self.assertNotIn("server", answer.headers)
        self.assertEqual(self.guest.get("/admin/login/").headers["x-frame-options"], "DENY")

    def test_the_mount_point_is_never_taken_from_a_client(self):
        answer = self.guest.get("/v1/../healthz-nothing", headers={"Daphne-Root-Path": "/v1"})
        self.assertEqual(answer.status_code, 404)
        self.assertEqual(self.guest.get("/v1/healthz", headers={"Daphne-Root-Path": "/v1"}).status_code, 404)
