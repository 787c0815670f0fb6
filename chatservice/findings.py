"""What `manage.py doctor` finds: one line a subject, on stdout."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Collection, Iterable
from typing import Literal

Status = Literal["ok", "warn", "fail"]
OK: Status = "ok"
WARN: Status = "warn"
FAIL: Status = "fail"
FAILED = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """How one subject is. `message` says what is wrong and how to mend it, or what is right; never a secret."""

    subject: str
    status: Status
    message: str


def failures(sentences: Iterable[str], subject: str = "settings") -> list[Finding]:
    return [Finding(subject, FAIL, sentence) for sentence in sentences]


def report(findings: Collection[Finding], *, as_json: bool) -> int:
    """Print the findings, and return the exit code: 1 if any is a failure."""
    if as_json:
        lines = [json.dumps([dataclasses.asdict(each) for each in findings], indent=1, ensure_ascii=False)]
    else:
        width = max(len(each.subject) for each in findings)
        lines = [f"{each.status:<4}  {each.subject:<{width}}  {each.message}" for each in findings]
    sys.stdout.write("\n".join(lines) + "\n")
    return FAILED if any(each.status == FAIL for each in findings) else 0
