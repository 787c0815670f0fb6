"""Copy the pictures that the browser tests took into docs/screenshots/, where the README shows them.

`python -m pytest tests/browser && python -m scripts.screenshots`
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TAKEN, SHOWN = ROOT / "test-results", ROOT / "docs" / "screenshots"
LARGEST = 300_000
PREFIXES = ("page-", "admin-")


def main() -> int:
    """Copy every picture whose name begins with one of PREFIXES; fail if one is too large."""
    SHOWN.mkdir(parents=True, exist_ok=True)
    pictures = sorted(path for path in TAKEN.glob("*.png") if path.name.startswith(PREFIXES))
    for path in pictures:
        size = path.stat().st_size
        if size > LARGEST:
            print(f"{path.name} has {size} bytes, more than {LARGEST}", file=sys.stderr)
            return 1
        shutil.copyfile(path, SHOWN / path.name)
        print(f"docs/screenshots/{path.name}: {size // 1000} KB")
    return 0 if pictures else 1


if __name__ == "__main__":
    raise SystemExit(main())
