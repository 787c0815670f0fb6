"""A real service with the default model: what it loads, how much memory it takes, and what answers meanwhile."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path
from typing import Any

import pytest

from chatservice.testing import KeptTablesTestCase, make_api_user, running_service, stop_shared_service, wait_until

MAX_RSS_MB = 280


@unittest.skipUnless(Path("/proc/self/maps").exists(), "reads /proc")
class DefaultProcessTest(KeptTablesTestCase):
    """Starts with an empty data directory, so the model is converted beside it."""

    def setUp(self) -> None:
        super().setUp()
        stop_shared_service()  # its indexer would embed by another model
        directory = self.enterContext(tempfile.TemporaryDirectory())
        self.service = self.enterContext(running_service(SEARCH_EMBEDDER="", VAR_DIR=directory))
        self.alice = make_api_user("alice", url=self.service.url)
        self.addCleanup(self.alice.http.close)

    def search(self) -> Any:
        response = self.alice.http.get("/v1/chat/search", params={"q": "Where does the cat sleep?"})
        return response.raise_for_status().json()

    @pytest.mark.timeout(300)
    def test_it_answers_by_words_at_once_and_by_meaning_later_without_torch(self):
        body = {"model": "echo", "messages": [{"role": "user", "content": "The kitten naps on the sofa. sleep"}]}
        self.alice.http.post("/v1/chat/completions", json=body).raise_for_status()
        first = self.search()
        self.assertTrue(first["data"])
        self.assertIn(first["meta"]["mode"], {"text", "hybrid"})
        wait_until(lambda: self.search()["meta"]["mode"] == "hybrid", timeout=240, what="the model")
        assert self.service.process is not None
        process = Path(f"/proc/{self.service.process.pid}")
        loaded = (process / "maps").read_text()
        self.assertIn("onnxruntime", loaded)
        for name in ("libtorch", "sentence_transformers", "transformers/"):
            self.assertNotIn(name, loaded)
        self.assertLess(rss_mb(process), MAX_RSS_MB)


def rss_mb(process: Path) -> float:
    line = next(line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
