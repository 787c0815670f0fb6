"""Small disks that a test can fill."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import unittest
from pathlib import Path

import pytest

from conftest import CI


def small_disk(case: unittest.TestCase, megabytes: int) -> Path:
    """Mount a disk of the given megabytes for the duration of the test."""
    place = Path(tempfile.mkdtemp(prefix="small-disk-"))
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0777", "tmpfs", str(place)])
    if made.returncode and CI:
        pytest.fail("needs to mount a small disk, and CI=true promises that", pytrace=False)
    if made.returncode:
        pytest.skip("needs to mount a small disk: run as root")
    case.addCleanup(place.rmdir)
    case.addCleanup(subprocess.run, ["umount", "--lazy", str(place)], check=True)
    return place


def fill(place: Path) -> Path:
    """Fill the disk, and shortly afterwards also any space freed meanwhile."""
    filler = place / "filler"
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler
