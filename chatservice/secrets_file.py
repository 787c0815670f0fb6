"""First-run secrets: made once, kept in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

NAMES = ("SECRET_KEY", "KEY_PEPPER")


def read_or_create(path: Path) -> dict[str, str]:
    """Return the secrets in `path` by name, making the file (mode 0600) when it is not there.

    Two processes may start at once: the file appears whole or not at all, and the loser reads it.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A name of its own, mode 0600: in a container the next life of a process has the same id.
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        draft = Path(name)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{name}={secrets.token_urlsafe(48)}\n" for name in NAMES)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    lines = path.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
