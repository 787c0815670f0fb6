"""Reads settings from the environment and an `.env` file, and collects everything that is wrong with them.

A setting is known because chatservice/settings.py reads it: there is no second list. Messages never repeat the values
of secrets. django-environ looks up the names, but types are read here, because its casts guess: `ja` would be false,
and 1e3 seconds would be 13.
"""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import environ
from django.core.exceptions import ImproperlyConfigured
from dotenv.parser import parse_stream

from completions.sendable import HEADER_VALUE, is_http_url

TRUE, FALSE = ("true", "on", "yes", "y", "1"), ("false", "off", "no", "n", "0")
YEAR = 31_536_000
HOST_NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*", re.IGNORECASE)
ORIGIN = re.compile(
    rf"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>{HOST_NAME.pattern}|\[[0-9a-f:.]+\])(:(?P<port>[1-9]\d{{0,4}}))?"
)
SEGMENT = re.compile(r"[A-Za-z0-9_.~-]+")
REFERENCE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")
# How similar a name in the environment must be to one of ours (difflib's ratio) to be reported. Other programs use the
# environment too, and a false alarm that prevents a start is worse than a missed typo, so short names are never
# compared.
ERROR_RATIO, WARNING_RATIO, OTHER_WORD_RATIO, MIN_COMPARED_CHARS = 0.85, 0.82, 0.6, 8
# Names that resemble ours but belong to other programs.
OTHER_PROGRAMS = {"LOGLEVEL", "DATABASE_URI", "OPENAI_API_KEYS", "REDIS_URLS", "SECRET_KEYS", "SECRET_KEY_BASE"}

# The methods below have the names of types, so inside the class the types have these names.
Str: TypeAlias = str
Int: TypeAlias = int
Float: TypeAlias = float
Bool: TypeAlias = bool
List: TypeAlias = list
T = TypeVar("T")


