"""Loads this process's embedders, each once; in the background if the service must not wait for them."""

from __future__ import annotations

import logging
import threading
import time

import numpy as np
from django.conf import settings

from search.embedders import DEFAULT, CannotEmbed, Embedder, load

logger = logging.getLogger(__name__)
AGAIN_AFTER = 30.0  # seconds until an embedder that could not be loaded is tried again
REMEMBERED = 256  # questions: the next page of a search has the same question

_loaded: dict[str, Embedder] = {}
_failed: dict[str, tuple[float, str]] = {}
_loading: dict[str, threading.Thread] = {}
_questions: dict[tuple[str, str], np.ndarray] = {}
_lock = threading.Lock()
LOADING = "The embedder is still loading."


def current_name() -> str:
    return settings.SEARCH_EMBEDDER or DEFAULT


def current(*, threads: int = 0) -> Embedder:
    """Return the embedder in use, loading it if need be; raises CannotEmbed."""
    return _take(current_name(), threads)


def ready(name: str = "") -> Embedder | None:
    """Return an embedder if it is loaded; otherwise begin to load it and return None."""
    name = name or current_name()
    embedder = _loaded.get(name)
    if embedder is None:
        start(name)
    return embedder


def why_not(name: str = "") -> str:
    """Return why `ready` returned None."""
    failed = _failed.get(name or current_name())
    return failed[1] if failed else LOADING


def start(name: str = "") -> None:
    """Load in the background, unless loading is in progress or has just failed."""
    name = name or current_name()
    with _lock:
        failed = _failed.get(name)
        if name in _loaded or name in _loading or (failed and time.monotonic() - failed[0] < AGAIN_AFTER):
            return
        thread = threading.Thread(target=_try, args=(name,), name="embedder", daemon=True)
        _loading[name] = thread
    thread.start()


def embed_question(embedder: Embedder, text: str) -> np.ndarray:
    """Return the vector of a search's text; raises CannotEmbed."""
    key = (embedder.name, text)
    vector = _questions.get(key)
    if vector is None:
        vector = embedder.embed([text])[0]
        if len(_questions) >= REMEMBERED:
            _questions.clear()
        _questions[key] = vector
    return vector


def forget() -> None:
    """Drop all embedders: for tests, and after a change of settings."""
    _loaded.clear()
    _failed.clear()
    _questions.clear()


def _try(name: str) -> None:
    try:
        _take(name, 0)
    except CannotEmbed as error:
        logger.warning("search by meaning is off: %s", error)
    finally:
        _loading.pop(name, None)


_taking = threading.Lock()


def _take(name: str, threads: int) -> Embedder:
    with _taking:
        if name not in _loaded:
            try:
                _loaded[name] = load(name, threads=threads)
                _failed.pop(name, None)
            except CannotEmbed as error:
                _failed[name] = (time.monotonic(), str(error))
                raise
        return _loaded[name]
