"""Finds the files of an export, in a zip, in a folder or alone. Their names are never used as paths."""

from __future__ import annotations

import dataclasses
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from conversations.importers.values import Broken, Unreadable

# Also what a browser or a file manager makes of the name: `conversations (1).json`.
_NUMBER = r"\d*([-_. (]+(\d+|copy)\)?)*\.jsonl?\Z"
CONVERSATIONS = re.compile(rf"conversations?{_NUMBER}", re.IGNORECASE)
OTHERS = re.compile(
    r"\.|(users?|user_settings|projects?|memories|message_feedback|model_comparisons|shared_conversations"
    rf"|conversation_asset_file_names|export_manifest|group_chats|library_files|shopping|sora){_NUMBER}",
    re.IGNORECASE,
)
"""The names of hidden files and of those that hold no conversations."""
NOTHING = "there is no conversations.json, conversations-000.json or .jsonl in it, nor another file of conversations"
MANIFEST = "export_manifest.json"
MANIFEST_BYTES = 16 << 20
ENCRYPTED = 0x1
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError, RuntimeError)
"""What reading a file of a damaged zip may raise."""
# The others unpack a chunk into any amount of memory.
UNPACKED_IN_CHUNKS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an export. `size` is in bytes, unpacked, as far as that is known.

    A file that `may_be_other` has a name that says nothing: one file a conversation, or something else. One that
    `may_be_kept` is read in little memory, whatever is in it, and is no link.
    """

    name: str
    size: int
    open: Callable[[], io.BufferedIOBase]
    may_be_other: bool = False
    may_be_kept: bool = True


def find_members(path: Path) -> tuple[list[Member], list[Broken]]:
    """Return the files with conversations in them, and the problems with the others; raises Unreadable."""
    everything = find_everything(path)
    if not path.is_dir() and not zipfile.is_zipfile(path):
        return everything, []
    chosen = _with_conversations(everything)
    if not chosen:
        raise Unreadable(NOTHING)
    return chosen, list(_missing(everything, chosen))


def find_everything(path: Path) -> list[Member]:
    """Return all files of an export: of a zip, of a folder, or the one file; raises Unreadable."""
    try:
        if path.is_dir():
            return [_in_folder(path, each) for each in sorted(path.rglob("*")) if each.is_file()]
        if zipfile.is_zipfile(path):
            return _zipped(path)
        return [Member(path.name, path.stat().st_size, _opener(path))]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise Unreadable(f"the zip is damaged ({error})") from error
    except OSError as error:
        raise Unreadable(error.strerror or "it cannot be read") from error


def _in_folder(folder: Path, path: Path) -> Member:
    # A link may have come out of the zip that was unpacked here.
    is_link = path.is_symlink()
    return Member(path.relative_to(folder).as_posix(), path.stat().st_size, _opener(path), may_be_kept=not is_link)


def _opener(path: Path) -> Callable[[], io.BufferedIOBase]:
    return lambda: path.open("rb")


def _zipped(path: Path) -> list[Member]:
    archive = zipfile.ZipFile(path)

    def opener(entry: zipfile.ZipInfo) -> Callable[[], Any]:
        def open_entry() -> Any:
            if entry.flag_bits & ENCRYPTED:
                raise Unreadable("the zip is encrypted: unpack it with its password, and import the folder")
            return archive.open(entry)

        return open_entry

    return [
        Member(entry.filename, entry.file_size, opener(entry), may_be_kept=entry.compress_type in UNPACKED_IN_CHUNKS)
        for entry in archive.infolist()
        if not entry.is_dir()
    ]


def _with_conversations(everything: list[Member]) -> list[Member]:
    """Return the files that hold conversations by their names; if there are none, all that may hold some."""
    chosen = [each for each in everything if CONVERSATIONS.match(base_name(each.name))]
    if not any(base_name(each.name).lower().startswith("conversations") for each in chosen):
        chosen = [each for each in everything if not OTHERS.match(base_name(each.name))]
        chosen = [
            dataclasses.replace(each, may_be_other=each.name.lower().endswith(".json"))
            for each in chosen
            if each.name.lower().endswith((".json", ".jsonl"))
        ]
    return sorted(chosen, key=lambda each: _natural(each.name))


def _natural(name: str) -> list[str | int]:
    """Return a sorting key of alternating texts and numbers: shard 10 comes after shard 9."""
    return [int(part) if at % 2 else part for at, part in enumerate(re.split(r"([0-9]+)", name))]


def base_name(name: str) -> str:
    """Return the last part of a path of any system, which is only a name here."""
    return PurePosixPath(name.replace("\\", "/")).name


def _missing(everything: list[Member], chosen: list[Member]) -> Iterator[Broken]:
    """Yield the shards that are in the export's manifest but missing."""
    there = {base_name(each.name) for each in chosen}
    for manifest in everything:
        if base_name(manifest.name) != MANIFEST:
            continue
        try:
            with manifest.open() as file:
                told = json.loads(file.read(MANIFEST_BYTES))
        except (ValueError, RecursionError, OSError, zipfile.BadZipFile, Unreadable):
            yield Broken(manifest.name, "it is not readable, so a missing shard would not be noticed")
            continue
        for name in sorted(set(_names_in(told)) - there):
            yield Broken(name, "the export's manifest lists it, but it is missing")


def _names_in(told: Any) -> Iterator[str]:
    """Yield every shard name in a manifest, whatever the manifest's structure."""
    waiting = [told]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if CONVERSATIONS.match(base_name(value)):
                yield base_name(value)
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
