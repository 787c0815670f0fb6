"""The units are what this systemd understands, and agree with the service's settings."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from django.conf import settings
from django.test import SimpleTestCase

from chatservice.testing import ROOT
from conftest import CI

UNITS = ROOT / "deploy" / "systemd"


def unit(name: str) -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return parser["Service"]


class UnitsTest(SimpleTestCase):
    def test_systemd_finds_nothing_wrong(self):
        if shutil.which("systemd-analyze") is None:
            (pytest.fail if CI else pytest.skip)("needs systemd-analyze: apt-get install systemd")
        with tempfile.TemporaryDirectory() as directory:
            # The programs are looked for: what is installed in /opt/chat is here.
            for source in UNITS.glob("chat*"):
                text = source.read_text().replace("/opt/chat", str(ROOT))
                Path(directory, source.name.replace("@.", "@8001.")).write_text(text)
            Path(directory, "chat@8001.service.d").mkdir()
            shutil.copy(UNITS / "metrics.conf", Path(directory, "chat@8001.service.d"))
            units = sorted(str(path) for path in Path(directory).glob("chat*.*") if path.is_file())
            self.assertEqual(len(units), 3)
            done = subprocess.run(
                ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
            )
            # What it says of the units of this system is not ours.
            ours = [line for line in done.stderr.splitlines() if directory in line or re.search(r"\bchat[@-]", line)]
            self.assertEqual((done.returncode, ours), (0, []), done.stderr)

    def test_a_stop_waits_for_the_drain_and_metrics_have_a_port(self):
        service = unit("chat@.service")
        self.assertEqual(float(service["TimeoutStopSec"]), settings.DRAIN_SECONDS + 10)
        self.assertEqual(unit("metrics.conf")["Environment"], "METRICS_PORT=1%i")

    def test_the_backup_has_no_right_that_the_service_has_not(self):
        service, backup = unit("chat@.service"), unit("chat-backup.service")
        rights = (
            "Protect",
            "Private",
            "Restrict",
            "SystemCall",
            "Capability",
            "NoNew",
            "Lock",
            "User",
            "Group",
            "UMask",
        )
        names = [name for name in service if name.startswith(rights)]
        for name in set(names) - {"ProtectProc", "RestartPreventExitStatus"}:
            self.assertEqual(backup[name], service[name], name)
