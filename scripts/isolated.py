"""Run a command with its own data directory, independent of var/ and of .env.

python -m scripts.isolated COMMAND...
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from scripts.postgres import supervise

# No .env file, and none of the settings that the caller's shell may have for its own service: empty means the default.
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
