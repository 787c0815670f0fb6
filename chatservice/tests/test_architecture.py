"""The architecture, checked with `ast`: permitted imports, the places for third-party modules, and names.

A failure names file and line. Add a new exception to a table here, with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).resolve().parents[2]
# A package may import the packages after it, but not those before it.
LAYERS = [
    *("observability", "backups", "chatservice", "signin", "dashboard", "pages", "webhooks", "imports", "completions"),
    *("search", "sharing", "feedback", "conversations", "files", "usage", "accounts", "foundation"),
]
# These run beside the service and may import all of it.
TOOLS = ["benchmarks", "scripts", "tests"]
# Third-party modules -> where each may be imported. A trailing slash means everything below that directory.
DOORS = {
    "openai": ["completions/providers/"],
    "sentence_transformers": ["search/embedders/"],
    # Its data are large and imported on first use only.
    "genai_prices": ["usage/published_prices.py"],
    "prometheus_client": ["observability/"],
    # Installed only by those who want traces.
    "opentelemetry": ["observability/tracing/"],
    "allauth": ["signin/"],
    # Only one module reads what a provider has signed.
    "jwt": ["signin/id_tokens.py"],
    # Takes tens of megabytes: imported at the first request.
    "mcp": ["chatservice/dialects/mcp/exchange.py", "chatservice/dialects/mcp/server.py"],
    "mcp_types": ["chatservice/dialects/mcp/server.py"],
    "pypdf": ["files/reading/pdf.py"],
    "docx": ["files/reading/docx.py"],
    # Only one module turns users' text into HTML.
    "markdown_it": ["conversations/rendering.py", "conversations/mathematics.py", "conversations/finished_blocks.py"],
    "nh3": ["conversations/rendering.py"],
    "pygments": ["conversations/rendering.py"],
    # Decoders of pictures run in a process of their own.
    "PIL": ["files/picture_program.py"],
    "channels": [
        "chatservice/dialects/sockets.py",
        "accounts/websocket_auth.py",
        "chatservice/asgi.py",
    ],
    # A background task that uses the database through database_sync_to_async does not leak its connection.
    "channels.db": ["completions/"],
    "rest_framework": ["chatservice/", "accounts/", "*/viewsets.py"],
    "drf_spectacular": ["chatservice/", "accounts/", "*/viewsets.py"],
    # Only one package may use private parts of other software.
    "aiohttp": ["completions/providers/", "webhooks/sending.py", "foundation/internals/aiohttp_reads.py"],
    "standardwebhooks": ["webhooks/signing.py"],
    "ctypes": ["foundation/internals/"],
    "gc": ["foundation/internals/interpreter.py"],
    "uvicorn": ["chatservice/server.py", "foundation/internals/uvicorn/"],
}
# Every test may import this, although it belongs to the top layer.
TEST_SUPPORT = "chatservice.testing"
MAX_FILE_LINES = 500
SOURCE_SUFFIXES = {".py", ".js", ".css", ".html"}
EMPTY_NAMES = {"utils", "util", "common", "core", "helpers", "helper", "misc"}
# Former names, replaced by the field's usual terms. Old migrations keep them.
FORMER_NAMES = {
    *("Ask", "Accepted", "Outcome", "Opened", "Closed", "Quiet", "Ended", "Place", "Standing", "Following", "Look"),
    *("Space", "Shelf", "CutOff", "House", "Person", "find_place", "what_stands", "before_that", "go_on", "sloppy"),
    *("_obey", "_tell", "naps", "hurry", "urge"),
}
FORMER_PREFIXES = ("MOST_", "LONGEST_")
FORMER_MODULES = [
    *("arena.py", "asks.py", "calls.py", "completions/answering.py", "contestants.py", "endings.py", "following.py"),
    *("hints.py", "house.py", "listing.py", "looks.py", "meaning.py", "own.py", "places.py", "shelves.py", "slots.py"),
    *("statements.py", "traces.py"),
]


class Import(NamedTuple):
    """One imported dotted name; `from a.b import c` counts as a.b.c, because c may be a module."""

    path: str
    line: int
    target: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.target}"


class Named(NamedTuple):
    """One name that the source defines."""

    path: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} names something {self.name}"


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def allowed_at(path: str, places: list[str]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else Path(path).match(place) for place in places)


def is_test(path: str) -> bool:
    parts = Path(path).parts
    return "tests" in parts or path == "chatservice/testing.py" or path.startswith("chatservice/testing/")


def sources(suffixes: set[str]) -> Iterator[str]:
    """Our own files, relative to the repository; without generated, hidden and collected ones."""
    for root in [*LAYERS, *TOOLS, "templates"]:
        for path in sorted((TOP / root).rglob("*")):
            if path.suffix in suffixes and "__pycache__" not in path.parts:
                yield path.relative_to(TOP).as_posix()


def imports_of(source: str, path: str) -> Iterator[Import]:
    """Every import in `source`, even inside functions, under TYPE_CHECKING or by import_module("literal")."""
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


def names_in(source: str, path: str) -> Iterator[Named]:
    """Every class, function, argument, variable and attribute that `source` defines, and every keyword it passes."""
    for node in ast.walk(ast.parse(source, filename=path)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield Named(path, node.lineno, name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield Named(path, node.lineno, name)
            case ast.arg(arg=name) | ast.keyword(arg=str(name)) | ast.alias(asname=str(name)):
                yield Named(path, node.lineno, name)


def is_former(name: str) -> bool:
    return name in FORMER_NAMES or name.lstrip("_").startswith(FORMER_PREFIXES)


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(
        found for path in sources({".py"}) for found in imports_of((TOP / path).read_text(encoding="utf-8"), path)
    )


def upward(found: Import) -> str:
    """The higher layer that this import reaches, or empty."""
    layer = Path(found.path).parts[0]
    above = LAYERS[: LAYERS.index(layer)] if layer in LAYERS else []
    higher = next((each for each in above if within(found.target, each)), "")
    return "" if is_test(found.path) and within(found.target, TEST_SUPPORT) else higher


def tool_of(found: Import) -> str:
    """Return the tool that this import may not use, or empty. Tests and tools may use the scripts."""
    package = Path(found.path).parts[0]
    open_to_all = {package, "scripts"} if package in TOOLS or is_test(found.path) else {package}
    return next((tool for tool in TOOLS if tool not in open_to_all and within(found.target, tool)), "")


def dialect_of(path: str) -> str:
    parts = Path(path).parts
    return parts[2] if parts[:2] == ("chatservice", "dialects") and len(parts) > 3 else ""


def other_dialect(found: Import, dialects: set[str]) -> str:
    """The other dialect that a dialect's file imports, or empty."""
    own, parts = dialect_of(found.path), found.target.split(".")
    other = parts[2] if parts[:2] == ["chatservice", "dialects"] and len(parts) > 2 else ""
    return other if {own, other} <= dialects and own != other else ""


