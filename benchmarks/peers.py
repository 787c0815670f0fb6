"""Installs the peers into .venv-bench, pinned by peers.txt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.processes import ROOT

DIRECTORY = ROOT / ".venv-bench"


def install() -> None:
    """Create .venv-bench and install peers.txt from pip's configured package index."""
    if not (DIRECTORY / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(DIRECTORY)], check=True)
    pinned = Path(__file__).with_name("peers.txt")
    # --no-deps: peers.txt lists every package, and explains why.
    pip = [str(DIRECTORY / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "-r", str(pinned)], check=True)
