"""What rerankers have in common: they read a question together with each passage, and order the passages anew."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

BATCH = 8  # pairs: between two batches a cross-encoder looks at the clock


class CannotRerank(Exception):
    """The reranker is not available, or did not answer in time. The message is safe to show."""


class CrossEncoder(ABC):
    """A model on this machine that gives each pair of a question and a passage a score."""

    @abstractmethod
    def score(self, question: str, passages: Sequence[str]) -> np.ndarray:
        """Return a score for each passage, higher for a better answer; raises CannotRerank."""

    def try_out(self) -> None:
        """Raise CannotRerank unless a pair gets one score: models that classify pairs give several."""
        if np.shape(self.score("a trial", ["of one", "or two"])) != (2,):
            raise CannotRerank("The reranker gives no single score: this is no cross-encoder for ranking.")

    def order(self, question: str, passages: Sequence[str], seconds: float) -> list[int]:
        """Return the positions of `passages`, best first; raises CannotRerank, also when `seconds` have passed."""
        until = time.monotonic() + seconds
        # In the order of their lengths, so that no batch is padded to a single long passage.
        positions = sorted(range(len(passages)), key=lambda at: len(passages[at]))
        scores = np.zeros(len(passages))
        for begin in range(0, len(positions), BATCH):
            batch = positions[begin : begin + BATCH]
            scores[batch] = self.score(question, [passages[at] for at in batch])
            if time.monotonic() > until:
                raise late(seconds)
        return [int(at) for at in np.argsort(-scores, kind="stable")]


def cannot_load(error: BaseException) -> CannotRerank:
    """Return the error of a model that raised another one while it was loaded."""
    return CannotRerank(f"The reranker could not be loaded ({type(error).__name__}).")


def failed(error: BaseException) -> CannotRerank:
    """Return the error of a model that raised another one."""
    return CannotRerank(f"Not reranked: the model failed ({type(error).__name__}).")


def late(seconds: float) -> CannotRerank:
    """Return the error of a reranker that took longer than its time."""
    return CannotRerank(f"Not reranked: it took longer than {seconds:g} s.")
