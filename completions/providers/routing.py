"""Selects the upstreams for a model, in order of preference, and the name of the model at each. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

Upstreams = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One upstream, and its own name for the model asked for."""

    upstream: str
    model: str


def routes_for(model: str, upstreams: Upstreams, default: str) -> list[Route]:
    """Return every upstream with a matching pattern, the lowest `priority` first; without a match the default one."""
    matching = [name for name, config in upstreams.items() if _matches(model, config)]
    matching.sort(key=lambda name: upstreams[name].get("priority") or 0)  # a stable sort keeps the configured order
    return [Route(name, _upstream_model(model, upstreams.get(name, {}))) for name in matching or [default]]


def public_model(upstream: str, model: str, upstreams: Upstreams, default: str) -> str | None:
    """Return the name by which a client reaches this upstream's model; None if no name leads to it."""
    for name in _names(model, upstreams.get(upstream, {})):
        if Route(upstream, model) in routes_for(name, upstreams, default):
            return name
    return None


def _matches(model: str, config: Mapping[str, Any]) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in config.get("models") or ())


def _upstream_model(model: str, config: Mapping[str, Any]) -> str:
    renamed = (config.get("rename") or {}).get(model)
    if renamed:
        return str(renamed)
    if config.get("strip_prefix"):
        return model.partition("/")[2] or model
    return model


def _names(model: str, config: Mapping[str, Any]) -> Iterator[str]:
    for name, renamed in (config.get("rename") or {}).items():
        if renamed == model:
            yield name
    if config.get("strip_prefix"):
        for pattern in config.get("models") or ():
            prefix, slash, _ = pattern.partition("/")
            if slash:
                yield f"{prefix}/{model}"
    else:
        yield model
