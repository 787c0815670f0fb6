"""Cross-encoders of sentence-transformers, by torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foundation.internals.interpreter import loading_permanently
from search.embedders.base import CannotEmbed
from search.embedders.local import threads_or_half
from search.embedders.sentence_transformer import load_model
from search.rerankers.base import BATCH, CrossEncoder, cannot_load, failed


class TorchCrossEncoder(CrossEncoder):
    def __init__(self, path: str) -> None:
        """Load the model in the folder `path`; raises CannotRerank."""
        try:
            with loading_permanently():
                # Half precision would give many good passages the same score.
                self._model = load_model("CrossEncoder", path, offline=True, exact=True)
        except CannotEmbed as error:
            raise cannot_load(error.__cause__ or error) from error
        import torch

        torch.set_num_threads(threads_or_half(0))
        self.try_out()

    def score(self, question: str, passages: Sequence[str]) -> np.ndarray:
        import torch

        pairs = [(question, passage) for passage in passages]
        try:
            scores: np.ndarray = self._model.predict(
                pairs, batch_size=BATCH, activation_fn=torch.nn.Identity(), show_progress_bar=False
            )
        except Exception as error:  # whatever the library raises
            raise failed(error) from error
        return scores
