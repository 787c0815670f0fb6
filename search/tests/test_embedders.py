"""The real model from its package, a server with OpenAI's embeddings API, and search without either."""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.test import SimpleTestCase, override_settings

from chatservice.testing import wait_until
from search.embedders import (
    CannotEmbed,
    Embedder,
    Options,
    are_alike,
    load,
    loading,
    onnx,
    openai_compatible,
    problem_with,
)
from search.embedders.local import minilm_path


class RealModelTest(SimpleTestCase):
    @pytest.mark.filterwarnings("default")  # warnings that the model's libraries cause on import
    def test_the_whole_model_finds_what_is_meant_without_a_shared_word(self):
        embedder = load("minilm")
        self.assertEqual((embedder.name, embedder.dimensions), ("minilm", 384))
        walked = len(gc.get_objects())
        self.assertLess(walked, 20_000, "the collector walks what came with the model")
        texts = ["Where does the cat sleep?", "The kitten naps on the sofa.", "Interest rates rose again."]
        asked, near, far = embedder.embed(texts)
        self.assertGreater(asked @ near, asked @ far + 0.2)
        self.assertTrue(np.allclose(np.linalg.norm([asked, near, far], axis=1), 1, atol=0.01))
        self.assertEqual(embedder.embed([]).shape[0], 0)


def begin_to_convert(file: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "search.embedders.onnx_conversion", str(minilm_path()), str(file)]
    return subprocess.Popen(command, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def part_written(file: Path) -> bool:
    return any(part.stat().st_size for part in file.with_suffix(".parts").glob("*.onnx"))


class EightBitModelTest(SimpleTestCase):
    """The real conversion, done once for all these tests because it takes seconds.

    One conversion is killed in the middle, then three processes begin it at once.
    """

    embedder: Embedder
    after_the_kill: list[str]
    outputs: list[bytes]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        directory = cls.enterClassContext(tempfile.TemporaryDirectory())
        cls.enterClassContext(override_settings(VAR_DIR=Path(directory)))
        file = Path(directory) / "models" / f"minilm-int8-{onnx.CONVERSION}.onnx"
        killed = begin_to_convert(file)
        wait_until(lambda: part_written(file), timeout=120, what="a part of the file")
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        cls.after_the_kill = [path.name for path in file.parent.glob("*.onnx")]
        processes = [begin_to_convert(file) for _ in range(3)]
        cls.outputs = [process.communicate(timeout=300)[0] for process in processes]
        cls.embedder = load("minilm-int8")

    def test_a_kill_leaves_nothing_half_and_of_several_processes_one_converts(self):
        self.assertEqual(self.after_the_kill, [])
        self.assertEqual(sorted(self.outputs), [b"converted\n", b"was there already\n", b"was there already\n"])
        names = {path.name for path in (settings.VAR_DIR / "models").iterdir()}
        stem = f"minilm-int8-{onnx.CONVERSION}"
        self.assertEqual(names, {f"{stem}.onnx", f"{stem}.lock"})

    @pytest.mark.filterwarnings("default")
    def test_the_whole_model_is_used_instead_of_a_broken_one_and_that_is_said(self):
        self.addCleanup(loading.forget)
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "models").mkdir()
            (Path(directory) / "models" / f"minilm-int8-{onnx.CONVERSION}.onnx").write_bytes(b"half a file")
            with (
                override_settings(VAR_DIR=Path(directory), SEARCH_EMBEDDER="minilm-int8"),
                self.assertLogs("search.embedders.loading", "WARNING") as logs,
            ):
                loading.forget()
                embedder = loading.current()
        self.assertEqual(embedder.name, "minilm")
        self.assertIn("search uses minilm instead of minilm-int8", logs.output[0])

    def test_nothing_replaces_it_when_its_conversion_is_killed(self):
        self.addCleanup(loading.forget)
        loading.forget()
        with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(1) as thread:
            parts = Path(directory) / "models" / f"minilm-int8-{onnx.CONVERSION}.parts"
            with override_settings(VAR_DIR=Path(directory), SEARCH_EMBEDDER="minilm-int8"):
                loaded = thread.submit(loading.current)
                wait_until(parts.exists, timeout=120, what="a conversion")
                for pid in converting(directory):
                    os.kill(pid, signal.SIGKILL)
                with self.assertRaisesMessage(CannotEmbed, "killed"):
                    loaded.result(60)

    @pytest.mark.filterwarnings("default")
    def test_either_model_finds_the_passages_of_the_other(self):
        self.assertTrue(are_alike("minilm", "minilm-int8"))
        texts = [f"In year {n} the ship number {n * 7} sailed to harbour {n * 3}." for n in range(20)]
        whole = load("minilm")
        self.assertEqual((self.embedder.embed(texts) @ whole.embed(texts).T).argmax(axis=1).tolist(), [*range(20)])

    def test_it_means_what_the_whole_model_means(self):
        self.assertEqual((self.embedder.name, self.embedder.dimensions), ("minilm-int8", 384))
        texts = ["Where does the cat sleep?", "The kitten naps on the sofa.", "Interest rates rose again."]
        asked, near, far = self.embedder.embed(texts)
        self.assertGreater(asked @ near, asked @ far + 0.2)
        self.assertEqual(self.embedder.embed([]).shape, (0, 384))

    @pytest.mark.filterwarnings("default")
    def test_it_stays_near_to_the_whole_model_whatever_is_said(self):
        texts = [
            "",
            "é",
            "人工智能的历史",
            "a\x00b",
            "a word " * 3_000,
            *(f"number {n} of many" * n for n in range(20)),
        ]
        whole = load("minilm")
        cosines = (self.embedder.embed(texts) * whole.embed(texts)).sum(axis=1)
        self.assertGreater(cosines.min(), 0.95)
        self.assertEqual(self.embedder.tokens, whole.tokens)
        self.assertEqual(self.embedder.count_tokens(texts), whole.count_tokens(texts))

    def test_a_text_has_its_vector_whatever_stands_beside_it(self):
        texts = [f"{'long ' * (n * 7 % 30)} number {n}" for n in range(40)]
        together = self.embedder.embed(texts)
        alone = np.concatenate([self.embedder.embed([text]) for text in texts])
        self.assertGreater((together * alone).sum(axis=1).min(), 0.98)

    def test_many_threads_may_ask_at_once(self):
        texts = [f"question {n}" for n in range(64)]
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda text: self.embedder.embed([text])[0], texts))
        expected = [self.embedder.embed([text])[0] for text in texts]
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_what_cannot_be_kept_or_is_broken_is_said(self):
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "models").write_text("in the way")
            with override_settings(VAR_DIR=Path(directory)), self.assertRaisesMessage(CannotEmbed, "converted"):
                load("minilm-int8")
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "models").mkdir()
            (Path(directory) / "models" / f"minilm-int8-{onnx.CONVERSION}.onnx").write_bytes(b"half a file")
            with (
                override_settings(VAR_DIR=Path(directory)),
                self.assertRaisesMessage(CannotEmbed, "could not be loaded"),
            ):
                load("minilm-int8")


