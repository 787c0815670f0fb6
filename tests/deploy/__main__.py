"""`make deploy-check`: the image without Docker, and docs/operations.md in a machine of its own. As root; minutes.

python -m tests.deploy [--only image|page]
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.deploy import image, operations_page
from tests.deploy.machine import missing

PARTS = {"image": image.run, "page": operations_page.run}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.deploy", description=__doc__)
    parser.add_argument("--only", choices=PARTS)
    only = parser.parse_args().only
    if why := missing():
        print(f"make deploy-check: {why}", file=sys.stderr)
        return 2
    for name, run in PARTS.items():
        if only in (None, name):
            began = time.monotonic()
            run()
            print(f"== {name}: all of it works ({time.monotonic() - began:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
