"""Which provider answers which model: the registry, chosen by configuration.

    UPSTREAMS         {"name": {options}}, the options being

        base_url        where it answers, http:// or https://
        api             "chat" (completions, the default) or "responses"
        api_key         its key; none for a local server
        models          ["gpt-*", ...]: the models it answers. Where several upstreams have a matching
                        pattern, the next one is asked when one cannot be reached or refuses to begin
        priority        the lowest is asked first (default 0), equal ones as listed
        rename          {"a client's name": "the upstream's name"}
        strip_prefix    a client's "local/llama3" is the upstream's "llama3"
        headers         {} sent with each request
        usage_in_stream true: ask for usage in streams
        alternate_roles true: merge instructions, and turns of one role, for servers that refuse others (default false)
        reasoning_back  false: never send a server's own reasoning back, for servers that refuse it (default true)
        documents       "file" (the default) or "text": what it is sent of PDF, Word and text files
        max_connections requests at once; others wait, then get 503
        ca_file         a PEM file of private authorities, trusted besides the public ones
        proxy           the URL of an HTTP proxy

    DEFAULT_UPSTREAM  for models that match no pattern; "echo" needs no entry
    DEFAULT_MODEL     the model for "default", or if none is named

The only module of this package that reads settings. The client library is imported on first use.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakKeyDictionary

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from completions.exceptions import ProviderError
from completions.providers.base import Provider
from completions.providers.fallback import Choice, Fallback
from completions.providers.routing import public_model, routes_for
from completions.types import ModelInfo, Wire

logger = logging.getLogger(__name__)

ECHO: Final = "echo"
CHAT, RESPONSES = APIS = ("chat", "responses")
AS_FILE, AS_TEXT = DOCUMENTS = ("file", "text")
WILDCARDS: Final = frozenset("*?[")
LISTING_SECONDS: Final = 3.0
LISTING_CACHE_SECONDS: Final = 30.0


@dataclass(slots=True)
class _Pool:
    """What belongs to one event loop: loops cannot share connections."""

    providers: dict[str, tuple[Mapping[str, Any], Provider]] = field(default_factory=dict)
    replaced: list[Provider] = field(default_factory=list)
    listing: asyncio.Task[list[ModelInfo]] | None = None
    listed: tuple[float, object, list[ModelInfo]] | None = None


_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool] = WeakKeyDictionary()
_no_loop = _Pool()


def provider_for(model: str | None) -> tuple[Provider, str]:
    """Return this event loop's provider for a client's model name, and the upstream's name for the model.

    If several upstreams offer the model, the provider is a `Fallback` that asks them in turn; its `name` is that of the
    preferred one.
    """
    if not model or model == "default":
        model = settings.DEFAULT_MODEL
    routes = routes_for(model, settings.UPSTREAMS, settings.DEFAULT_UPSTREAM)
    if len(routes) == 1:
        return _provider(routes[0].upstream), routes[0].model
    return Fallback([Choice(_provider(route.upstream), route.model) for route in routes]), model


async def embed(model: str, body: Wire) -> Wire | None:
    """Pass a request for embeddings to the upstream of `model`; returns None if there is none. Raises ProviderError."""
    route = routes_for(model, settings.UPSTREAMS, settings.DEFAULT_UPSTREAM)[0]
    provider = _provider(route.upstream)
    ask = getattr(provider, "embed", None)  # the echo provider has no vectors
    return await ask({**body, "model": route.model}) if ask is not None else None


async def list_models() -> list[ModelInfo]:
    """Return every model a client may ask for, at most 30 s old, without those of upstreams that fail."""
    pool, configuration = _pool(), _configuration()
    if pool.listed is not None:
        until, made_for, models = pool.listed
        if made_for == configuration and time.monotonic() < until:
            return list(models)
    if pool.listing is None or pool.listing.done():
        pool.listing = asyncio.create_task(_list_all(pool, configuration))
    # Shielded: a client that hangs up must not cancel the request for the others that wait for the same list.
    return list(await asyncio.shield(pool.listing))


async def close_all() -> None:
    """Release the connections of the running event loop."""
    pool = _pools.pop(asyncio.get_running_loop(), None)
    if pool is None:
        return
    if pool.listing is not None:
        pool.listing.cancel()
    providers = [provider for _, provider in pool.providers.values()]
    await asyncio.gather(*(provider.close() for provider in providers + pool.replaced), return_exceptions=True)


def _pool() -> _Pool:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _no_loop  # routes may be computed without an event loop; connections are opened only inside one
    return _pools.setdefault(loop, _Pool())


def _provider(upstream: str) -> Provider:
    config = settings.UPSTREAMS.get(upstream, {})
    pool = _pool()
    found = pool.providers.get(upstream)
    if found is not None:
        if found[0] == config:
            return found[1]
        pool.replaced.append(found[1])
    provider = _build(upstream, config)
    pool.providers[upstream] = (config, provider)
    return provider


def _build(name: str, config: Mapping[str, Any]) -> Provider:
    if name == ECHO and not config.get("base_url"):
        from completions.providers.echo import Echo

        return Echo(name, delay=getattr(settings, "ECHO_DELAY", 0.02))
    base_url = str(config.get("base_url") or "")
    if not base_url.startswith(("http://", "https://")):
        raise ImproperlyConfigured(f"Upstream {name!r} needs a base_url that starts with http:// or https://.")
    api = config.get("api") or CHAT
    if api not in APIS:
        raise ImproperlyConfigured(f"Upstream {name!r}: api must be one of {', '.join(APIS)}.")
    options = {**_options(config), "base_url": base_url}
    if api == RESPONSES:
        from completions.providers.responses_api import ResponsesAPI

        return ResponsesAPI(name, **options)
    from completions.providers.openai_compatible import OpenAICompatible

    return OpenAICompatible(
        name,
        usage_in_stream=bool(config.get("usage_in_stream", True)),
        alternate_roles=bool(config.get("alternate_roles")),
        reasoning_back=bool(config.get("reasoning_back", True)),
        **options,
    )


def _options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that the providers of all APIs have."""
    from completions.providers.chunks import MAX_TEXT_CHARS
    from completions.providers.connection import MAX_CONNECTIONS
    from completions.providers.wire_parser import MAX_RAW_BYTES

    return {
        "api_key": str(config.get("api_key") or ""),
        "headers": config.get("headers") or {},
        "app_title": getattr(settings, "APP_TITLE", ""),
        "app_url": getattr(settings, "APP_URL", ""),
        "max_connections": int(config.get("max_connections") or _most_runs() or MAX_CONNECTIONS),
        "takes_documents": config.get("documents") != AS_TEXT,
        "ca_file": str(config.get("ca_file") or ""),
        "proxy": str(config.get("proxy") or ""),
        "first_byte": getattr(settings, "FIRST_BYTE_SECONDS", 60.0),
        "idle": getattr(settings, "IDLE_SECONDS", 45.0),
        "answer": getattr(settings, "RUN_SECONDS", 600.0),
        # 0 switches it off; the larger limit on raw bytes still applies.
        "max_text": getattr(settings, "LIMIT_OUTPUT_CHARS", MAX_TEXT_CHARS) or MAX_RAW_BYTES,
    }