def beside_door(found: Import) -> str:
    """The third-party module that DOORS does not allow here, or empty. Tests and tools may import all."""
    doors = [door for door in DOORS if within(found.target, door)]
    free = is_test(found.path) or Path(found.path).parts[0] in TOOLS
    if free or not doors or any(allowed_at(found.path, DOORS[door]) for door in doors):
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


def test_benchmarks_and_system_tests_are_imported_by_nothing_else() -> None:
    broken = [str(found) for found in all_imports() if tool_of(found)]
    assert not broken, explain("Benchmarks and system tests are run; scripts are for tests and tools", broken)


def test_no_file_is_too_long_to_read() -> None:
    lengths = {path: len((TOP / path).read_text(encoding="utf-8").splitlines()) for path in sources(SOURCE_SUFFIXES)}
    broken = [f"{path}:{length} lines" for path, length in lengths.items() if length > MAX_FILE_LINES]
    assert not broken, explain(f"No file has more than {MAX_FILE_LINES} lines: split it", broken)


def test_no_module_is_named_after_nothing() -> None:
    broken = [path for path in sources({".py"}) if EMPTY_NAMES & set(Path(path).with_suffix("").parts)]
    assert not broken, explain("A module is named after what it holds, not " + ", ".join(sorted(EMPTY_NAMES)), broken)


def test_former_names_are_gone() -> None:
    paths = [path for path in sources({".py"}) if "migrations" not in Path(path).parts]
    broken = [path for path in paths if allowed_at(path, FORMER_MODULES)]
    broken += [
        str(named)
        for path in paths
        for named in names_in((TOP / path).read_text(encoding="utf-8"), path)
        if is_former(named.name)
    ]
    assert not broken, explain("One thing has one name, the field's", broken)


# The rules applied to source that breaks them: a checker that finds nothing would pass any code.


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


def test_the_checker_finds_an_import_of_a_tool() -> None:
    places = {
        ("accounts/services.py", "from benchmarks import wire"): "benchmarks",
        ("accounts/services.py", "from scripts.procfs import tree"): "scripts",
        ("accounts/tests/test_keys.py", "from scripts.procfs import tree"): "",
        ("accounts/tests/test_keys.py", "from tests.staff import StaffCase"): "tests",
        ("tests/test_chaos.py", "from benchmarks import wire"): "benchmarks",
        ("tests/test_chaos.py", "from tests.chaos import wire"): "",
        ("benchmarks/held.py", "from scripts import procfs"): "",
    }
    for (path, source), tool in places.items():
        [found] = found_in(path, source)
        assert tool_of(found) == tool, found


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


def test_the_checker_finds_a_former_name_wherever_it_is_given() -> None:
    source = (
        "class Ask: ...\n"
        "async def go_on(sloppy): ...\n"
        "def f(*, hurry=False): ...\n"
        "_MOST_ROWS = LONGEST_WORD = 1\n"
        "self.naps = call(urge=True)\n"
        "import x as Look\n"
        "'Ask to go_on: a Look'; use(Place)\n"
    )
    found = sorted(named.name for named in names_in(source, "search/x.py") if is_former(named.name))
    given = ["Ask", "LONGEST_WORD", "Look", "_MOST_ROWS", "go_on", "hurry", "naps", "sloppy", "urge"]
    assert found == given
    assert allowed_at("completions/answering.py", FORMER_MODULES) and allowed_at("benchmarks/arena.py", FORMER_MODULES)
    assert not allowed_at("chatservice/dialects/resources/answering.py", FORMER_MODULES)
