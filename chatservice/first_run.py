"""What the first start makes: the data directory, and secrets in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

NAMES = ("SECRET_KEY", "KEY_PEPPER")
FILE = "secrets.env"


def read_secrets(directory: Path) -> dict[str, str]:
    """Return the secrets in `directory` by name; none where the first start has not made them. Raises OSError."""
    try:
        lines = (directory / FILE).read_text().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line)


def make_secrets(directory: Path) -> dict[str, str]:
    """Return the secrets in `directory`, after making the file (mode 0600) where it is missing. Raises OSError.

    Two processes may start at once: the file appears whole or not at all, and the loser reads it.
    """
    path = directory / FILE
    if not path.exists():
        make_directory(directory)
        # A unique name, mode 0600: the process id is no good, since in a container a restarted process has the same.
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
    """Make the data directory, which nobody else may read. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