def _most_runs() -> int:
    """Return enough connections for every answer of this process and some lists of models; 0 means unlimited."""
    limit = getattr(settings, "LIMIT_RUNS_PER_PROCESS", 0)
    return limit + 8 if limit else 0


def upstream_names() -> list[str]:
    """Return the names of all configured upstreams; the default one comes last unless it is listed earlier."""
    return list(dict.fromkeys([*settings.UPSTREAMS, settings.DEFAULT_UPSTREAM]))


def open_breakers() -> dict[str, bool]:
    """Return whether the circuit breaker is open of each upstream that this process has asked. For any thread."""
    pools = list(_pools.values())
    return {name: provider.health.is_open for pool in pools for name, (_, provider) in list(pool.providers.items())}


def known_models() -> frozenset[str]:
    """Return the models that the settings name, and those of the last `list_models`: none that a client made up."""
    names = {settings.DEFAULT_MODEL}
    for config in settings.UPSTREAMS.values():
        names |= (config.get("rename") or {}).keys()
        names |= {pattern for pattern in config.get("models") or () if not WILDCARDS & set(pattern)}
    return frozenset(names.union(*([model.id for model in pool.listed[2]] for pool in _pools.values() if pool.listed)))


async def list_upstream(name: str) -> list[ModelInfo]:
    """Return the models of one upstream under its own names. Raises ProviderError, TimeoutError."""
    async with asyncio.timeout(LISTING_SECONDS):
        return await _provider(name).list_models()


def _configuration() -> object:
    return {**settings.UPSTREAMS}, settings.DEFAULT_UPSTREAM


async def _list_all(pool: _Pool, configuration: object) -> list[ModelInfo]:
    names = upstream_names()
    listings = await asyncio.gather(*(_list_one(name) for name in names))
    models: dict[str, ModelInfo] = {}
    for name, listing in zip(names, listings, strict=True):
        for model in listing or ():
            public = public_model(name, model.id, settings.UPSTREAMS, settings.DEFAULT_UPSTREAM)
            if public is not None:
                models.setdefault(public, ModelInfo(public, model.owned_by, model.created))
    fresh = LISTING_CACHE_SECONDS if None not in listings else LISTING_SECONDS
    pool.listed = (time.monotonic() + fresh, configuration, list(models.values()))
    return pool.listed[2]


async def _list_one(name: str) -> list[ModelInfo] | None:
    try:
        return await list_upstream(name)
    except (ProviderError, TimeoutError) as error:
        logger.warning("upstream %s: no list of models (%s)", name, getattr(error, "code", "timeout"))
        return None
