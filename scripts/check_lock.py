"""Fail if requirements.lock does not agree with requirements.txt: `python -m scripts.check_lock`, without network.

What the installed packages say they need is followed from requirements.txt on, for this interpreter and platform: the
lock must name each package with a version that fits and with digests, and nothing else.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements.lock", "requirements-torch.lock")
DIGEST = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def requirements(text: str) -> Iterator[tuple[Requirement, int]]:
    """Yield what a requirements file asks for on this platform, with the number of its digests."""
    for line in text.replace("\\\n", " ").splitlines():
        wanted = line.partition("#")[0].partition("--hash")[0].strip()
        if wanted and not wanted.startswith("-"):
            requirement = Requirement(wanted)
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement, len(DIGEST.findall(line))


def needed(wanted: Iterable[Requirement]) -> Iterator[Requirement]:
    """Yield the requirements, and everything that they need in turn; raises PackageNotFoundError."""
    waiting, seen = list(wanted), set()
    while waiting:
        requirement = waiting.pop()
        yield requirement
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            waiting += [each for each in needs(name) if each.marker is None or each.marker.evaluate({"extra": extra})]


@functools.cache
def needs(name: str) -> list[Requirement]:
    return [Requirement(text) for text in metadata.requires(name) or ()]


def problems(wanted: str, locked: Iterable[str]) -> list[str]:
    """Compare the text of requirements.txt with those of the locks; return a sentence for each difference."""
    versions: dict[str, str] = {}
    found = []
    for requirement, digests in (each for text in locked for each in requirements(text)):
        versions[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
        if not digests:
            found.append(f"{requirement.name} has no digest.")
    names = set()
    for requirement in needed(requirement for requirement, _ in requirements(wanted)):
        name = canonicalize_name(requirement.name)
        names.add(name)
        if name not in versions:
            found.append(f"{requirement} is missing.")
        elif not requirement.specifier.contains(versions[name], prereleases=True):
            found.append(f"{requirement} is wanted, {versions[name]} is locked.")
    return sorted({*found, *(f"{name} is not needed." for name in versions.keys() - names)})


if __name__ == "__main__":
    differences = problems((ROOT / "requirements.txt").read_text(), [(ROOT / name).read_text() for name in LOCKS])
    for sentence in differences:
        print(f"requirements.lock: {sentence} Run `make lock`.", file=sys.stderr)
    sys.exit(bool(differences))
