"""Write docs/settings.md from the comments in chatservice/settings.py, so that no setting is missing there.

python -m scripts.document_settings           write the page
python -m scripts.document_settings --check   fail if it is out of date, or a setting has no description

A comment describes the settings right below it, up to the next comment or other line. Its last sentence may say what
the default is ("By default ..."), where that is no literal. Imports nothing of the service.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# One module for all settings but those of a subject that has one of its own.
MODULES = (
    "settings.py",
    "log_settings.py",
    "search_settings.py",
    "upstream_settings.py",
    "usage_settings.py",
    "sign_in_settings.py",
    "webhook_settings.py",
    "sharing_settings.py",
    "metrics_settings.py",
)
SOURCES = [ROOT / "chatservice" / name for name in MODULES]
PAGE = ROOT / "docs" / "settings.md"
SECTION = re.compile(r"# --- (.+?)(?: \((.+)\))? -{3,}$")
DEFAULT = re.compile(r"(.+) By default (.+)\.")
# How settings are shown that are read in more than one way.
VALUES = {
    "ADMIN_ENABLED": "`auto`, `true` or `false`",
    "CORS_ALLOWED_ORIGINS": "comma-separated list",
    "CURRENCY": "three letters",
    "URL_PREFIX": "path",
    "USAGE_TIME_ZONE": "name of a time zone",
}
KINDS = {
    "bool": "`true` or `false`",
    "days": "days",
    "hours": "hours",
    "json": "JSON object",
    "list": "comma-separated list",
    "parsed": "URL",
    "seconds": "seconds, not 0",
    "secret": "text",
}
INTRODUCTION = """\
# Settings

Every setting, by its name in the environment or in `.env`. [Configuration](configuration.md) explains the file, what
is refused at the start, and which settings people need first.

This page is generated from the comments in `chatservice/settings.py` by `python -m scripts.document_settings`.
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting: its type and its default ('' if that is not a literal), both in Markdown."""

    name: str
    value: str
    default: str


@dataclass(slots=True)
class Group:
    """Settings that one comment describes."""

    description: str
    settings: list[Setting] = field(default_factory=list)


@dataclass(slots=True)
class Section:
    title: str
    note: str
    groups: list[Group] = field(default_factory=list)


def source_text() -> str:
    """Return the settings modules, one after the other."""
    return "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)


def read_sections(source: str) -> list[Section]:
    """Return the settings of a settings module, with the headings and comments above them."""
    lines = source.splitlines()
    tree = ast.parse(source)
    constants = _constants(tree)
    headings = [(number, found) for number, line in enumerate(lines, 1) if (found := SECTION.match(line))]
    sections = {number: Section(found[1], found[2] or "") for number, found in headings}
    groups: dict[int, Group] = {}  # by the last line of each setting
    known: set[str] = set()
    for statement, name, call in sorted(_calls(tree), key=lambda found: found[2].lineno):
        if name in known:
            continue
        known.add(name)
        group = _group_at(lines, call.lineno, groups) or _group_at(lines, statement.lineno, groups) or Group("")
        if not group.settings:
            sections[max(number for number in sections if number < call.lineno)].groups.append(group)
        group.settings.append(_setting(name, call, constants))
        groups[call.end_lineno or call.lineno] = groups[statement.end_lineno or statement.lineno] = group
    return list(sections.values())


def _group_at(lines: list[str], number: int, groups: dict[int, Group]) -> Group | None:
    """Return the group of a statement: a new one if a comment is right above it, else that of the setting there."""
    comment: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.lstrip().startswith("# ") or SECTION.match(line):
            break
        comment.insert(0, line.lstrip().removeprefix("# "))
    return Group(" ".join(comment)) if comment else groups.get(number - 1)


def _calls(tree: ast.Module) -> Iterator[tuple[ast.stmt, str, ast.Call]]:
    """Yield each `env.<type>("NAME", ...)` with the assignment that contains it, and the name."""
    for statement in ast.walk(tree):
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            for node in ast.walk(statement):
                match node:
                    case ast.Call(
                        func=ast.Attribute(value=ast.Name(id="env")), args=[ast.Constant(value=str(name)), *_]
                    ):
                        yield statement, name, node


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Return the module's names that are bound to a literal."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue
    return found


def _setting(name: str, call: ast.Call, constants: dict[str, Any]) -> Setting:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    default = given.get("default", ast.Constant(""))
    try:
        value = constants[default.id] if isinstance(default, ast.Name) else ast.literal_eval(default)
    except (KeyError, ValueError):
        written = ""
    else:
        written = f"`{_written(value)}`" if value != "" and value != [] else "none"
    return Setting(name, _value(name, call, given), written)


def _value(name: str, call: ast.Call, given: dict[str | None, ast.expr]) -> str:
    """Return a description of the values that a setting takes."""
    kind = call.func.attr
    if name in VALUES:
        return VALUES[name]
    if "choices" in given:
        *others, last = (f"`{choice}`" for choice in ast.literal_eval(given["choices"]))
        return f"{', '.join(others)} or {last}"
    if "url" in given:
        return "URL"
    if kind == "float":
        return "seconds" if name.endswith(("_SECONDS", "_DELAY")) else "number"
    if kind == "int":
        low = ast.literal_eval(given["minimum"]) if "minimum" in given else 0
        high = ast.literal_eval(given["maximum"]) if "maximum" in given else None
        unit = "seconds" if name.endswith("_SECONDS") else "whole number"
        return f"{unit}, {low:,} to {high:,}" if high else f"{unit}, from {low}" if low else unit
    return KINDS.get(kind, "text")


def _written(value: Any) -> str:
    """Return a default as it would be written in `.env`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{name}": {each}' for name, each in value.items()) + "}"
    return str(value)


