"""What is in a backup: `manifest.json`, and the checksums of all files in `SHA256SUMS`, for `sha256sum -c`."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backups.exceptions import BackupError

FORMAT = 1
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
FILES = "files"
CHUNK_BYTES = 1_048_576
LINE = re.compile(r"([0-9a-f]{64})  (\S(?:.*\S)?)")
# Of a file's name and content: what holds content is named after its digest.
CONTENT = re.compile(rf"{FILES}/[0-9a-f]{{32}}/([0-9a-f]{{64}})")

Sums = dict[str, str]
Advance = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Manifest:
    """`tables` counts rows by table, `contents` the contents of files; `not_included` says what is missing, and why.

    `lost_contents` were missing or damaged where they are kept, as `owner/digest`.
    `migrations` are those that were applied, as `app.name`; `seconds` is how long the snapshot was held.
    """

    version: str
    database: str
    server: str
    snapshot_at: str
    seconds: float
    migrations: list[str]
    tables: dict[str, int]
    contents: int
    content_bytes: int
    lost_contents: list[str]
    not_included: list[str]
    format: int = FORMAT


def write_manifest(folder: Path, manifest: Manifest, sums: Mapping[str, str]) -> None:
    """Write the manifest and then, last of all, the checksums: a backup without them is not whole."""
    text = json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    every = {**sums, MANIFEST: hashlib.sha256(text.encode()).hexdigest()}
    (folder / SUMS).write_text(_rendered(every), encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a backup; raises BackupError."""
    try:
        values: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if values.get("format") != FORMAT:
            raise BackupError(f"{folder / MANIFEST} has a format that this version does not know.")
        return Manifest(**values)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BackupError(f"{folder} is not a backup: {MANIFEST} cannot be read.") from error


def check_sums(folder: Path, *, advance: Advance = lambda size: None) -> Sums:
    """Compare every byte of a backup with its checksums, and return these; raises BackupError with all differences."""
    sums = read_sums(folder)
    there = set(_names_in(folder))
    problems = [f"{name} is missing" for name in sums.keys() - there]
    problems += [f"{name} does not belong there" for name in there - sums.keys() - {SUMS}]
    for name in sorted(sums.keys() & there):
        content = CONTENT.fullmatch(name)
        try:
            digest = digest_of(folder / name, advance=advance)
        except OSError as error:
            problems.append(f"{name} cannot be read ({error.strerror})")
            continue
        if digest != sums[name] or (content and content[1] != digest):
            problems.append(f"{name} has changed")
    if problems:
        raise BackupError(f"{folder} is damaged: {'; '.join(sorted(problems))}.")
    return sums


def read_sums(folder: Path) -> Sums:
    """Return the checksums by name; raises BackupError if the file is not exactly as it was written."""
    path = folder / SUMS
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder} is no whole backup: {SUMS} cannot be read.") from error
    lines = [LINE.fullmatch(line) for line in text.split("\n")[:-1]]
    sums = {match[2]: match[1] for match in lines if match}
    if MANIFEST not in sums or text != _rendered(sums):
        raise BackupError(f"{path} is damaged.")
    return sums


def size_of(folder: Path) -> int:
    """Return how many bytes the files in a folder have."""
    return sum((folder / name).stat().st_size for name in _names_in(folder))


def digest_of(path: Path, *, advance: Advance = lambda size: None) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


def _rendered(sums: Mapping[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))


def _names_in(folder: Path) -> Iterator[str]:
    for directory, _, names in os.walk(folder):
        for name in names:
            yield (Path(directory) / name).relative_to(folder).as_posix()
