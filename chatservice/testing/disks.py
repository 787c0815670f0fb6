"""Small disks that a test can fill."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import CI


def small_disk(case: unittest.TestCase, megabytes: int) -> Path:
    """Mount a disk of the given megabytes for the duration of the test."""
    place = case.enterContext(mounted(megabytes))
    if place is None and CI:
        pytest.fail("needs to mount a small disk, and CI=true promises that", pytrace=False)
    if place is None:
        pytest.skip("needs to mount a small disk: run as root")
    return place


@contextlib.contextmanager
def mounted(megabytes: int) -> Iterator[Path | None]:
    """Mount a disk of the given megabytes; yield None where this is not permitted."""
    place = Path(tempfile.mkdtemp(prefix="small-disk-"))
    try:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", str(place)])
        try:
            yield None if made.returncode else place
        finally:
            if not made.returncode:
                subprocess.run(["umount", "--lazy", str(place)], check=True)
    finally:
        place.rmdir()


def shrink(place: Path) -> None:
    """Leave no room on a disk that is in use; `grow` undoes it."""
    for _ in range(100):
        state = os.statvfs(place)
        size = (state.f_blocks - state.f_bfree) * state.f_frsize
        command = ["mount", "-o", f"remount,size={size}", str(place)]
        if not subprocess.run(command, stderr=subprocess.DEVNULL).returncode:  # refused if there is more on it by now
            return
    raise AssertionError(f"{place} could not be shrunk")


def grow(place: Path, megabytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(place)], check=True)


def fill(place: Path) -> Path:
    """Fill the disk, and shortly afterwards also any space freed meanwhile."""
    filler = place / "filler"
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler
