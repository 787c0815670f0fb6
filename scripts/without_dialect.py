"""Delete one dialect in a copy of the tree, as its README describes, and check that everything else still works.

python -m scripts.without_dialect [--all-tests] [DIALECT...]

For each dialect, in a copy of the tracked files and with this interpreter, it runs the system checks, checks the other
schemas, collects every test, and runs a quick part of them, or all.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
AT_ONCE = 2  # each waits for its services half of the time
FOLDER = Path("chatservice/dialects")
# Tests that know all dialects, and one that calls each of the others.
QUICK = ("test_architecture.py", "test_docs.py", "test_hosts.py", "test_matrix.py", "test_replay.py")


def dialects() -> list[str]:
    """Return the names in `DIALECTS`, without importing the service."""
    registry = (ROOT / FOLDER / "__init__.py").read_text()
    return re.findall(r'^    "(\w+)": ', registry, re.MULTILINE)


def copy_without(dialect: str, directory: Path) -> None:
    """Copy all files that git tracks, and delete the dialect: its folder and its line."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, tracked.split("\0")):
        source, target = ROOT / name, directory / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    shutil.rmtree(directory / FOLDER / dialect)
    registry = directory / FOLDER / "__init__.py"
    lines = registry.read_text().splitlines(keepends=True)
    left = [line for line in lines if not line.startswith(f'    "{dialect}": ')]
    if len(left) != len(lines) - 1:
        raise SystemExit(f"{dialect} has no line of its own in DIALECTS")
    registry.write_text("".join(left))


def try_without(dialect: str, *, all_tests: bool) -> bool:
    """Run the checks in a copy without `dialect`; tell whether all passed."""
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # Those that are not chosen are collected all the same: an import of what is gone fails.
    steps = [["manage.py", "check_schemas"], pytest if all_tests else [*pytest, "-k", " or ".join(QUICK)]]
    with tempfile.TemporaryDirectory(prefix=f"without-{dialect}-") as name:
        directory = Path(name)
        copy_without(dialect, directory)
        for step in steps:
            command = [sys.executable, "-m", "scripts.isolated", sys.executable, *step]
            began = time.monotonic()
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
            if done.returncode:
                print(f"without {dialect}: {' '.join(step)}\n{done.stdout[-20_000:]}{done.stderr[-5_000:]}", flush=True)
                return False
            print(f"without {dialect}: {' '.join(step)[:60]}: passed in {time.monotonic() - began:.0f} s", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dialects", nargs="*")
    parser.add_argument("--all-tests", action="store_true", help="the whole suite each time")
    given = parser.parse_args()
    names = given.dialects or dialects()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        passed = threads.map(lambda name: try_without(name, all_tests=given.all_tests), names)
        missed = [name for name, well in zip(names, passed, strict=True) if not well]
    print(f"missed: {', '.join(missed)}" if missed else "none is missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
