"""Loads what takes seconds, such as models: each once in this process, in the background where nobody must wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

AGAIN_AFTER = 30.0  # seconds until what could not be loaded is tried again


class BackgroundLoader(Generic[K, V]):
    """What `load` returned, by key. `load` raises `error`, whose message is safe to show, for what cannot be loaded."""

    def __init__(self, name: str, load: Callable[..., V], error: type[Exception], failed: Callable[[Exception], None]):
        """Take the name of the threads, and what is called with the error of a background thread."""
        self._name, self._load, self._error, self._warn = name, load, error, failed
        self.loaded: dict[K, V] = {}  # by key
        self._failed: dict[K, tuple[float, str]] = {}
        self._loading: dict[K, threading.Thread] = {}
        self._lock, self._taking = threading.Lock(), threading.Lock()

    def why_not(self, key: K) -> str:
        """Return why something is not loaded; '' while it loads."""
        failed = self._failed.get(key)
        return failed[1] if failed else ""

    def start(self, key: K) -> None:
        """Load in the background, unless loading is in progress or has just failed."""
        with self._lock:
            failed = self._failed.get(key)
            if key in self.loaded or key in self._loading or (failed and time.monotonic() - failed[0] < AGAIN_AFTER):
                return
            thread = threading.Thread(target=self._try, args=(key,), name=self._name, daemon=True)
            self._loading[key] = thread
        thread.start()

    def take(self, key: K, **how: int) -> V:
        """Return what is loaded, loading it if need be; raises what `load` raises. `how` is passed to it."""
        with self._taking:
            if key not in self.loaded:
                try:
                    self.loaded[key] = self._load(key, **how)
                    self._failed.pop(key, None)
                except self._error as error:
                    self._failed[key] = (time.monotonic(), str(error))
                    raise
            return self.loaded[key]

    def forget(self) -> None:
        """Drop everything: for tests, and after a change of settings."""
        self.loaded.clear()
        self._failed.clear()

    def _try(self, key: K) -> None:
        try:
            self.take(key)
        except self._error as error:
            self._warn(error)
        finally:
            self._loading.pop(key, None)
