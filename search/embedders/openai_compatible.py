"""Embeddings from a server that speaks OpenAI's `/v1/embeddings`."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import Any

import httpx2
import numpy as np
from django.conf import settings

from search.embedders.base import CHARS_A_TOKEN, CannotEmbed, Embedder, Options

BATCH = 64
TOKENS = 256  # the server would read more, but a longer passage tells less precisely where the hit is
TIMEOUT = httpx2.Timeout(30, connect=5)
PAUSES = (0.5, 2.0)  # seconds before retrying
TRY_AGAIN = frozenset({408, 409, 429, 500, 502, 503, 504})
MAX_RESPONSE_BYTES = 64 * 2**20


class OpenAICompatibleEmbedder(Embedder):
    def __init__(self, model: str, options: Options, base_url: str, api_key: str) -> None:
        self._model = model
        self._wanted = {"dimensions": options.dimensions} if options.dimensions else {}
        self._client = httpx2.Client(
            base_url=base_url.rstrip("/") + "/",
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=TIMEOUT,
            follow_redirects=False,
            trust_env=False,
        )
        dimensions = int(self._ask(["dimensions"]).shape[1])
        super().__init__(f"openai:{model}", options, dimensions=dimensions, tokens=TOKENS)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        parts = [self._ask(list(texts[at : at + BATCH])) for at in range(0, len(texts), BATCH)]
        return self.finished(np.concatenate(parts)) if parts else np.zeros((0, self.dimensions), "f4")

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [max(1, len(text) // CHARS_A_TOKEN) for text in texts]

    def _ask(self, texts: list[str]) -> np.ndarray:
        body = {"model": self._model, "input": texts, "encoding_format": "base64", **self._wanted}
        try:
            answer = self._post(body).json()
            data = sorted(answer["data"], key=lambda each: each["index"])
            vectors = np.array([_vector(each["embedding"]) for each in data], dtype="f4")
        except (ValueError, KeyError, TypeError) as error:
            raise CannotEmbed("The embeddings server's response is not a list of embeddings.") from error
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise CannotEmbed("The embeddings server returned another number of embeddings than requested.")
        return vectors

    def _post(self, body: dict[str, Any]) -> httpx2.Response:
        problem = "The embeddings server does not answer."
        for pause in (*PAUSES, None):
            try:
                response = self._client.post("embeddings", json=body)
                if response.status_code == 200 and len(response.content) <= MAX_RESPONSE_BYTES:
                    return response
                problem = f"The embeddings server answered with status {response.status_code}."
                if response.status_code not in TRY_AGAIN:
                    break
            except httpx2.HTTPError as error:
                problem = f"The embeddings server does not answer ({type(error).__name__})."
            if pause is not None:
                time.sleep(pause)
        raise CannotEmbed(problem)


def openai_compatible(argument: str, options: Options, *, threads: int) -> OpenAICompatibleEmbedder:
    if not settings.EMBEDDINGS_BASE_URL:
        raise CannotEmbed("EMBEDDINGS_BASE_URL is not set.")
    return OpenAICompatibleEmbedder(argument, options, settings.EMBEDDINGS_BASE_URL, settings.EMBEDDINGS_API_KEY)


def _vector(value: Any) -> np.ndarray:
    if isinstance(value, str):  # some servers ignore encoding_format: the type of the value shows which format it is
        return np.frombuffer(base64.b64decode(value), "<f4")
    return np.array(value, dtype="f4")
