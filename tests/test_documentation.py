"""The documentation is correct: examples work, names exist, no setting is missing, the site loads nothing external."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx2
from django.test import SimpleTestCase

from chatservice import settings
from chatservice.dialects import DIALECTS
from chatservice.testing import ROOT, ServiceTestCase, needs_dialect, tried_on
from scripts import document_settings

DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w-]+(?:/[\w.-]+)*/[\w.-]*")
LINK = re.compile(r"\]\(([^)#\s]+)")
# `name` in `file.py`, as the pages write it.
NAMED = re.compile(r"`([A-Za-z_.]+)`(?:\s\([^)]*\))?\s(?:in|of)\s`([\w/]+\.py)`")
LOADED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*\bsrc=["']([^"']+)|<link\b[^>]*\bhref=["']([^"']+)""")
# Browsers do not load the targets of links with these types.
NOT_LOADED = re.compile(r"""<link\b[^>]*\brel=["'](?:canonical|next|prev)["'][^>]*>""")
MAX_README_LINES = 150
# All curl commands of a page run as one shell script. The environment contains $API, $KEY and other variables.
CURL = 'curl() { command curl --silent --show-error --fail-with-body --max-time 60 --noproxy "*" "$@"; echo; }\n'


def pages() -> list[Path]:
    """Return every documentation page in the repository."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), ROOT / "chatservice/dialects/README.md"]


def blocks(page: str, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall((ROOT / page).read_text()) if kind == language]


def is_of_deleted_dialect(path: str) -> bool:
    """Tell whether a path is in the folder of a deleted dialect: the rest must work without it."""
    parts = Path(path).parts
    is_below_one = parts[:2] == ("chatservice", "dialects") and len(parts) > 2 and "." not in parts[2]
    return is_below_one and parts[2] not in DIALECTS


@functools.cache
def names_in(path: str) -> frozenset[str]:
    """Return the names that a module defines: functions, classes, their methods as `Class.method`, and constants."""

    def found(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    yield prefix + name
                case ast.ClassDef(name=name):
                    yield prefix + name
                    yield from found(node.body, f"{name}.")
                    yield from found(node.body, "")
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    yield prefix + name

    return frozenset(found(ast.parse((ROOT / path).read_text()).body, ""))


class ProseTest(SimpleTestCase):
    def test_every_setting_is_on_its_page_with_a_description(self):
        source = document_settings.source_text()
        sections = document_settings.read_sections(source)
        self.assertEqual(document_settings.problems(sections), [])
        shown = {each.name for section in sections for group in section.groups for each in group.settings}
        self.assertEqual(shown | settings.RENAMED.keys(), settings.env.names)
        self.assertEqual(document_settings.PAGE.read_text(), document_settings.page(source))

    def test_a_setting_without_a_comment_is_found(self):
        source = (
            "# --- One ---\n\n"
            "# First.\n"
            "A = env.int('A', default=1)\n"
            "B = env.bool('B', default=True)\n\n"
            "C = env.str('C')\n"
        )
        sections = document_settings.read_sections(source)
        self.assertEqual([len(group.settings) for group in sections[0].groups], [2, 1])
        self.assertEqual(len(document_settings.problems(sections)), 1)
        self.assertIn(
            "| `A`<br>`B` | whole number<br>`true` or `false` | `1`<br>`true` | First. |",
            document_settings.page(source),
        )

    def test_the_files_that_are_named_exist(self):
        top = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")} - {"var"}
        named = 0
        for page in pages():
            for text in CODE.findall(FENCE.sub("", page.read_text())):
                if PATH.fullmatch(text) and text.partition("/")[0] in top and not is_of_deleted_dialect(text):
                    named += 1
                    self.assertTrue((ROOT / text).exists(), f"{page.relative_to(ROOT)}: {text}")
        self.assertGreater(named, 150)

    def test_the_functions_that_the_architecture_names_exist(self):
        text = (DOCS / "architecture.md").read_text()
        named = [(name, [path]) for name, path in NAMED.findall(text)]
        for row in re.findall(r"^\| \d+\. [^|]*\|[^|]*\|[^|]*\|$", text, re.MULTILINE):
            files, functions = (CODE.findall(cell) for cell in row.split("|")[2:4])
            self.assertEqual(bool(files), bool(functions), row)
            named += [(name, files) for name in functions]
        self.assertGreater(len(named), 35)
        for name, files in named:
            if not any(map(is_of_deleted_dialect, files)):
                self.assertTrue(any(name in names_in(path) for path in files), f"{name} is not in {files}")

    def test_links_from_outside_the_site_lead_somewhere(self):
        for page in (*ROOT.glob("*.md"), ROOT / "chatservice/dialects/README.md"):
            for link in LINK.findall(FENCE.sub("", page.read_text())):
                if "://" not in link:
                    self.assertTrue((page.parent / link).exists(), f"{page.name}: {link}")

    def test_the_readme_is_short(self):
        self.assertLess(len((ROOT / "README.md").read_text().splitlines()), MAX_README_LINES)

    def test_the_site_builds_and_loads_nothing_from_elsewhere(self):
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", directory]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
            self.assertEqual(done.returncode, 0, done.stderr)
            html = list(Path(directory).rglob("*.html"))
            self.assertGreater(len(html), 30)
            for page in html:
                for links in LOADED.findall(NOT_LOADED.sub("", page.read_text())):
                    self.assertNotRegex("".join(links), r"^(\w+:)?//", page.name)
            for sheet in Path(directory).rglob("*.css"):
                self.assertIsNone(re.search(r"(url\(|@import )[\"']?(https?:)?//", sheet.read_text()), sheet.name)


@tried_on("sqlite")
class ExampleTest(ServiceTestCase):
    """The commands and programs in the pages work as printed, except for address, key and a username."""

    def setUp(self) -> None:
        super().setUp()
        self.username = f"paul-{uuid.uuid4().hex[:8]}"

    def run_page(self, page: str, **variables: str) -> str:
        """Run all shell blocks of a page that use curl, in order; return their output."""
        scripts = [self.here(text) for text in blocks(page, "sh") if "curl" in text]
        self.assertTrue(scripts, page)
        environment = {**os.environ, "API": self.service.url, "KEY": self.alice.secret, **variables}
        with tempfile.TemporaryDirectory() as directory:
            command = ["bash", "-c", f"set -euo pipefail\n{CURL}" + "\n".join(scripts)]
            done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=110)
        self.assertEqual(done.returncode, 0, f"{page}: {done.stdout[-3000:]}\n{done.stderr}")
        return done.stdout

    def run_programs(self, page: str, says: str = "built-in echo") -> None:
        programs = [self.here(text) for text in blocks(page, "python") if "import" in text]
        self.assertTrue(programs, page)
        for program in programs:
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, f"{page}: {done.stderr}")
            self.assertIn(says, done.stdout)

    def here(self, text: str) -> str:
        """Return an example with this test's address, key and username."""
        text = text.replace("127.0.0.1:8000", f"127.0.0.1:{self.service.port}")
        return text.replace("cb_…", self.alice.secret).replace("paul", self.username)

    def asked(self) -> dict[str, str]:
        """Return the variables that the pages use, for a conversation of Alice's with an answer."""
        answer = self.alice.http.post("/v1/chat/conversations/stream", json={"content": "Hello"})
        run = answer.headers["x-run-id"]
        return {
            "ID": answer.headers["x-conversation-id"],
            "MESSAGE": answer.headers["x-message-id"],
            "RUN": run,
        }

    def started(self) -> dict[str, str]:
        """Return the same for a guest."""
        answer = self.guest.post("/conversations/start", json={"message": "Hello"})
        return {"ID": answer.json()["conversation_id"], "RUN": answer.headers["x-run-id"]}

    def test_the_readme_and_the_quickstart(self):
        needs_dialect("chat_v1")
        needs_dialect("openai_v1")
        for page in ("README.md", "docs/quickstart.md"):
            printed = self.run_page(page)
            self.assertIn("data: [DONE]", printed)
            self.assertIn('"success":true', printed)
            self.run_programs(page)

    def test_the_conversation_api(self):
        needs_dialect("chat_v1")
        printed = self.run_page("docs/api/chat-v1.md", **self.asked())
        self.assertIn('"type":"user_message"', printed)
        self.assertIn('"type":"conversation_created"', printed)

    def test_the_openai_api(self):
        needs_dialect("openai_v1")
        self.assertIn("data: [DONE]", self.run_page("docs/api/openai.md"))
        self.run_programs("docs/api/openai.md")

    def test_files(self):
        needs_dialect("openai_v1", "chat_v1", "graphql")
        printed = self.run_page("docs/files.md")
        self.assertIn('"deleted":true', printed)
        self.assertIn('"files":[{"id":"file-', printed)
        self.assertNotIn('"errors"', printed)
        self.run_programs("docs/files.md", says="Whales sleep")

    def test_the_guide_of_responses(self):
        needs_dialect("openai_v1")
        printed = self.run_page("docs/responses.md")
        self.assertIn("event: response.queued", printed)
        self.assertIn('"score":', printed)
        self.assertIn('"snippet":"whales.pdf: Whales sleep near the surface."', printed)
        self.run_programs("docs/responses.md")

    def test_the_browser_api(self):
        needs_dialect("chat")
        pk = self.guest.get("/chat/conversation").json()["id"]
        printed = self.run_page("docs/api/chat.md", ID=pk)
        self.assertIn('{"message":"Conversation reset successfully"}', printed)

    def test_the_resources_api(self):
        needs_dialect("resources")
        printed = self.run_page("docs/api/resources.md", **self.started())
        self.assertIn(f'"username":"{self.username}","password":"********"', printed)
        self.assertIn("data: [DONE]", printed)

    def test_graphql(self):
        needs_dialect("graphql")
        self.assertNotIn('"errors"', self.run_page("docs/api/graphql.md"))
        queries = [text for text in blocks("docs/api/graphql.md", "graphql") if not text.startswith("subscription")]
        self.assertEqual(len(queries), 2)
        for query in queries:
            answer = self.alice.http.post("/graphql", json={"query": query})
            self.assertNotIn("errors", answer.json(), query)

    def test_the_mcp_server(self):
        needs_dialect("mcp", "chat_v1")
        self.alice.http.post("/v1/chat/conversations/stream", json={"content": "Where do whales sleep?"})
        self.assertIn('"structuredContent":{"passages":[{', self.run_page("docs/api/mcp.md"))
        self.run_programs("docs/api/mcp.md", says="Where do whales sleep?")

    def test_the_websocket(self):
        needs_dialect("websocket")
        self.run_programs("docs/api/websocket.md")

    def test_search(self):
        needs_dialect("chat_v1")
        answer: httpx2.Response = self.alice.http.post(
            "/v1/chat/conversations/stream", json={"content": "Where did we want to go in spring?"}
        )
        self.assertEqual(answer.status_code, 200)
        found = json.loads(self.run_page("docs/search.md"))
        self.assertTrue(found["data"])
