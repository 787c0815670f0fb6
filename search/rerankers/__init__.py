"""Rerankers by name: what orders the best hits of a search anew. SEARCH_RERANKER names the one in use.

Nothing is none; `chat:MODEL` a chat model, `onnx:PATH` an exported cross-encoder of sentence-transformers, and anything
else the path of one.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from search.rerankers.base import CannotRerank, CrossEncoder

__all__ = ["CHAT", "CannotRerank", "CrossEncoder", "load", "problem_with"]

CHAT, ONNX = "chat", "onnx"


def load(name: str) -> CrossEncoder:
    """Return the cross-encoder with this name; raises CannotRerank. May take seconds."""
    kind, _, path = name.partition(":")
    # Imported on first use: both cost seconds.
    if kind == ONNX:
        loaded: CrossEncoder = importlib.import_module("search.rerankers.onnx").OnnxCrossEncoder(Path(path))
    else:
        loaded = importlib.import_module("search.rerankers.sentence_transformer").TorchCrossEncoder(name)
    return loaded


def problem_with(name: str) -> str:
    """Return why `name` cannot be a reranker, as far as can be told without loading it; '' if it can."""
    kind, _, argument = name.partition(":")
    if kind == CHAT:
        return "" if argument else "'chat:' requires the name of a chat model, for example chat:default."
    path = argument if kind == ONNX else name
    if name and not (path and Path(path).exists()):
        return f"{name!r} requires the path of a cross-encoder on this machine; none is downloaded."
    return ""
