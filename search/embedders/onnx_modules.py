"""The layers of a sentence-transformers model that come after its transformer, in numpy: exports often lack them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from search.embedders.base import CannotEmbed, of_length_one

Layer = Callable[[np.ndarray], np.ndarray]
# As older configurations have it: one key for each way of pooling.
POOLING_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS: dict[str, Layer] = {
    "torch.nn.modules.linear.Identity": lambda vectors: vectors,
    "torch.nn.modules.activation.Tanh": np.tanh,
}


@dataclass(frozen=True, slots=True)
class Layers:
    """How vectors of tokens become one of the text; `include_prompt` is whether the prompt's tokens belong to it."""

    pooling: str
    include_prompt: bool
    later: tuple[Layer, ...]

    def apply(self, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return a vector for each text of `tokens` (texts, tokens, dimensions); padding, if any, is at the end."""
        vectors: np.ndarray = _pooled(self.pooling, tokens.astype("f4"), mask)
        for layer in self.later:
            vectors = layer(vectors)
        return vectors


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a file; {} if there is none."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def read_layers(folder: Path) -> Layers:
    """Read the layers that `modules.json` names; raises CannotEmbed for what is not known here."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise CannotEmbed(f"{folder} has no modules.json, which says how the vectors of tokens are pooled.") from error
    pooling, include_prompt, later = "", True, []
    for module in modules:
        kind, path = module["type"].rpartition(".")[2], folder / module["path"]
        if kind == "Pooling":
            config = read_json(path / "config.json")
            pooling, include_prompt = _pooling(config), config.get("include_prompt", True)
        elif kind == "Dense":
            later.append(_dense(path))
        elif kind == "Normalize":
            later.append(of_length_one)
        elif kind != "Transformer":
            raise CannotEmbed(f"A layer of kind {kind} is not known to onnx:.")
    if not pooling:
        raise CannotEmbed("The model's modules have no pooling.")
    return Layers(pooling, include_prompt, tuple(later))


def _pooling(config: dict[str, Any]) -> str:
    mode = config.get("pooling_mode") or [mode for key, mode in POOLING_KEYS.items() if config.get(key)]
    modes = [mode] if isinstance(mode, str) else mode
    if len(modes) != 1 or modes[0] not in POOLING_KEYS.values():
        raise CannotEmbed(f"Pooling by {' and '.join(modes) or 'nothing'} is not known to onnx:.")
    return str(modes[0])


def _pooled(mode: str, tokens: np.ndarray, mask: np.ndarray) -> Any:
    if mode == "cls":
        return tokens[:, 0]
    if mode == "lasttoken":
        return tokens[np.arange(len(tokens)), mask.sum(axis=1) - 1]
    real = mask[:, :, np.newaxis].astype("f4")
    if mode == "max":
        return np.where(real == 1, tokens, -np.inf).max(axis=1)
    return (tokens * real).sum(axis=1) / np.maximum(real.sum(axis=1), 1)


def _dense(path: Path) -> Layer:
    from safetensors.numpy import load_file

    config = read_json(path / "config.json")
    kept = (config.get("module_input_name") or "sentence_embedding", config.get("module_output_name"))
    activation = ACTIVATIONS.get(config.get("activation_function", ""))
    plain = kept in (("sentence_embedding", None), ("sentence_embedding", "sentence_embedding"))
    if activation is None or not plain or config.get("use_residual"):
        raise CannotEmbed("A dense layer of the model is of a kind that is not known to onnx:.")
    weights = load_file(path / "model.safetensors")
    weight = weights["linear.weight"].astype("f4").T
    return partial(_apply_dense, weight, weights.get("linear.bias"), activation)


def _apply_dense(weight: np.ndarray, bias: np.ndarray | None, activation: Layer, vectors: np.ndarray) -> np.ndarray:
    found = vectors @ weight
    return activation(found if bias is None else found + bias.astype("f4"))
