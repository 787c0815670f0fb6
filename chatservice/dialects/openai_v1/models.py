"""`/v1/models`: the models that can be asked for answers and for embeddings."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import extend_schema

from accounts.callers import Principal
from accounts.scopes import Scope
from chatservice.dialects.base import json_response
from chatservice.dialects.openai_v1.embeddings import model_info
from chatservice.dialects.openai_v1.reference import operation
from chatservice.dialects.openai_v1.views import ERRORS, OpenAIView
from chatservice.dialects.problems import BadRequest
from completions import providers
from completions.request_policy import allowed_models
from completions.types import ModelInfo


class ModelsView(OpenAIView):
    scopes = {"GET": Scope.GENERATE}

    @extend_schema(
        summary="The available models",
        **operation("GET /models", errors={401: ERRORS[401]}),
    )
    async def get(self, request: HttpRequest, principal: Principal) -> HttpResponse:
        models = await _models(principal)
        return json_response({"object": "list", "data": [_model(model) for model in models]})


class ModelView(OpenAIView):
    scopes = {"GET": Scope.GENERATE}

    @extend_schema(
        summary="One model; its id may contain slashes",
        **operation("GET /models/{model}", errors={401: ERRORS[401], 404: ERRORS[404]}),
    )
    async def get(self, request: HttpRequest, principal: Principal, model: str) -> HttpResponse:
        for known in await _models(principal):
            if known.id == model:
                return json_response(_model(known))
        raise BadRequest("The model does not exist.", code="model_not_found", status=404, param="model")


async def _models(principal: Principal) -> list[ModelInfo]:
    models = await providers.list_models()
    embedder = model_info()
    if not any(model.id == embedder.id for model in models):
        models.append(embedder)
    return await allowed_models(principal, models)


def _model(model: Any) -> dict[str, Any]:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}
