"""A machine of its own: systemd as its first process, on a throw-away copy of this system, with its own loopback."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
REPOSITORY = "/run/repository"
# Mounts below the machine's root are its own: nothing of it is seen outside, or stays.
BOOT = """
mount --make-rprivate /
mount --bind / "$1"
exec systemd-nspawn --directory="$1" --volatile=overlay --private-network --boot --register=no --keep-unit \
    --link-journal=no --console=pipe --machine="chat-$$" --bind-ro="$2:{REPOSITORY}" $3 systemd.unit=basic.target
"""
BOOT_SECONDS = 60
TOOLS = ("unshare", "nsenter", "systemd-nspawn", "systemctl")
# What tells pip and uv where packages are.
PASSED_ON = ("PIP_", "UV_", "SSL_", "http", "HTTP", "no_proxy", "NO_PROXY")


class Failed(AssertionError):
    """A command failed; the message has its output."""


def missing() -> str:
    """Return why no machine can be had here; nothing if one can."""
    if os.geteuid():
        return "needs root"
    lacking = [name for name in TOOLS if shutil.which(name) is None]
    return f"needs {', '.join(lacking)}: apt-get install systemd-container" if lacking else ""


class Machine:
    def __enter__(self) -> Machine:
        self.directory = tempfile.mkdtemp(prefix="chat-machine-")
        self.log = Path(f"{self.directory}.log")
        uv = shutil.which("uv")
        bound = f"--bind-ro={uv}:/usr/local/bin/uv" if uv else ""
        script = BOOT.replace("{REPOSITORY}", REPOSITORY)
        command = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-euc",
            script,
            "sh",
            self.directory,
            str(ROOT),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*command, bound], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._wait_until_booted()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait_until_booted(self) -> None:
        until = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise Failed(f"the machine did not start:\n{self.log.read_text()}")
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            if children:
                self.leader = children[0]
                done = subprocess.run(
                    self.entered("systemctl", "is-system-running"), capture_output=True, text=True, check=False
                )
                if done.stdout.strip() in ("running", "degraded"):
                    return
            time.sleep(0.2)
        raise Failed(f"the machine did not boot within {BOOT_SECONDS} s:\n{self.log.read_text()}")

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):  # the second one does not wait for units
            if self.process.poll() is None:
                self.process.send_signal(number)
                try:
                    self.process.wait(timeout=15)
                except subprocess.TimeoutExpired:
                    continue
        Path(self.directory).rmdir()
        self.log.unlink(missing_ok=True)

    def entered(self, *command: str, outside_network: bool = False) -> list[str]:
        """Return the command line that runs a command there; with this system's network, if it has to download."""
        namespaces = ["--mount", "--uts", "--ipc", "--pid", "--cgroup", *([] if outside_network else ["--net"])]
        names = [f"{name}={value}" for name, value in os.environ.items() if name.startswith(PASSED_ON)]
        clean = [
            "env",
            "--chdir=/root",
            "-i",
            *names,
            f"PATH={PATH}",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        ]
        return ["nsenter", "--target", self.leader, *namespaces, *clean, *command]

    def run(self, script: str, *, outside_network: bool = False, seconds: float = 900) -> str:
        """Run a script in bash; return what it printed, also on standard error. Raises Failed."""
        command = self.entered("bash", "-euo", "pipefail", "-c", script, outside_network=outside_network)
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        if done.returncode:
            raise Failed(f"exit code {done.returncode}:\n{script}\n{done.stdout[-4000:]}")
        return done.stdout

    def in_its_network(self, *command: str) -> list[str]:
        """Return the command line that runs a program of this system in the machine's network."""
        return ["nsenter", "--target", self.leader, "--net", *command]
