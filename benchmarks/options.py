"""The command line options that both benchmarks share."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.competitors import NAMES, peers_python
from benchmarks.processes import ROOT


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose competitors and the output file."""
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(NAMES)}; service-* is a pattern")
    parser.add_argument("--litellm", type=Path, metavar="PATH", help="LiteLLM's command (default: .venv-bench)")
    parser.add_argument("--install-peers", action="store_true", help="install the peers into .venv-bench first")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="a setting of the service")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round there")


def chosen(given: argparse.Namespace, *, default: str) -> tuple[list[str], Path | None]:
    """Return the competitors' names and LiteLLM's command; report competitors that are not installed, and skip them."""
    if given.install_peers:
        peers.install()
    litellm: Path | None = given.litellm or ROOT / ".venv-bench" / "bin" / "litellm"
    patterns = (given.only or default).split(",")
    names = [name for name in NAMES if any(Path(name).match(pattern) for pattern in patterns)]
    unknown = [pattern for pattern in patterns if not any(Path(name).match(pattern) for name in NAMES)]
    if unknown:
        raise SystemExit(f"unknown competitor: {', '.join(unknown)} (known: {', '.join(NAMES)})")
    assert litellm is not None
    for name, found in (("litellm", litellm.exists()), ("relay", peers_python() is not None)):
        if name in names and not found:
            print(f"{name} is left out: it is not installed (--install-peers)", file=sys.stderr)
            names.remove(name)
    return names, litellm if litellm.exists() else None


def extra_environment(given: argparse.Namespace) -> dict[str, str]:
    """Return the settings given by --env."""
    return dict(pair.split("=", 1) for pair in given.env)


def write_json(given: argparse.Namespace, results: dict[str, Any]) -> None:
    """Write all measurements to the file given by --json."""
    if given.json:
        given.json.write_text(json.dumps({"command": sys.argv[1:], **results}, indent=1))
