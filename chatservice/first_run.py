"""What the first start creates: the data directory, and secrets in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

NAMES = ("SECRET_KEY", "KEY_PEPPER")
FILE = "secrets.env"


def read_secrets(directory: Path) -> dict[str, str]:
    """Return the secrets in `directory` by name; none before the first start. Raises OSError."""
    try:
        lines = (directory / FILE).read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def make_secrets(directory: Path) -> dict[str, str]:
    """Return the secrets in `directory`; creates the file (mode 0600) if it is missing. Raises OSError.

    If two processes start at once, one creates the file as a whole and the other reads it.
    """
    path = directory / FILE
    if not path.exists():
        make_directory(directory)
        # A unique name, mode 0600. The process id is not unique: in a container, a restarted process has the same one.
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
    return read_secrets(directory)


def make_directory(directory: Path) -> None:
    """Create the data directory, readable only by its owner. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
