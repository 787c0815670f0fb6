"""deploy/Dockerfile, each instruction in order, in a machine of its own; then what it starts, as a container would."""

from __future__ import annotations

import os
import shlex
import tempfile
import time
from pathlib import Path

from tests.deploy.dockerfile import Stage, copy_context, stages, variables
from tests.deploy.machine import Failed, Machine

READY_SECONDS = 180
# The first line is the base image's; its Python is this system's, of the same version.
BASE = "ln -sf /usr/bin/python3 /usr/local/bin/python; apt-get install --yes python3-venv >/dev/null"
# Read-only but for the volumes and /tmp, as the user, without a capability: compose.yaml says the same.
CONTAINER = """
mkdir -p {volume}
unshare --mount sh -euc '
    mount --make-rprivate /
    mount --bind {volume} {volume}
    mount -t tmpfs -o mode=1777 tmpfs /tmp
    mount -o remount,bind,ro /
    cd {directory}
    exec setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --bounding-set=-all {command}
' >/run/printed 2>&1 &
echo $!
"""


def run() -> None:
    # Not in /tmp: that is the machine's own.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="chat-context-") as directory:
        context = Path(directory) / "context"
        copy_context(context)
        with Machine() as machine:
            machine.run(BASE, outside_network=True)
            for stage in stages():
                build(machine, stage, context)
            start(machine, stages()[-1])


def build(machine: Machine, stage: Stage, context: Path) -> None:
    """Run the instructions of a stage. All stages have one root here, so what one copies from another is there."""
    names = {name: os.environ.get(name, value) for name, value in stage.arguments.items()}
    directory = "/"
    for name, rest in stage.steps:
        began = time.monotonic()
        print(f"== {name} {rest[:100]}", flush=True)
        if name == "WORKDIR":
            directory = rest
            machine.run(f"mkdir -p {directory}")
        elif name == "ENV":
            names |= variables(rest)
        elif name == "RUN":
            exported = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in names.items())
            machine.run(f"{exported}cd {directory}\n{rest}", outside_network=True)
        elif not rest.startswith("--from"):
            *sources, target = rest.split()
            found = " ".join(f"{context}/{source}" for source in sources)
            machine.run(f"cd {directory} && cp -r {found} {target}")
        print(f"   {time.monotonic() - began:.1f} s", flush=True)


def start(machine: Machine, image: Stage) -> None:
    user, group = image.user.split(":")
    environment = shlex.join(["env", "-i", *(f"{name}={value}" for name, value in image.environment.items())])
    where = {"volume": image.volumes[0], "directory": image.directory, "user": user, "group": group}
    command = f"{environment} {shlex.join(image.command)}"
    process = machine.run(CONTAINER.format(**where, command=command)).strip()
    inside = f"nsenter --target {process} --mount setpriv --reuid {user} --regid {group} --clear-groups"
    # In a file: the check has quotes of its own.
    machine.run(f"cat >/run/health <<'END'\n{inside} {environment} {shlex.join(image.health)}\nEND")
    wait_until_healthy(machine, process)
    status = machine.run(f"cat /proc/{process}/status")
    for line in (f"Uid:\t{user}\t{user}\t{user}\t{user}", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"):
        if line not in status:
            raise Failed(f"{line!r} is not in\n{status}")
    machine.run(f"{inside} touch {image.volumes[0]}/x /tmp/x")
    for path in (image.directory, "/etc", "/usr/local", "/var/log"):
        machine.run(f"! {inside} touch {path}/x 2>/dev/null")
    key = machine.run("sed -n 's/^API key: *//p' /run/printed").strip()
    answer = machine.run(
        # 503 until the model is loaded: from its package, into memory only.
        "curl --silent --show-error --fail --retry 60 --retry-delay 2 http://127.0.0.1:8000/v1/embeddings "
        f"-H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -o /run/answer "
        """-d '{"model": "default", "input": "Whales sleep"}' && head -c 60 /run/answer"""
    )
    print(f"   {answer}", flush=True)
    machine.run(f"kill -TERM {process}; tail --pid={process} -f /dev/null; ! grep Traceback /run/printed")


def wait_until_healthy(machine: Machine, process: str) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if machine.run("sh /run/health >/dev/null 2>&1 && echo healthy || echo not").strip() == "healthy":
            return
        machine.run(f"test -e /proc/{process} || {{ cat /run/printed; exit 1; }}")
        time.sleep(1)
    raise Failed(machine.run("cat /run/printed; sh /run/health 2>&1 || :"))
