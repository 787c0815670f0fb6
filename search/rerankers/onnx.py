"""Exported cross-encoders on ONNX Runtime, without torch: `onnx:PATH`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search.embedders.base import CannotEmbed
from search.embedders.onnx import find_model, inputs_of, max_tokens, open_session, run
from search.rerankers.base import CannotRerank, CrossEncoder, cannot_load, failed


class OnnxCrossEncoder(CrossEncoder):
    def __init__(self, path: Path) -> None:
        """Load the graph in a file, or in a folder that has one, and the tokenizer beside it; raises CannotRerank."""
        from tokenizers import Tokenizer

        try:
            file, folder = find_model(path)
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            self._tokenizer.no_padding()
            self._tokenizer.enable_truncation(max_tokens(folder))
            self._session = open_session(file, 0)
            self._output = self._session.get_outputs()[0].name
        except CannotEmbed as error:
            raise CannotRerank(str(error)) from error
        except Exception as error:  # whatever the runtime raises for a broken file
            raise cannot_load(error) from error
        self.try_out()

    def score(self, question: str, passages: Sequence[str]) -> np.ndarray:
        encodings = self._tokenizer.encode_batch([(question, passage) for passage in passages])
        try:
            scores: np.ndarray = run(self._session, self._output, inputs_of(encodings))
        except CannotEmbed as error:
            raise failed(error.__cause__ or error) from error
        return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores
