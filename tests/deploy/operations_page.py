"""docs/operations.md, every command of it in order, in a machine of its own."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections import Counter

from tests.deploy.machine import REPOSITORY, ROOT, Failed, Machine

PAGE = ROOT / "docs" / "operations.md"
BLOCK = re.compile(r"^## (\d+)\. ([^\n]*)$|^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MIN_BLOCKS = 12
NAME = "chat.example.org"
CERTIFICATE = "/etc/nginx/tls/fullchain.pem"
DOWNLOADS = re.compile(r"apt-get|git clone|make -C")
HEREDOC = re.compile(r"<<'END'.*?^END$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """Return the page's commands: section and text."""
    section, found = "", []
    for number, title, text in BLOCK.findall(PAGE.read_text()):
        section = f"{number}. {title}" if number else section
        if text:
            found.append((section, text))
    assert len(found) > MIN_BLOCKS, found
    return found


class Page:
    """Runs the page's commands; what a command needs and this version or system lacks is said, and skipped."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        # What later commands use of earlier ones, as in one shell.
        self.variables: dict[str, str] = {}
        self.functions: list[str] = []
        self.skipped: list[str] = []

    def run(self, section: str, text: str) -> str:
        if why := self.lacks(text):
            self.skipped.append(f"{section}: {why}")
            print(f"   SKIPPED: {why}", flush=True)
            return ""
        before = [*(f"{name}='{value}'" for name, value in self.variables.items()), *self.functions]
        text = self.of_this_version(text)
        names = re.findall(r"^([A-Z]+)=", HEREDOC.sub("", text), re.MULTILINE)
        after = [f'printf "\\n@@%s=%s\\n" {name} "${name}"' for name in names]
        script = "\n".join([*before, text, *after])
        printed = self.machine.run(script, outside_network=bool(DOWNLOADS.search(text)))
        self.variables |= dict(re.findall(r"^@@(\w+)=(.*)$", printed, re.MULTILINE))
        self.functions += re.findall(r"^\w+\(\) .*$", text, re.MULTILINE)
        return printed

    def of_this_version(self, text: str) -> str:
        """Leave out the backup before an upgrade where there are no backups yet."""
        if self.has("/opt/chat/backups"):
            return text
        return text.replace("systemctl start chat-backup.service\n", "", text.count("git -C"))

    def lacks(self, text: str) -> str:
        if "pgvector" in text and not self.knows("apt-cache show postgresql-17-pgvector"):
            return "this system has no package of pgvector"
        if "EXTENSION vector" in text and not self.knows("ls /usr/share/postgresql/*/extension/vector.control"):
            return "pgvector is not installed"
        if "/metrics" in text and not self.has("/opt/chat/observability"):
            return "this version has no metrics yet"
        if "verify_backup" in text and not self.has("/opt/chat/backups"):
            return "this version has no backups yet"
        return ""

    def has(self, path: str) -> bool:
        return self.knows(f"test -e {path}")

    def knows(self, command: str) -> bool:
        try:
            self.machine.run(f"{command} >/dev/null 2>&1")
        except Failed:
            return False
        return True


class Visitors:
    """Clients who ask all the time while processes restart: a new connection each, by nginx."""

    def __init__(self, page: Page) -> None:
        self.page, self.over, self.answers = page, threading.Event(), Counter[str]()
        self.thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Visitors:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _ask(self) -> None:
        script = (
            "for n in $(seq 10); do curl --silent --output /dev/null --write-out '%{http_code}\\n' "
            f"--cacert {CERTIFICATE} --resolve {NAME}:443:127.0.0.1 https://{NAME}/v1/models "
            '-H "Authorization: Bearer $KEY" || echo failed; done'
        )
        while not self.over.is_set():
            printed = self.page.machine.run(f"KEY='{self.page.variables['KEY']}'\n{script}")
            self.answers.update(printed.split())


def run() -> None:
    with Machine() as machine:
        # The page's repository is this one; packages start what they bring, as on any machine.
        machine.run(
            f"git config --system url.{REPOSITORY}.insteadOf https://git.example.org/chat.git\n"
            "git config --system --add safe.directory '*'\nrm -f /usr/sbin/policy-rc.d"
        )
        command = machine.in_its_network(sys.executable, "-m", "tests.deploy.sign_in", NAME)
        provider = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        page = Page(machine)
        try:
            run_all(page, provider)
        except Failed:
            print(machine.run("journalctl --no-pager --lines 60 || :"), flush=True)
            raise
        finally:
            provider.kill()
            provider.wait()
        for each in page.skipped:
            print(f"   skipped: {each}", flush=True)


def run_all(page: Page, provider: subprocess.Popen[str]) -> None:
    assert provider.stdout is not None
    issuer = provider.stdout.readline().strip()
    for section, text in blocks():
        print(f"== {section}", flush=True)
        began = time.monotonic()
        if "git -C" in text:
            with Visitors(page) as visitors:
                page.run(section, text)
            undisturbed(visitors)
        else:
            printed = page.run(section, text.replace("https://id.example.org/realms/main", issuer))
        if "apt-get update" in text:  # what these packages do on a system that never had them
            page.machine.run("systemctl start postgresql redis-server nginx")
        elif "enable --now chat@" in text:
            hardened(page)
        elif "/v1/chat/completions" in text:
            answered(page, printed)
        elif "link_identity" in text:
            signed_in(page, provider)
        print(f"   {time.monotonic() - began:.1f} s", flush=True)


def hardened(page: Page) -> None:
    """Fail unless the process is the user's, and can write its state but neither its code nor its settings."""
    process = page.machine.run("systemctl show --property MainPID --value chat@8001").strip()
    page.machine.run(f"test $(stat -c %U /proc/{process}) = chat")
    inside = f"nsenter --target {process} --mount setpriv --reuid chat --regid chat --init-groups"
    page.machine.run(f"{inside} touch /var/lib/chat/x /tmp/x; test ! -e /tmp/x; rm /var/lib/chat/x")
    for path in ("/opt/chat", "/etc/chat", "/usr", "/var/log", "/root"):
        page.machine.run(f"! {inside} touch {path}/x 2>/dev/null")
    print(page.machine.run("systemd-analyze security --no-pager chat@8001.service | tail -n 1"), end="")


def answered(page: Page, printed: str) -> None:
    """Fail unless the answer is whole, and metrics are nobody's from outside."""
    if "data: [DONE]" not in printed:
        raise Failed(printed)
    for path in ("/metrics", "/metrics/", "//metrics", "/%6detrics"):
        found = page.machine.run(
            f"curl --silent --output /dev/null --write-out '%{{http_code}}' --path-as-is --cacert {CERTIFICATE} "
            f"--resolve {NAME}:443:127.0.0.1 'https://{NAME}{path}'"
        )
        if found != "404":
            raise Failed(f"{path}: {found}")


def signed_in(page: Page, provider: subprocess.Popen[str]) -> None:
    """Fail unless the account that the page links signs in at the provider, over TLS by nginx."""
    name, _ = provider.communicate(page.machine.run(f"cat {CERTIFICATE}"), timeout=60)
    if name.strip() != "admin":
        raise Failed(f"signing in: {name}")


def undisturbed(visitors: Visitors) -> None:
    """Fail if somebody noticed that both processes were replaced."""
    print(f"   answers during the upgrade: {dict(visitors.answers)}", flush=True)
    if set(visitors.answers) != {"200"}:
        raise Failed("an upgrade was noticed")
