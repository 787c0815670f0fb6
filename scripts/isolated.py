"""Run a command with a data directory of its own, away from var/ and from what .env says.

python -m scripts.isolated COMMAND...
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from scripts.postgres import supervise

# No file at all, and what the caller's shell may have set for its own service: empty means the default.
NEUTRAL = {
    "ENV_FILE": os.devnull,
    "DATABASE_URL": "",
    "OPENAI_API_KEY": "",
    "OPENAI_BASE_URL": "",
    "UPSTREAMS": "{}",
    "DEBUG": "false",
}


@contextlib.contextmanager
def own_directory() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="chat-var-") as directory:
        yield {**NEUTRAL, "VAR_DIR": directory}


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1:], own_directory()))
