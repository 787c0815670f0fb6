"""Loads this process's embedders, each once; in the background if the service must not wait for them."""

from __future__ import annotations

import logging

import numpy as np
from django.conf import settings

from search.embedders import DEFAULT, FALLBACK, CannotEmbed, Embedder, Interrupted, Options, load
from search.embedders.base import read_name
from search.loader import BackgroundLoader

logger = logging.getLogger(__name__)
REMEMBERED = 256  # questions: the next page of a search has the same question

Wanted = tuple[str, Options]  # a model, and how it is used
_questions: dict[tuple[str, str], np.ndarray] = {}
LOADING = "The embedder is still loading."


def current_name() -> str:
    """Return the name of the model in use, as the settings have it."""
    return settings.SEARCH_EMBEDDER or DEFAULT


def current(*, threads: int = 0) -> Embedder:
    """Return the embedder in use, loading it if need be; raises CannotEmbed."""
    return loader.take(_wanted(""), threads=threads)


def ready(name: str = "") -> Embedder | None:
    """Return the embedder with this full name (by default the one in use); begin to load it if it is not loaded."""
    embedder = loader.loaded.get(_wanted(name))
    if embedder is None:
        start(name)
    return embedder


def why_not(name: str = "") -> str:
    """Return why `ready` returned None."""
    return loader.why_not(_wanted(name)) or LOADING


def start(name: str = "") -> None:
    """Load in the background, unless loading is in progress or has just failed."""
    loader.start(_wanted(name))


def embed_question(embedder: Embedder, text: str) -> np.ndarray:
    """Return the vector of a search's text; raises CannotEmbed."""
    key = (embedder.name, text)
    vector = _questions.get(key)
    if vector is None:
        vector = embedder.embed_queries([text])[0]
        if len(_questions) >= REMEMBERED:
            _questions.clear()
        _questions[key] = vector
    return vector


def forget() -> None:
    """Drop all embedders: for tests, and after a change of settings."""
    loader.forget()
    _questions.clear()


def _wanted(name: str) -> Wanted:
    """Return the model and the options of a full name; '' means what the settings say."""
    if name:
        return read_name(name)
    options = Options(
        settings.SEARCH_DIMENSIONS, _prompt(settings.SEARCH_QUERY_PROMPT), _prompt(settings.SEARCH_PASSAGE_PROMPT)
    )
    return current_name(), options


def _prompt(setting: str) -> str | None:
    return "" if setting == "none" else setting or None


def _load(wanted: Wanted, threads: int = 0) -> Embedder:
    model, options = wanted
    try:
        return load(model, options, threads=threads)
    except Interrupted:
        raise
    except CannotEmbed as error:
        if model not in FALLBACK:
            raise
        logger.warning("search uses %s instead of %s: %s", FALLBACK[model], model, error)
        return load(FALLBACK[model], options, threads=threads)


def _warn(error: Exception) -> None:
    logger.warning("search by meaning is off: %s", error)


loader: BackgroundLoader[Wanted, Embedder] = BackgroundLoader("embedder", _load, CannotEmbed, _warn)
