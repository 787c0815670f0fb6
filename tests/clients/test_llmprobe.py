"""llmprobe finds the surface it should, and no assertion that it rates MUST fails."""

from __future__ import annotations

import json

from chatservice.testing import tried_once
from tests.clients.case import INSTALLED, MODEL, ClientTestCase, needs_clients

needs_clients()

# What is not served, on purpose: Anthropic's API, the completions that OpenAI calls legacy, pictures and speech.
NOT_EXTENDED = {"messages", "messages/count_tokens", "completions (legacy)"}
NOT_FRONTIER = {
    *("images/generations", "images/edits", "audio/speech", "audio/transcriptions", "MCP tools", "rate limiting"),
}
SURFACES = {"models", "chat", "responses", "embeddings"}


@tried_once
class LlmprobeTest(ClientTestCase):
    maxDiff = None

    def test_every_must_is_kept(self):
        program = str(INSTALLED / "node_modules/llmprobe/bin/dist/llmprobe.mjs")
        asked = [self.service.url, "--api-key", self.alice.secret, "--model", MODEL]
        how = ["--full", "--no-bench", "--no-save", "--no-color", "--json"]
        # It exits with 1 where the report says why.
        printed = self.run_client("node", program, *asked, *how, may_fail=True)
        report = json.loads(printed[printed.index("{") :])

        conformance = report["conformance"]
        failures = [
            f"{result['id']}: {failure['label']}: {failure['message']}"
            for result in conformance["results"]
            for failure in result["failures"]
            if failure["severity"] == "MUST"
        ]
        self.assertEqual(failures, [])
        self.assertEqual(conformance["inconclusive"], [])

        tiers = {each["tier"]: each for each in report["coverage"]["byTier"]}
        self.assertEqual(tiers["core"]["missing"], [])
        self.assertEqual(set(tiers["extended"]["missing"]), NOT_EXTENDED)
        self.assertEqual(set(tiers["frontier"]["missing"]), NOT_FRONTIER)
        self.assertEqual([tier["unprobed"] for tier in tiers.values()], [[], [], []])
        self.assertEqual({each["surface"] for each in conformance["bySurface"]}, SURFACES)
        self.assertEqual(conformance["passed"], conformance["total"])
        self.assertGreater(conformance["total"], 180)
