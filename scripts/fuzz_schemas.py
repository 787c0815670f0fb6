"""Fuzz a running service by its own schemas, with schemathesis: every phase, every dialect that has a schema.

python -m scripts.fuzz_schemas --url http://127.0.0.1:8000 --key cb_... --examples 2000 [DIALECT...]

Fails on a 5xx, a status or content type that is not documented, and a body or header that differs from its schema.
Run the service with its limits off (docs/settings.md: `LIMIT_*`), or most answers will be 429.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from scripts.fuzz_documents import with_events, with_few_alternatives

CHECKS = ",".join(
    (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
)
PHASES = "examples,coverage,fuzzing,stateful"
RUNNER = str(Path(sys.executable).parent / "schemathesis")
ROOT = str(Path(__file__).resolve().parents[1])
HOOKS = "scripts.fuzz_checks"
GRAPHQL = "graphql"
FIELDS = 22  # roughly the number of its root fields
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310  the operator's own address
        return response.read().decode()


def dialects_at(url: str) -> list[str]:
    """Return the dialects whose schema the service's documentation page offers, and GraphQL."""
    [named] = re.findall(r'data-schemas="([\w,]+)"', read(f"{url}/docs"))
    found = named.split(",")
    try:
        read(f"{url}/graphql")
    except urllib.error.HTTPError as answer:
        found += [GRAPHQL] if answer.code != 404 else []
    return found


def operations_in(document: dict[str, Any]) -> int:
    return sum(len(METHODS & set(operations)) for operations in document["paths"].values())


def fuzz(dialect: str, *, url: str, key: str, examples: int, phases: str, seed: int | None, directory: str) -> bool:
    """Fuzz one dialect with about `examples` cases, shared among its operations; tell whether it passed."""
    if dialect == GRAPHQL:
        location, checks = f"{url}/graphql", "graphql_refusal_is_documented"
        phases = ",".join(phase for phase in phases.split(",") if phase in ("examples", "fuzzing"))
        each = max(1, math.ceil(examples / FIELDS))
    else:
        document = with_events(json.loads(read(f"{url}/schema/{dialect}")))
        seed = random.randrange(2**32) if seed is None else seed  # noqa: S311  no secret; schemathesis prints it
        choice = random.Random(seed)  # noqa: S311
        place = Path(directory) / f"{dialect}.json"
        place.write_text(json.dumps(with_few_alternatives(document, choice)))
        location, checks = str(place), CHECKS
        each = max(1, math.ceil(examples / operations_in(document)))
    command = [RUNNER, "run", location, "--url", url if dialect != GRAPHQL else location]
    command += ["--header", f"Authorization: Bearer {key}", "--checks", checks, "--phases", phases]
    command += ["--max-examples", str(each), "--workers", "1", "--request-timeout", "30", "--no-color"]
    command += ["--warnings", "off", "--suppress-health-check", "all", "--generation-database", "none"]
    command += ["--continue-on-failure"]
    if seed is not None:
        command += ["--seed", str(seed)]
    print(f"== {dialect}: at most {each} examples an operation and phase", flush=True)
    environment = {**os.environ, "NO_COLOR": "1", "SCHEMATHESIS_HOOKS": HOOKS, "PYTHONPATH": ROOT}
    return subprocess.run(command, cwd=directory, env=environment).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dialects", nargs="*", help="all that the service offers, unless named")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key", default=os.environ.get("CHAT_API_KEY", ""))
    parser.add_argument("--examples", type=int, default=150, help="so many a dialect")
    parser.add_argument("--phases", default=PHASES)
    parser.add_argument("--seed", type=int)
    given = parser.parse_args()
    url = given.url.rstrip("/")
    failed = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        for dialect in given.dialects or dialects_at(url):
            options = {"examples": given.examples, "phases": given.phases, "seed": given.seed, "directory": directory}
            if not fuzz(dialect, url=url, key=given.key, **options):
                failed.append(dialect)
    print(f"== failed: {', '.join(failed)}" if failed else "== all of it passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
