"""Reads deploy/Dockerfile and its list of ignored files. Pure."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


@dataclass
class Stage:
    """What the instructions of a stage come to; `steps` are its RUN, COPY, ENV and WORKDIR in order."""

    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "root"
    volumes: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction with its arguments, without comments and continued lines."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in re.sub(r"\\\n\s*", " ", lines).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


def variables(text: str) -> dict[str, str]:
    """Return what an ENV sets."""
    return dict(each.split("=", 1) for each in shlex.split(text))


def stages() -> list[Stage]:
    """Return the stages of deploy/Dockerfile. Raises KeyError for an instruction that is unknown here."""
    found: list[Stage] = []
    for name, rest in instructions(DOCKERFILE.read_text()):
        if name == "FROM":
            found.append(Stage(name=rest.partition(" AS ")[2]))
            continue
        stage = found[-1]
        match name:
            case "ARG":
                stage.arguments |= dict([rest.split("=", 1)])
            case "ENV":
                stage.environment |= variables(rest)
                stage.steps.append((name, rest))
            case "WORKDIR" | "RUN" | "COPY":
                stage.steps.append((name, rest))
                stage.directory = rest if name == "WORKDIR" else stage.directory
            case "USER":
                stage.user = rest
            case "VOLUME":
                stage.volumes.append(rest)
            case "HEALTHCHECK":
                stage.health = json.loads(rest.partition("CMD ")[2])
            case "CMD":
                stage.command = json.loads(rest)
            case "EXPOSE":
                pass
            case _:
                raise KeyError(name)
    return found


def ignored() -> list[str]:
    lines = DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def is_ignored(path: str, patterns: list[str]) -> bool:
    """Tell whether a path of the repository stays out of the image; `**/` begins at any depth."""
    parts = path.split("/")
    for pattern in patterns:
        deep = pattern.startswith("**/")
        candidates = parts if deep else parts[:1]
        if any(fnmatch.fnmatchcase(part, pattern.removeprefix("**/")) for part in candidates):
            return True
    return False


def copy_context(target: Path) -> None:
    """Copy what Docker would send to the build."""
    patterns = ignored()

    def leave_out(directory: str, names: list[str]) -> list[str]:
        below = os.path.relpath(directory, ROOT)
        prefix = "" if below == "." else f"{below}/"
        return [name for name in names if is_ignored(prefix + name, patterns)]

    shutil.copytree(ROOT, target, ignore=leave_out, symlinks=True)
