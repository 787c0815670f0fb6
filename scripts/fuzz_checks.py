"""Checks GraphQL responses for schemathesis, loaded by SCHEMATHESIS_HOOKS: refusals are fine, failures are not."""

from __future__ import annotations

from typing import Any

import schemathesis

KEYS = {"message", "locations", "path", "extensions"}


@schemathesis.check
def graphql_refusal_is_documented(ctx: Any, response: Any, case: Any) -> None:
    """Fail on a 5xx, on an error without a code, and on an error that is the service's own fault."""
    assert response.status_code in (200, 400, 401, 413, 415, 429), f"status {response.status_code}"
    body = response.json()
    assert set(body) <= {"data", "errors"}, f"keys {sorted(body)}"
    for error in body.get("errors", ()):
        assert {"message", "extensions"} <= set(error) <= KEYS, f"an error with {sorted(error)}"
        code = error["extensions"]["code"]
        assert isinstance(code, str) and code != "internal_error", f"code {code}: {error['message']}"