def problems(sections: list[Section]) -> list[str]:
    """Return a sentence for each setting without a description."""
    return [
        f"{each.name} has no comment above it in chatservice/settings.py."
        for section in sections
        for group in section.groups
        for each in group.settings
        if not group.description
    ]


def page(source: str) -> str:
    """Return the contents of docs/settings.md for `source`."""
    sections = read_sections(source)
    names = {each.name for section in sections for group in section.groups for each in group.settings}
    parts = [INTRODUCTION]
    for section in sections:
        if section.groups:
            parts.append(f"## {section.title}\n")
            if section.note:
                parts.append(f"{_linked(section.note)}.\n")
            parts.append("| setting | value | default | what it is |\n|---|---|---|---|")
            parts += [_row(group, names) for group in section.groups]
            parts.append("")
    renamed = _constants(ast.parse(source)).get("RENAMED") or {}
    if renamed:
        parts.append(
            "## Renamed settings\n\nThe former name works for one more release, with a warning at the start.\n"
        )
        parts.append("| former name | name |\n|---|---|")
        parts += [f"| `{old}` | `{new}` |" for old, new in renamed.items()]
        parts.append("")
    return "\n".join(parts)


def _row(group: Group, names: set[str]) -> str:
    description, defaults = group.description, [each.default for each in group.settings]
    if found := DEFAULT.fullmatch(description):
        description, defaults = found[1], [_marked(found[2], names)]
    cells = (
        [f"`{each.name}`" for each in group.settings],
        list(dict.fromkeys(each.value for each in group.settings)),
        defaults,
        [_linked(_marked(description, names))],
    )
    return "| " + " | ".join("<br>".join(lines).replace("|", r"\|") for lines in cells) + " |"


def _marked(text: str, names: set[str]) -> str:
    """Put the names of settings in a description into backticks if they are not yet."""
    parts = text.split("`")
    plain = re.compile(rf"\b({'|'.join(sorted(names, key=len, reverse=True))})\b(=\w+)?")
    parts[::2] = [plain.sub(lambda match: f"`{match[0]}`", part) for part in parts[::2]]
    return "`".join(parts)


def _linked(text: str) -> str:
    """Turn the paths of pages in docs/ into links."""
    return re.sub(r"docs/([\w/-]+)\.md", lambda match: f"[{match[1]}.md]({match[1]}.md)", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is out of date")
    given = parser.parse_args()
    source = source_text()
    found = problems(read_sections(source))
    made = page(source)
    if not given.check:
        PAGE.write_text(made, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != made:
        found.append("docs/settings.md is out of date: run `python -m scripts.document_settings`.")
    for sentence in found:
        print(sentence, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
