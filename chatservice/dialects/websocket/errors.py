"""Problems in this dialect's shape: an HTTP request at the websocket's path gets the frame that a socket would get."""

from __future__ import annotations

from typing import Any

from chatservice.dialects.problems import Problem
from chatservice.dialects.websocket.frames import error_data


def render(problem: Problem) -> dict[str, Any]:
    return {"type": "error", "data": error_data(problem.code, problem.message, problem.retry_after)}
