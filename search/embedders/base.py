"""What all embedders have in common: their names, the two sides of a search, and the length of their vectors."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np

# A longer passage tells less precisely where a hit is, and takes more memory to embed.
MAX_PASSAGE_TOKENS, MIN_PASSAGE_TOKENS = 512, 32
CHARS_A_TOKEN = 4  # an estimate
MAX_NAME = 2_000  # bytes of an embedder's name, which a unique index of PostgreSQL holds


class CannotEmbed(Exception):
    """The embedder is not available, or did not answer. The message is safe to show."""


class Interrupted(CannotEmbed):
    """Preparing the embedder was interrupted: trying again may work, so nothing else is used instead."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is used. `dimensions` 0: all that it has; a prompt that is None: the one of its own configuration."""

    dimensions: int = 0
    query_prompt: str | None = None
    passage_prompt: str | None = None


class Embedder(ABC):
    """A model as search uses it: a question and a passage may get different vectors for the same text.

    `name` loads it again: it holds the model's name and, if there are any, the prompts and dimensions that its vectors
    are made with. `dimensions` is the size of its vectors, of which the first ones are kept if fewer are wanted
    (Matryoshka); `tokens` is how much of a text it reads, `passage_tokens` how much of one is embedded together.
    """

    def __init__(
        self, model: str, options: Options, *, dimensions: int, tokens: int, prompts: tuple[str, str] = ("", "")
    ) -> None:
        """Take the model's own `prompts`, of queries and of passages, where `options` has none; raises CannotEmbed."""
        if options.dimensions > dimensions:
            raise CannotEmbed(f"{model} has {dimensions} dimensions, fewer than SEARCH_DIMENSIONS.")
        self.query_prompt = prompts[0] if options.query_prompt is None else options.query_prompt
        self.passage_prompt = prompts[1] if options.passage_prompt is None else options.passage_prompt
        self.dimensions = options.dimensions or dimensions
        self.tokens = tokens
        room = min(tokens, MAX_PASSAGE_TOKENS) - len(self.passage_prompt) // CHARS_A_TOKEN
        self.passage_tokens = max(room, MIN_PASSAGE_TOKENS)
        self.name = full_name(model, Options(options.dimensions, self.query_prompt, self.passage_prompt))
        if len(self.name.encode()) > MAX_NAME:
            raise CannotEmbed(f"The prompts of {model} are too long.")

    @abstractmethod
    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return one float32 vector of length 1 for each text as it is, as rows; raises CannotEmbed."""

    @abstractmethod
    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, by the model's own tokenizer if that is available."""

    def embed_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of what is searched for, as `embed` does."""
        return self.embed([self.query_prompt + text for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of what is searched, as `embed` does."""
        return self.embed([self.passage_prompt + text for text in texts])

    def finished(self, vectors: np.ndarray) -> np.ndarray:
        """Return a model's vectors cut to `dimensions`, and scaled to length 1."""
        return of_length_one(vectors[:, : self.dimensions])


def full_name(model: str, options: Options) -> str:
    """Return the name of a model used in this way: what differs from nothing follows it as a JSON object."""
    used = {key: value for key, value in asdict(options).items() if value}
    return f"{model} {json.dumps(used, ensure_ascii=False)}" if used else model


@lru_cache(256)
def read_name(name: str) -> tuple[str, Options]:
    """Return the model and the options of a full name; there a missing prompt means none at all."""
    model, begin, rest = name.partition(' {"')
    used = json.loads(begin + rest) if begin else {}
    return model, Options(used.get("dimensions", 0), used.get("query_prompt", ""), used.get("passage_prompt", ""))


def of_length_one(vectors: np.ndarray) -> np.ndarray:
    """Return `vectors` scaled to length 1; zero vectors stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths)).astype("f4")
