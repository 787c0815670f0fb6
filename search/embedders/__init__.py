"""Embedders by name: what turns passages and questions into vectors. SEARCH_EMBEDDER names the one in use.

`minilm-int8` (or nothing) is all-MiniLM-L6-v2 from an installed package in eight bits, `minilm` the same in full,
`onnx:PATH` an exported sentence-transformers model, `openai:MODEL` an OpenAI-compatible server, `hashing` a fake for
tests, and anything else the path or hub name of a sentence-transformers model.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from search.embedders.base import CannotEmbed, Embedder, Interrupted, Options, read_name

__all__ = ["CannotEmbed", "Embedder", "Interrupted", "Options", "are_alike", "load", "problem_with", "same_model"]

DEFAULT = "minilm-int8"
# What is used instead where one cannot run. Their vectors are so near to each other (the cosine is 0.99) that the
# question of one finds the passages of the other.
FALLBACK = {"minilm-int8": "minilm"}
ALIKE = frozenset({"minilm-int8", "minilm"})
# Imported on first use: some of them cost seconds.
BUILDERS = {
    "minilm": "search.embedders.sentence_transformer.minilm",
    "minilm-int8": "search.embedders.onnx.minilm_int8",
    "onnx": "search.embedders.onnx.from_path",
    "hashing": "search.embedders.hashing.hashing",
    "openai": "search.embedders.openai_compatible.openai_compatible",
}
OTHER = "search.embedders.sentence_transformer.from_path_or_hub"


def load(model: str, options: Options = Options(), *, threads: int = 0) -> Embedder:  # noqa: B008  frozen
    """Return an embedder that runs on this many threads (0: half of the cores); raises CannotEmbed.

    May take seconds. The same model and options give the same vectors, in every process and after every restart.
    """
    kind, _, argument = (model or DEFAULT).partition(":")
    path = BUILDERS.get(kind)
    if path is None:
        path, argument = OTHER, model
    module, _, function = path.rpartition(".")
    builder: Callable[..., Embedder] = getattr(importlib.import_module(module), function)
    return builder(argument, options, threads=threads)


def same_model(one: str, other: str) -> bool:
    """Tell whether two full names are of one model, however it is used."""
    models = {read_name(one)[0], read_name(other)[0]}
    return len(models) == 1 or models <= ALIKE


def are_alike(one: str, other: str) -> bool:
    """Tell whether vectors of embedders with these full names can be compared."""
    return same_model(one, other) and read_name(one)[1] == read_name(other)[1]


def problem_with(model: str) -> str:
    """Return why `model` cannot be an embedder, as far as can be told without loading it; '' if it can."""
    kind, _, argument = (model or DEFAULT).partition(":")
    if kind == "openai":
        if not argument:
            return "'openai:' requires the name of an embeddings model, for example openai:text-embedding-3-small."
        if not settings.EMBEDDINGS_BASE_URL:
            return f"{model!r} requires EMBEDDINGS_BASE_URL (or OPENAI_BASE_URL, or OPENAI_API_KEY)."
    if kind == "onnx" and not (argument and Path(argument).exists()):
        return f"{model!r} requires the path of an exported model, a file or its folder."
    return ""
