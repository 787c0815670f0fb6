"""The recorded databases and answers: how they are stored, and how a database is restored."""

from __future__ import annotations

import json
import lzma
import re
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from tests.upgrade.asking import Question, Record

FOLDER = Path(__file__).parent
DUMPS = FOLDER / "dumps"
# The secrets of these databases alone: keys in them are useless elsewhere.
SECRETS = {
    "SECRET_KEY": "made-up-secret-key-of-the-recorded-databases",
    "KEY_PEPPER": "made-up-key-pepper-of-the-recorded-databases",
}
# Lines of pg_dump's output that only psql understands, or only this server release.
NOT_FOR_ALL = re.compile(r"^(\\(un)?restrict .*|SET transaction_timeout.*)\n", re.MULTILINE)


def vendor_of(url: str) -> str:
    return "sqlite" if url.startswith("sqlite") else "postgresql"


def _file_of(vendor: str) -> Path:
    return FOLDER / {"sqlite": "sqlite.db.xz", "postgresql": "postgresql.sql.xz"}[vendor]


def store_database(url: str, pg_dump: Path, path: Path | None = None) -> None:
    """Store the database like a backup: a copy of SQLite's file, a dump of PostgreSQL's database as SQL.

    SQLite's file, because its SQL cannot make the tables of full-text search.
    """
    if vendor_of(url) == "sqlite":
        with tempfile.TemporaryDirectory() as directory, closing(sqlite3.connect(_path(url))) as database:
            database.execute("VACUUM INTO ?", (f"{directory}/copy",))
            stored = Path(directory, "copy").read_bytes()
    else:
        command = [str(pg_dump), "--no-owner", "--no-privileges", "--inserts", "--rows-per-insert=100", url]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        stored = NOT_FOR_ALL.sub("", text).encode()
    (path or _file_of(vendor_of(url))).write_bytes(lzma.compress(stored, preset=9))


def load_database(url: str, path: Path | None = None) -> None:
    """Restore the stored database into the empty one at `url`."""
    stored = lzma.decompress((path or _file_of(vendor_of(url))).read_bytes())
    if vendor_of(url) == "sqlite":
        Path(_path(url)).write_bytes(stored)
        return
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(stored)


def store_answers(vendor: str, keys: dict[str, str], records: list[Record]) -> None:
    """Store the users' keys, and the records, one per line."""
    lines = [json.dumps(each, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for each in records]
    told = ",\n".join(lines)
    path = FOLDER / f"{vendor}.json"
    path.write_text(f'{{"keys": {json.dumps(keys)}, "records": [\n{told}\n]}}\n', encoding="utf-8")


def load_answers(vendor: str) -> tuple[dict[str, str], list[Record]]:
    """Return the keys and the records."""
    stored: dict[str, Any] = json.loads((FOLDER / f"{vendor}.json").read_text(encoding="utf-8"))
    return stored["keys"], stored["records"]


def question_of(record: Record) -> Question:
    return {name: value for name, value in record.items() if name != "answer"}


def _path(url: str) -> str:
    return urlsplit(url).path[1:]
