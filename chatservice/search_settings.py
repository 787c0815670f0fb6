"""The settings of the models that a search uses beside the embedder's own; chatservice/settings.py applies them."""

from __future__ import annotations

from chatservice.environment import Environment

MAX_RERANK_SECONDS = 20.0  # a search is given up after 30

# --- Models of search (docs/search-models.md) ----------------------------------------------------


def embeddings_server(env: Environment, openai_base_url: str, openai_api_key: str) -> tuple[str, str]:
    """Return the address and the key of the server that `openai:MODEL` embeds with."""
    # The server of `openai:MODEL`. By default OPENAI_BASE_URL.
    base_url = env.str("EMBEDDINGS_BASE_URL", default="", url=True)
    # The key for that server. By default OPENAI_API_KEY, unless EMBEDDINGS_BASE_URL names another server, which is
    # never sent that key.
    api_key = env.secret("EMBEDDINGS_API_KEY", default="" if base_url else openai_api_key)
    base_url = base_url or openai_base_url
    if openai_api_key and not base_url:
        base_url = "https://api.openai.com/v1"
    return base_url, api_key


def reranking_settings(env: Environment) -> tuple[str, float]:
    """Return the reranker, and how long it may take."""
    # What orders the best 30 hits of a search anew: the path of a cross-encoder of sentence-transformers, `onnx:PATH`
    # of an exported one, or `chat:MODEL`, a chat model of the upstreams. By default nothing.
    reranker = env.str("SEARCH_RERANKER", default="").strip()
    # How long it may take, at most 20 s; after that the hits are shown in their first order, and the response says so.
    seconds = env.float("SEARCH_RERANK_SECONDS", default=1.0, above=0, maximum=MAX_RERANK_SECONDS)
    return reranker, seconds