class ConfigurationError(ImproperlyConfigured):
    """The settings cannot be used; each line of the message is a sentence about one of them."""

    def __init__(self, message: str, warnings: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.warnings = warnings


class Environment:
    """Returns settings by name and type. An invalid value is noted in `problems`, and the default is returned.

    A name in the environment overrides the one in the file; an empty value means the default.
    """

    def __init__(self, *, renamed: Mapping[Str, Str] | None = None) -> None:
        self._variables = environ.Env()
        self.names: set[Str] = set()
        self.problems: List[Str] = []
        self.warnings: List[Str] = []
        self._file: dict[Str, Str] = {}
        self._lines: dict[Str, Int] = {}
        self._file_name = ".env"
        self._former_names = {new: old for old, new in (renamed or {}).items()}

    def read_file(self, default: Path) -> None:
        """Read the file that ENV_FILE names, or else `default`, which may be missing."""
        chosen = os.environ.get("ENV_FILE", "")
        path = Path(chosen) if chosen else default
        self._file_name = str(path) if chosen else default.name
        try:
            # An editor may have put a byte order mark before the first name.
            file = path.open(encoding="utf-8-sig")
        except FileNotFoundError:
            if chosen:
                self.problem(f"ENV_FILE names {chosen}, which does not exist.")
            return
        except OSError as error:
            self.problem(f"{path} cannot be read: {error.strerror}.")
            return
        try:
            with file:
                bindings = list(parse_stream(file))
        except (OSError, UnicodeDecodeError):
            self.problem(f"{path} is not a text file in UTF-8.")
            return
        for binding in bindings:
            line = binding.original.line + binding.original.string[: -len(binding.original.string.lstrip())].count("\n")
            if binding.error or (binding.key is not None and binding.value is None):
                self.problem(f"{self._file_name}, line {line}: this is not NAME=value.")
            elif binding.key is not None and binding.key in self._file:
                self.problem(f"{self._file_name}, line {line}: {binding.key} is set a second time.")
            elif binding.key is not None:
                self._file[binding.key] = binding.value or ""
                self._lines[binding.key] = line

    def str(self, name: Str, default: Str = "", *, choices: Collection[Str] = (), url: Bool = False) -> Str:
        """Return a text: one of `choices` (case is ignored), or an http(s) address if `url` is set."""
        text = self._text(name)
        if not text:
            return default
        if choices:
            chosen = {choice.lower(): choice for choice in choices}.get(text.strip().lower())
            if chosen is None:
                self.problem(f"{name} must be one of {', '.join(choices)}, not {_shown(text)}.")
            return chosen or default
        if url and not (is_http_url(text.strip()) and not re.search(r"[?#]", text)):
            self.problem(f"{name} must be an address that starts with http:// or https://, without a query.")
            return default
        return text.strip() if url else text

    def secret(self, name: Str, default: Str = "") -> Str:
        """Return a value that is sent in a header; error messages never contain it."""
        text = self._text(name)
        if not HEADER_VALUE.fullmatch(text):
            self.problem(f"{name} cannot be sent in a header: use ASCII on one line, without spaces before or after.")
            return default
        return text or default

    def int(self, name: Str, default: Int, *, minimum: Int = 0, maximum: Int | None = None) -> Int:
        def parse(text: Str) -> Int:
            number = int(text)
            if number < minimum or (maximum is not None and number > maximum):
                raise ValueError
            return number

        to = "or more" if maximum is None else f"to {maximum}"
        return self._parse(name, default, parse, f"must be a whole number, {minimum} {to}")

    def float(self, name: Str, default: Float, *, above: Float | None = None, maximum: Float = YEAR) -> Float:
        """Return a number from 0, or greater than `above`; by default at most a year of seconds."""

        def parse(text: Str) -> Float:
            number = float(text)
            if not 0 <= number <= maximum or (above is not None and number <= above):
                raise ValueError
            return number

        wanted = f"0 to {maximum}" if above is None else f"more than {above:g} and at most {maximum}"
        return self._parse(name, default, parse, f"must be a number, {wanted}")

    def days(self, name: Str, default: Float) -> Float:
        """Return a number of days, at most a century, because an earlier date may not be valid."""
        return self.float(name, default, maximum=36_500)

    def hours(self, name: Str, default: Float) -> Float:
        return self.float(name, default, maximum=36_500 * 24)

    def seconds(self, name: Str, default: Float) -> Float:
        """Return a positive number of seconds."""
        return self.float(name, default, above=0)

    def bool(self, name: Str, default: Bool) -> Bool:
        def parse(text: Str) -> Bool:
            if text.lower() not in (*TRUE, *FALSE):
                raise ValueError
            return text.lower() in TRUE

        return self._parse(name, default, parse, "must be true or false")

    def list(self, name: Str, default: Collection[Str]) -> List[Str]:
        """Return the comma-separated items."""
        text = self._text(name)
        return [part.strip() for part in text.split(",") if part.strip()] if text else list(default)

    def json(self, name: Str, default: dict[Str, T], *, values: type[T]) -> dict[Str, T]:
        """Return a JSON object whose values all have the type `values` (`object`: any); numbers must be positive."""
        text = self._text(name)
        if not text:
            return default
        kinds: dict[Any, Str] = {
            dict: "an object",
            list: "a list",
            int: "a whole number above 0",
            object: "any value",
            str: "a text",
        }
        kind = kinds[values]
        try:
            found = json.loads(text, object_pairs_hook=_without_repetition)
        except json.JSONDecodeError as error:
            self.problem(f"{name} is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.")
            return default
        except _RepeatedName as error:
            self.problem(f"{name} has {str(error)!r} twice.")
            return default
        if not isinstance(found, dict) or not all(_has_type(value, values) for value in found.values()):
            self.problem(f"{name} must be a JSON object in which each value is {kind}.")
            return default
        return found

    def parsed(self, name: Str, parse: Callable[[Str], T], *, default: Str) -> T:
        """Return `parse(text)`; its ValueError contains the rest of a sentence that begins with the setting's name."""
        try:
            return parse(self._text(name) or default)
        except ValueError as error:
            self.problem(f"{name} {error}")
            return parse(default)

    def pass_on(self, prefix: Str) -> None:
        """Give other software its variables of the file: those whose names begin with `prefix`."""
        for name, value in self._file.items():
            if name.startswith(prefix):
                self.names.add(name)
                os.environ.setdefault(name, value)

    def problem(self, sentence: Str) -> None:
        self.problems.append(sentence)

    def warn(self, sentence: Str) -> None:
        self.warnings.append(sentence)

    def finish(self) -> None:
        """Look for names that no setting uses, then raise ConfigurationError if anything was wrong."""
        for name, line in self._lines.items():
            if name not in self.names:
                close = difflib.get_close_matches(name.upper(), self.names, 1)
                hint = f"Did you mean {close[0]}?" if close else "Variables of other programs do not belong here."
                self.problem(f"{self._file_name}, line {line}: {name} is not a setting of this service. {hint}")
        for name in sorted(os.environ.keys() - self.names - OTHER_PROGRAMS - {"ENV_FILE"}):
            self._look_at(name)
        self.raise_problems()

    def raise_problems(self) -> None:
        if self.problems:
            raise ConfigurationError("\n".join(self.problems), self.warnings)

    def _look_at(self, name: Str) -> None:
        """Report a name in the environment that must be a misspelt setting."""
        if len(name) < MIN_COMPARED_CHARS:
            return
        known = [each for each in self.names if len(each) >= MIN_COMPARED_CHARS]
        close = difflib.get_close_matches(name.upper(), known, 1, WARNING_RATIO)
        if not close or _has_other_word(name.upper(), close[0]):
            return
        sentence = f"{name} in the environment is not a setting of this service. Did you mean {close[0]}?"
        # If the correctly spelt name is set as well, this one probably belongs to another program.
        if _likeness(name.upper(), close[0]) >= ERROR_RATIO and close[0] not in os.environ:
            self.problem(sentence)
        else:
            self.warn(sentence)

    def _text(self, name: Str) -> Str:
        self.names.add(name)
        found = self._found(name)
        former = self._former_names.get(name)
        if former is not None:
            self.names.add(former)
            before = self._found(former)
            if before is not None:
                use = "is ignored" if found is not None else "still works in this release"
                self.warn(f"{former} is now called {name}; the former name {use}.")
                found = before if found is None else found
        reference = REFERENCE.fullmatch(found or "")
        if reference and self._found(reference[1]) is not None:
            self.problem(f"{name} is literally {reference[0]}: references to other variables are not expanded.")
        return found or ""

    def _found(self, name: Str) -> Str | None:
        found: Str | None = self._variables.ENVIRON.get(name, self._file.get(name))
        return found

    def _parse(self, name: Str, default: T, parse: Callable[[Str], T], wanted: Str) -> T:
        text = self._text(name).strip()
        if not text:
            return default
        try:
            return parse(text)
        except ValueError:
            self.problem(f"{name} {wanted}, not {_shown(text)}.")
            return default


def is_ip_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_allowed_host(text: str) -> bool:
    """Tell whether `text` can match a Host in Django's comparison: a name, .name, [IPv6] or *."""
    if text.startswith("["):
        return ":" in text and text.endswith("]") and is_ip_address(text[1:-1])
    return text == "*" or bool(HOST_NAME.fullmatch(text.removeprefix(".")))


def is_origin(text: str) -> bool:
    """Tell whether a browser may send `text` as its Origin, or it is *: a scheme and a host, and a port of its own."""
    found = ORIGIN.fullmatch(text)
    if not found:
        return text == "*"
    host, port = found["host"], found["port"]
    if host.startswith("[") and not is_ip_address(host[1:-1]):
        return False
    is_default = (found["scheme"], port) in (("http", "80"), ("https", "443"))
    return port is None or (int(port) < 65_536 and not is_default)


def origins_of(text: str) -> list[str]:
    """Return the comma-separated origins, in small letters as browsers send them; raises ValueError."""
    origins = [part.strip().lower() for part in text.split(",") if part.strip()]
    if not all(map(is_origin, origins)):
        raise ValueError(
            "takes origins between commas as a browser sends them, as in https://app.example.org or "
            "http://localhost:3000, or *: without a path, a slash at the end, quotes or a default port."
        )
    return origins


def url_prefix_of(text: str) -> str:
    """Return a path with a slash before it and none behind it, '' for none; raises ValueError."""
    path = text.strip().strip("/")
    if path and not all(SEGMENT.fullmatch(each) and each.strip(".") for each in path.split("/")):
        raise ValueError(
            "must be a path such as /chat or /apps/chat, without a host, of letters, digits and the signs -_.~."
        )
    return f"/{path}" if path else ""


class _RepeatedName(ValueError):
    pass


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object; raises for a repeated name, of which json would keep the last."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _RepeatedName(name)
        found[name] = value
    return found


def _likeness(name: str, known: str) -> float:
    return difflib.SequenceMatcher(None, known, name).ratio()


def _has_other_word(name: str, known: str) -> bool:
    """Tell whether `name` differs from `known` by a whole word: DATABASE_USER is not a typo of DATABASE_URL."""
    words, known_words = name.split("_"), known.split("_")
    alike = map(_likeness, words, known_words)
    return len(words) == len(known_words) and min(alike) < OTHER_WORD_RATIO


def _has_type(value: Any, kind: type) -> bool:
    return kind is object or (type(value) is kind and (not isinstance(value, int) or value > 0))


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
