"""Copy the pictures that the documentation shows from where the browser tests took them to docs/screenshots/.

`python -m pytest tests/browser/test_pictures.py tests/browser/test_usage.py && python -m scripts.screenshots`
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TAKEN, SHOWN = ROOT / "test-results", ROOT / "docs" / "screenshots"
LARGEST = 300_000
PICTURE = re.compile(r"screenshots/([\w-]+\.png)")


def main() -> int:
    """Copy every picture that a page shows; fail if one was not taken, or is too large."""
    SHOWN.mkdir(parents=True, exist_ok=True)
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md")]
    for name in sorted({name for page in pages for name in PICTURE.findall(page.read_text())}):
        path = TAKEN / name
        if not path.exists():
            print(f"{path} is missing: run the browser tests", file=sys.stderr)
            return 1
        size = path.stat().st_size
        if size > LARGEST:
            print(f"{name} has {size} bytes, more than {LARGEST}", file=sys.stderr)
            return 1
        shutil.copyfile(path, SHOWN / name)
        print(f"docs/screenshots/{name}: {size // 1000} KB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
