"""Run shell commands at the same time, and show their output one after the other.

python -m scripts.side_by_side COMMAND...

The first command's output is shown while it runs; each other command's output follows when the ones before have ended.
Fails if any of them fails.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

POLL_SECONDS = 0.2


def run(commands: Sequence[str]) -> int:
    """Run all commands, even if one fails; return the first status that is not 0."""
    children: list[subprocess.Popen[bytes]] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        # The terminal sends Ctrl-C to the children as well; other signals reach only this process.
        for child in children:
            if number != signal.SIGINT and child.poll() is None:
                child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    with tempfile.TemporaryDirectory(prefix="side-by-side-") as directory:
        outputs = [Path(directory, str(number)) for number in range(len(commands))]
        for command, path in zip(commands, outputs, strict=True):
            with path.open("wb") as output:
                words = ["/bin/sh", "-c", f"exec {command}"]
                children.append(subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT))
        statuses = [show(child, path) for child, path in zip(children, outputs, strict=True)]
    for command, status in zip(commands, statuses, strict=True):
        if status:
            print(f"failed: {command} (status {status})", file=sys.stderr)
    return next((status if status > 0 else 128 - status for status in statuses if status), 0)


def show(child: subprocess.Popen[bytes], path: Path) -> int:
    """Copy a command's output, past and future, until the command ends; return its status."""
    with path.open("rb") as written:
        ended = False
        while not ended:
            ended = child.poll() is not None  # checked before copying, so that the last output is copied too
            shutil.copyfileobj(written, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            if not ended:
                time.sleep(POLL_SECONDS)
    return child.wait()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
