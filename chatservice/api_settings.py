"""How REST framework and drf-spectacular are set up; chatservice/settings.py applies it."""

from __future__ import annotations

from typing import Any

from chatservice import __version__

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.PrincipalAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["chatservice.dialects.json_body.StrictJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "chatservice.openapi.OperationSchema",
    "UNAUTHENTICATED_USER": None,
}


def spectacular_settings(url_prefix: str) -> dict[str, Any]:
    return {
        "VERSION": __version__,
        "SERVERS": [{"url": url_prefix}] if url_prefix else [],
        "SERVE_INCLUDE_SCHEMA": False,
        # This check looks at one schema for everything; `manage.py check_schemas` checks ours, one per dialect.
        "ENABLE_DJANGO_DEPLOY_CHECK": False,
        "SWAGGER_UI_DIST": "SIDECAR",
        "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
        "REDOC_DIST": "SIDECAR",
        "COMPONENT_SPLIT_REQUEST": True,
        "ENUM_ADD_EXPLICIT_BLANK_NULL_CHOICE": False,
    }
