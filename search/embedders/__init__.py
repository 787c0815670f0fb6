"""Embedders by name: what turns passages and questions into vectors. SEARCH_EMBEDDER names the one in use.

`minilm` (or nothing) is all-MiniLM-L6-v2 from an installed package, `minilm-int8` the same in eight bits,
`openai:MODEL` an OpenAI-compatible server, `hashing` a fake for tests, and anything else the path or hub name of a
sentence-transformers model.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from django.conf import settings

from search.embedders.base import CannotEmbed, Embedder

__all__ = ["CannotEmbed", "Embedder", "load", "problem_with"]

DEFAULT = "minilm"
# Imported on first use: some of them cost seconds.
BUILDERS = {
    "minilm": "search.embedders.sentence_transformer.minilm",
    "minilm-int8": "search.embedders.onnx.minilm_int8",
    "hashing": "search.embedders.hashing.hashing",
    "openai": "search.embedders.openai_compatible.openai_compatible",
}
OTHER = "search.embedders.sentence_transformer.from_path_or_hub"


def load(name: str, *, threads: int = 0) -> Embedder:
    """Return the embedder called `name`, running on this many threads (0: half of the cores); raises CannotEmbed.

    May take seconds. The same name gives the same vectors, in every process and after every restart.
    """
    kind, _, argument = (name or DEFAULT).partition(":")
    path = BUILDERS.get(kind)
    if path is None:
        path, argument = OTHER, name
    module, _, function = path.rpartition(".")
    builder: Callable[..., Embedder] = getattr(importlib.import_module(module), function)
    return builder(argument, threads=threads)


def problem_with(name: str) -> str:
    """Return why `name` cannot be an embedder, as far as can be told without loading it; '' if it can."""
    kind, _, argument = (name or DEFAULT).partition(":")
    if kind == "openai":
        if not argument:
            return "'openai:' requires the name of an embeddings model, for example openai:text-embedding-3-small."
        if not settings.EMBEDDINGS_BASE_URL:
            return f"{name!r} requires EMBEDDINGS_BASE_URL (or OPENAI_BASE_URL, or OPENAI_API_KEY)."
    return ""
