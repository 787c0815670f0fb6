"""Reads OpenAI's metadata: at most 16 pairs of short texts, in a body or as filters in a query."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.http import QueryDict

from chatservice.dialects.problems import BadRequest
from completions.run_metadata import MAX_KEY_CHARS, MAX_PAIRS, MAX_VALUE_CHARS, is_metadata

FILTER = re.compile(r"metadata\[(.*)\]\Z", re.DOTALL)
RULE = f"must have at most {MAX_PAIRS} texts of {MAX_VALUE_CHARS} characters, with keys of {MAX_KEY_CHARS}"


def read_metadata(value: Any) -> dict[str, str]:
    """Return the metadata in a body, {} for null; raises BadRequest."""
    return {} if value is None else _checked(value)


def read_filters(query: QueryDict) -> dict[str, str]:
    """Return the pairs that a query asks for as `metadata[key]=value`; raises BadRequest."""
    if "metadata" in query:
        raise BadRequest("Write 'metadata[key]=value'.", code="invalid_value", param="metadata")
    return _checked({match[1]: query[name] for name in query if (match := FILTER.match(name))})


def _checked(value: Any) -> dict[str, str]:
    if not is_metadata(value) or _has_nul(value):
        raise BadRequest(f"'metadata' {RULE}.", code="invalid_value", param="metadata")
    return dict(value)


def _has_nul(value: Mapping[str, str]) -> bool:
    return any("\x00" in text for pair in value.items() for text in pair)
