"""`/v1/embeddings`: vectors from the search's embedder, or from a model of an upstream."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response, problem_response
from chatservice.dialects.json_body import read_object
from chatservice.dialects.openai_v1.errors import render
from chatservice.dialects.openai_v1.reference import operation
from chatservice.dialects.openai_v1.views import ERRORS, OpenAIView
from chatservice.dialects.problems import BadRequest, Problem
from completions import providers, request_policy
from completions.types import ModelInfo
from search.embedders import CannotEmbed, Embedder, loading

DEFAULT = "default"
MAX_INPUTS = 2_048
TOKENS_AT_ONCE = 300_000
FORMATS = ("float", "base64")
# Other services' names for the embedder that is included.
MINILM = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
ALSO = {"minilm": MINILM, "minilm-int8": ("minilm", *MINILM)}
LOADING_SECONDS, BROKEN_SECONDS = 2, 30
# One large request at a time: otherwise a few clients would take every core away from the answers.
_thread = ThreadPoolExecutor(1, thread_name_prefix="embeddings")
EXAMPLE = {"model": DEFAULT, "input": ["Where do whales sleep?", "Near the surface."]}


@dataclass(frozen=True, slots=True)
class Asked:
    """A validated request for embeddings."""

    model: str
    texts: tuple[str, ...]
    as_base64: bool
    dimensions: int | None


class EmbeddingsView(OpenAIView):
    scopes = {"POST": Scope.GENERATE}

    @extend_schema(
        summary="Embed texts with the model that search uses",
        description="`default` is that model. Any other model is requested from the server that has it, or `404` "
        "if none has. Texts longer than the model reads are refused, not truncated.",
        **operation(
            "POST /embeddings",
            errors={status: each for status, each in ERRORS.items() if status not in (409, 422)},
        ),
        examples=[OpenApiExample("Two texts", EXAMPLE, request_only=True)],
    )
    async def post(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        body = read_object(request)
        model = _model_of(body)
        is_ours = model in names()
        parameters = {name: value for name, value in body.items() if name not in ("model", "input")}
        await request_policy.check(principal, loading.current_name() if is_ours else model, parameters)
        if not is_ours:
            answer = await providers.embed(model, {**body, "model": model})
            if answer is None:
                raise _not_found(model)
            return json_response(answer)
        asked = read(body, model)
        embedder = loading.ready()
        if embedder is None:
            why = loading.why_not()
            wait = LOADING_SECONDS if why == loading.LOADING else BROKEN_SECONDS
            return problem_response(Problem(503, "model_not_ready", why, retry_after=wait), render)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(_thread, _embed, embedder, asked)
        except CannotEmbed as error:
            return problem_response(Problem(503, "model_not_ready", str(error), retry_after=BROKEN_SECONDS), render)


def names() -> tuple[str, ...]:
    """Return all names of the search's embedder."""
    name = loading.current_name()
    kind, _, upstream_name = name.partition(":")
    return (DEFAULT, name, *ALSO.get(name, ()), *([upstream_name] if kind == "openai" and upstream_name else []))


def model_info() -> ModelInfo:
    return ModelInfo(loading.current_name(), "search")


def read(body: Mapping[str, Any], model: str) -> Asked:
    """Return the validated request; raises BadRequest naming the wrong parameter."""
    encoding = body.get("encoding_format")
    encoding = "float" if encoding is None else encoding
    if encoding not in FORMATS:
        raise _invalid("encoding_format", "'encoding_format' must be 'float' or 'base64'.")
    dimensions = body.get("dimensions")
    if dimensions is not None and (isinstance(dimensions, bool) or not isinstance(dimensions, int) or dimensions < 1):
        raise _invalid("dimensions", "'dimensions' must be a whole number from 1.")
    return Asked(model, _texts(body.get("input")), encoding == "base64", dimensions)


def _texts(given: Any) -> tuple[str, ...]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise _invalid("input", "'input' must be a string, or a list of strings.")
    if all(type(each) in (int, list) for each in texts):
        raise _invalid("input", "'input' must be text: this model cannot read another model's tokens.")
    if not all(isinstance(each, str) for each in texts):
        raise _invalid("input", "'input' must be a string, or a list of strings.")
    if len(texts) > MAX_INPUTS:
        raise _invalid("input", f"'input' may have at most {MAX_INPUTS} strings.")
    for index, text in enumerate(texts):
        if not text:
            raise _invalid("input", f"'input[{index}]' must not be empty.")
    return tuple(texts)


def _embed(embedder: Embedder, asked: Asked) -> HttpResponse:
    """Compute the vectors and return the response. Takes as long as the model does."""
    if asked.dimensions not in (None, embedder.dimensions):
        wanted = f"This model's embeddings always have {embedder.dimensions} dimensions."
        return problem_response(_invalid("dimensions", wanted).problem, render)
    counts = embedder.count_tokens(asked.texts)
    for index, count in enumerate(counts):
        if count > embedder.tokens:
            message = f"'input[{index}]' has {count} tokens; this model reads at most {embedder.tokens}."
            problem = Problem(400, "context_length_exceeded", message, param="input")
            return problem_response(problem, render)
    total = sum(counts)
    if total > TOKENS_AT_ONCE:
        problem = Problem(400, "too_many_tokens", f"At most {TOKENS_AT_ONCE} tokens in total.", param="input")
        return problem_response(problem, render)
    vectors = embedder.embed(asked.texts)
    data = [
        {"object": "embedding", "index": index, "embedding": encoded}
        for index, encoded in enumerate(_encoded(vectors, as_base64=asked.as_base64))
    ]
    usage = {"prompt_tokens": total, "total_tokens": total}
    # Where the model in use stands in for the one that is set, its name says so.
    name = embedder.name if embedder.name in names() else loading.current_name()
    return json_response({"object": "list", "data": data, "model": name, "usage": usage})


def _encoded(vectors: np.ndarray, *, as_base64: bool) -> Sequence[Any]:
    rows = np.ascontiguousarray(vectors, dtype="<f4")
    if as_base64:
        return [base64.b64encode(row.tobytes()).decode("ascii") for row in rows]
    numbers: list[Any] = rows.astype("f8").tolist()
    return numbers


def _model_of(body: Mapping[str, Any]) -> str:
    model = body.get("model")
    if not isinstance(model, str) or not model or len(model) > 200:
        raise _invalid("model", "'model' must be the name of a model.")
    return model


def _not_found(model: str) -> BadRequest:
    message = f"There is no embeddings model with this name. '{DEFAULT}' is {loading.current_name()}."
    return BadRequest(message, code="model_not_found", status=404, param="model")


def _invalid(param: str, message: str) -> BadRequest:
    return BadRequest(message, code="invalid_value", param=param)
