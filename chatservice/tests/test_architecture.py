"""The plan of the house, held up by `ast`: who may import whom, where third parties come in, how long a file may be.

A failure names file and line. The rules are in DESIGN; a new exception belongs in a table here, with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).resolve().parents[2]
# A package imports the ones after it, never the ones before it.
LAYERS = ["chatservice", "completions", "search", "conversations", "accounts"]
# Doors of third parties: module -> where it may be imported. A trailing slash means everything below.
DOORS = {
    "openai": ["completions/providers/", "chatservice/benchmarks/"],
    "sentence_transformers": ["search/embedders/"],
    # One place where what somebody wrote becomes HTML.
    "markdown_it": ["conversations/rendering.py"],
    "nh3": ["conversations/rendering.py"],
    "pygments": ["conversations/rendering.py"],
    "channels": [
        "completions/consumers.py",
        "completions/routing.py",
        "accounts/websocket_auth.py",
        "chatservice/asgi.py",
    ],
    # database_sync_to_async is how a background task uses the database without leaking its connection.
    "channels.db": ["completions/"],
    "rest_framework": ["chatservice/", "accounts/", "*/viewsets.py"],
    "drf_spectacular": ["chatservice/", "accounts/", "*/viewsets.py"],
}
# What every test may import although it stands in the top layer.
TEST_SUPPORT = "chatservice.testing"
LONGEST_FILE = 500
SOURCE_SUFFIXES = {".py", ".js", ".css", ".html"}
EMPTY_NAMES = {"utils", "util", "common", "core", "helpers", "helper", "misc"}


class Import(NamedTuple):
    """One imported dotted name; `from a.b import c` counts as a.b.c, since c may be a module."""

    path: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.target}"


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def allowed_at(path: str, places: list[str]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else Path(path).match(place) for place in places)


def is_test(path: str) -> bool:
    parts = Path(path).parts
    return "tests" in parts or path == "chatservice/testing.py" or path.startswith("chatservice/testing/")


def sources(suffixes: set[str]) -> Iterator[str]:
    """Our own files, relative to the top; generated, hidden and collected ones left out."""
    for root in [*LAYERS, "scripts", "templates"]:
        for path in sorted((TOP / root).rglob("*")):
            if path.suffix in suffixes and "__pycache__" not in path.parts:
                yield path.relative_to(TOP).as_posix()


def imports_of(source: str, path: str) -> Iterator[Import]:
    """Every import in `source`, also inside functions, under TYPE_CHECKING and by import_module("literal")."""
    package = list(Path(path).parent.parts)
    for node in ast.walk(ast.parse(source, filename=path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            names = [*base, *([node.module] if node.module else [])]
            for alias in node.names:
                yield Import(path, node.lineno, ".".join([*names, alias.name]))
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__", "import_string"} and isinstance(node.args[0].value, str):
                yield Import(path, node.lineno, node.args[0].value)


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(
        found
        for path in sources({".py"})
        for found in imports_of((TOP / path).read_text(encoding="utf-8"), path)
        if not path.startswith("scripts/")
    )


def upward(found: Import) -> str:
    """The higher layer this import reaches for, or empty."""
    own = LAYERS.index(Path(found.path).parts[0])
    higher = next((layer for layer in LAYERS[:own] if within(found.target, layer)), "")
    return "" if is_test(found.path) and within(found.target, TEST_SUPPORT) else higher


def dialect_of(path: str) -> str:
    parts = Path(path).parts
    return parts[2] if parts[:2] == ("chatservice", "dialects") and len(parts) > 3 else ""


def other_dialect(found: Import, dialects: set[str]) -> str:
    """The dialect that a file of another dialect imports, or empty."""
    own, parts = dialect_of(found.path), found.target.split(".")
    other = parts[2] if parts[:2] == ["chatservice", "dialects"] and len(parts) > 2 else ""
    return other if {own, other} <= dialects and own != other else ""


def beside_door(found: Import) -> str:
    """The third party that comes in here although its door is elsewhere, or empty. Tests may import them all."""
    doors = [door for door in DOORS if within(found.target, door)]
    if is_test(found.path) or not doors or any(allowed_at(found.path, DOORS[door]) for door in doors):
        return ""
    return max(doors, key=len)


def explain(rule: str, broken: list[str]) -> str:
    return "\n  ".join([f"{rule} ({len(broken)} broken)", *broken])


def test_imports_run_one_way() -> None:
    broken = [f"{found}, but {upward(found)} is above it" for found in all_imports() if upward(found)]
    assert not broken, explain("Imports run one way: " + " -> ".join(LAYERS), broken)


def test_a_dialect_never_imports_another_dialect() -> None:
    folders = (TOP / "chatservice" / "dialects").glob("*/__init__.py")
    dialects = {path.parent.name for path in folders} - {"tests"}
    broken = [str(found) for found in all_imports() if other_dialect(found, dialects)]
    assert not broken, explain("A dialect can be deleted alone: it imports no other one", broken)


def test_third_parties_come_in_by_their_own_door() -> None:
    broken = [
        f"{found}; the door of {door} is {', '.join(DOORS[door])}"
        for found in all_imports()
        if (door := beside_door(found))
    ]
    assert not broken, explain("A third party has one door", broken)


def test_nothing_imports_the_benchmarks() -> None:
    own = "chatservice/benchmarks/"
    broken = [
        str(found)
        for found in all_imports()
        if within(found.target, "chatservice.benchmarks") and not found.path.startswith(own) and not is_test(found.path)
    ]
    assert not broken, explain("Benchmarks are run, not imported", broken)


def test_no_file_is_too_long_to_read() -> None:
    lengths = {path: len((TOP / path).read_text(encoding="utf-8").splitlines()) for path in sources(SOURCE_SUFFIXES)}
    broken = [f"{path}:{length} lines" for path, length in lengths.items() if length > LONGEST_FILE]
    assert not broken, explain(f"No file has more than {LONGEST_FILE} lines: split it", broken)


def test_no_module_is_named_after_nothing() -> None:
    broken = [path for path in sources({".py"}) if EMPTY_NAMES & set(Path(path).with_suffix("").parts)]
    assert not broken, explain("A module is named after what it holds, not " + ", ".join(sorted(EMPTY_NAMES)), broken)


# The rules themselves, on source that breaks them: a checker that finds nothing looks like a clean house.


def found_in(path: str, source: str) -> list[Import]:
    return list(imports_of(source, path))


def test_the_checker_sees_every_form_of_import() -> None:
    source = (
        "import a.b as c\n"
        "from . import sibling\n"
        "from ..types import Usage\n"
        "def late():\n"
        "    from openai import AsyncOpenAI\n"
        "    import_module('search.models')\n"
    )
    assert [(found.line, found.target) for found in found_in("completions/providers/echo.py", source)] == [
        (1, "a.b"),
        (2, "completions.providers.sibling"),
        (3, "completions.types.Usage"),
        (5, "openai.AsyncOpenAI"),
        (6, "search.models"),
    ]


def test_the_checker_finds_an_import_upward() -> None:
    [found] = found_in("accounts/services.py", "from conversations import models")
    assert upward(found) == "conversations"
    assert str(found) == "accounts/services.py:1 imports conversations.models"
    [downward] = found_in("chatservice/views.py", "import accounts.models")
    [lookalike] = found_in("accounts/services.py", "import searching")
    assert not upward(downward) and not upward(lookalike)


def test_the_checker_lets_tests_use_the_test_support_and_nothing_else_above() -> None:
    [support] = found_in("accounts/tests/test_keys.py", "from chatservice.testing import Alice")
    [settings] = found_in("accounts/tests/test_keys.py", "from chatservice import settings")
    [production] = found_in("accounts/services.py", "from chatservice.testing import Alice")
    assert not upward(support) and upward(settings) and upward(production)


def test_the_checker_finds_a_dialect_that_leans_on_another() -> None:
    dialects = {"chat_v1", "openai_v1"}
    [other] = found_in("chatservice/dialects/chat_v1/views.py", "from ..openai_v1 import errors")
    [base] = found_in("chatservice/dialects/chat_v1/views.py", "from ..base import AsyncAPIView")
    assert other_dialect(other, dialects) == "openai_v1" and not other_dialect(base, dialects)


def test_the_checker_finds_a_third_party_beside_its_door() -> None:
    places = {
        ("completions/runner.py", "import openai"): "openai",
        ("completions/providers/openai_compatible.py", "import openai"): "",
        ("completions/tests/test_wire.py", "import openai"): "",
        ("completions/runner.py", "from channels.layers import get_channel_layer"): "channels",
        ("completions/runner.py", "from channels.db import database_sync_to_async"): "",
        ("search/indexing.py", "from channels.db import database_sync_to_async"): "channels.db",
        ("conversations/viewsets.py", "from rest_framework import viewsets"): "",
        ("conversations/services.py", "from rest_framework import viewsets"): "rest_framework",
    }
    for (path, source), door in places.items():
        [found] = found_in(path, source)
        assert beside_door(found) == door, found
