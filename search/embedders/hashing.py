"""Vectors from hashed words, which know no meaning beyond shared stems; for tests and trying things out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from search.analysis import stems
from search.embedders.base import Embedder, Options


class HashingEmbedder(Embedder):
    def __init__(self, dimensions: int, options: Options = Options()) -> None:  # noqa: B008  frozen
        super().__init__(f"hashing:{dimensions}", options, dimensions=dimensions, tokens=256)
        self._dimensions = dimensions

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        vectors: np.ndarray = np.zeros((len(texts), self._dimensions), "f4")
        for row, text in enumerate(texts):
            for stem in stems(text):
                digest = hashlib.blake2b(stem.encode("utf-8", "surrogatepass"), digest_size=8).digest()
                place = int.from_bytes(digest, "big")
                vectors[row, place % self._dimensions] += 1 if place >> 63 else -1
        return self.finished(vectors)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def hashing(argument: str, options: Options, *, threads: int) -> HashingEmbedder:
    return HashingEmbedder(int(argument) if argument.isdigit() else 64, options)
