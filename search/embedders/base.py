"""The interface of embedders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class CannotEmbed(Exception):
    """The embedder is not available, or did not answer. The message is safe to show."""


class Embedder(Protocol):
    """`name` loads it again; `dimensions` is the size of its vectors; `tokens` how much of a text it reads."""

    name: str
    dimensions: int
    tokens: int

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return one float32 vector of length 1 for each text, as rows; raises CannotEmbed."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, by the model's own tokenizer if that is available."""


def of_length_one(vectors: np.ndarray) -> np.ndarray:
    """Return `vectors` scaled to length 1; zero vectors stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths)).astype("f4")