def converting(directory: str) -> list[int]:
    """Return the processes that convert into this directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            arguments = path.read_bytes()
            if b"search.embedders.onnx_conversion" in arguments and directory.encode() in arguments:
                found.append(int(path.parent.name))
    return found


class FakeServer(BaseHTTPRequestHandler):
    statuses: list[int] = []
    bodies: list[dict[str, Any]] = []
    encode = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bodies.append(body)
        status = self.statuses.pop(0) if self.statuses else 200
        data = [{"index": at, "embedding": self.vector(text)} for at, text in enumerate(body["input"])]
        answer = json.dumps({"data": data[::-1]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def vector(self, text: str) -> Any:
        values = np.array([len(text), 1.0], "<f4")
        return base64.b64encode(values.tobytes()).decode() if self.encode else values.tolist()

    def log_message(self, *args: Any) -> None:
        pass


class ServerTest(SimpleTestCase):
    def setUp(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), FakeServer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        FakeServer.statuses, FakeServer.encode = [], True
        settings = override_settings(EMBEDDINGS_BASE_URL=f"http://127.0.0.1:{self.server.server_port}/v1")
        settings.enable()
        self.addCleanup(settings.disable)

    def test_vectors_come_in_order_in_either_encoding(self):
        for FakeServer.encode in (True, False):
            embedder = load("openai:small")
            self.assertEqual((embedder.name, embedder.dimensions), ("openai:small", 2))
            vectors = embedder.embed(["a" * size for size in range(1, 150)])
            self.assertEqual(np.argsort(vectors[:, 0]).tolist(), list(range(149)))

    def test_a_server_is_sent_prompts_and_the_number_of_dimensions(self):
        embedder = load("openai:small", Options(1, "find: ", "of: "))
        FakeServer.bodies.clear()
        sides = embedder.embed_queries(["x"]), embedder.embed_passages(["x"]), embedder.embed(["x"])
        self.assertEqual([body["input"] for body in FakeServer.bodies], [["find: x"], ["of: x"], ["x"]])
        self.assertEqual({body["dimensions"] for body in FakeServer.bodies}, {1})
        # This server sends two all the same.
        self.assertEqual((embedder.dimensions, [side.tolist() for side in sides]), (1, [[[1.0]]] * 3))
        load("openai:small").embed(["x"])
        self.assertNotIn("dimensions", FakeServer.bodies[-1])

    def test_tries_again_where_that_helps_and_says_so_where_it_does_not(self):
        embedder = load("openai:small")
        pauses, openai_compatible.PAUSES = openai_compatible.PAUSES, (0.0, 0.0)
        try:
            FakeServer.statuses = [503, 429]
            self.assertEqual(len(embedder.embed(["x"])), 1)
            for statuses in ([401], [500, 500, 500]):
                FakeServer.statuses = statuses
                with self.assertRaises(CannotEmbed):
                    embedder.embed(["x"])
        finally:
            openai_compatible.PAUSES = pauses


class WithoutTest(SimpleTestCase):
    @override_settings(EMBEDDINGS_BASE_URL="")
    def test_what_cannot_be_had_is_said(self):
        self.assertTrue(problem_with("openai:small"))
        self.assertTrue(problem_with("openai:"))
        self.assertEqual(problem_with("minilm"), "")
        with self.assertRaises(CannotEmbed):
            load("openai:small")
