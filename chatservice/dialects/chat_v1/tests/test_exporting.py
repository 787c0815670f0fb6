"""One conversation as a file, in each format, for its owner alone."""

from __future__ import annotations

import json
import uuid

from chatservice.testing import ServiceTestCase, tried_once

BASE = "/v1/chat/conversations"


@tried_once
class ExportingTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        talk = self.alice.http.post(BASE, json={"title": "Whales"}).json()["data"]["id"]
        said = self.alice.http.post(f"{BASE}/{talk}/messages", json={"content": "Hello whale"}).json()["data"]
        self.alice.http.post(f"/v1/chat/messages/{said[1]['id']}/regenerate", json={}).raise_for_status()
        self.path, self.talk = f"{BASE}/{talk}/export", talk

    def test_each_format_is_a_file_of_its_kind(self):
        for kind, media_type, suffix in (
            ("chatgpt", "application/json", ".json"),
            ("markdown", "text/markdown", ".md"),
            ("jsonl", "application/x-ndjson", ".jsonl"),
        ):
            response = self.alice.http.get(self.path, params={"format": kind})
            self.assertEqual(response.status_code, 200, response.text)
            self.assertEqual(response.headers["content-type"], f"{media_type}; charset=utf-8")
            self.assertIn(f'filename="conversation-{self.talk}{suffix}"', response.headers["content-disposition"])
            self.assertIn("Hello whale", response.text)
            if kind == "chatgpt":
                mapping = response.json()["mapping"]
                self.assertEqual(len(mapping), 4, "a root, the question, and both answers")
            elif kind == "jsonl":
                self.assertEqual(len(json.loads(response.text)["messages"]), 2)
        self.assertEqual(self.alice.http.get(self.path).json()["title"], "Whales")

    def test_what_is_exported_is_imported_by_somebody_else(self):
        exported = self.alice.http.get(self.path).content
        form = {"purpose": "user_data"}
        stored = self.bob.http.post("/v1/files", data=form, files={"file": ("whales.json", exported)}).json()
        response = self.bob.http.post("/v1/chat/imports", json={"file_id": stored["id"]})
        self.assertEqual(response.status_code, 201, response.text)

    def test_only_its_owner_gets_it_and_only_in_a_format_that_there_is(self):
        for caller in (self.bob, self.carol):
            self.assertEqual(caller.http.get(self.path).status_code, 404)
        self.assertEqual(self.guest.get(self.path).status_code, 401)
        for unknown in ("nonsense", uuid.uuid4()):
            self.assertEqual(self.alice.http.get(f"{BASE}/{unknown}/export").status_code, 404)
        response = self.alice.http.get(self.path, params={"format": "pdf"})
        self.assertEqual((response.status_code, response.json()["error"]["code"]), (400, "validation_error"))
