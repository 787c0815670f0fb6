"""Creates many accounts at once, from rows of CSV: all of them or none."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.crypto import get_random_string

from accounts.models import User
from accounts.services import issue_api_key, new_user, validate_user
from accounts.usernames import username_key

GENERATE = "-"
PASSWORD_CHARS = 20
HEADER = "username"
MAX_PROBLEMS = 50  # problems reported at once


class BadRows(Exception):
    """Rows that cannot become accounts; `problems` has a line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(f"{len(problems)} invalid rows")
        self.problems = [*problems[:MAX_PROBLEMS], *(["…"] if len(problems) > MAX_PROBLEMS else [])]


@dataclass(frozen=True, slots=True)
class Row:
    """An account to create. `password` is `-` if one is to be generated, '' for none."""

    line: int
    username: str
    email: str = ""
    password: str = ""


@dataclass(frozen=True, slots=True)
class Created:
    """An account that was created. `password` and `key` are the generated ones, which exist nowhere else."""

    user: User
    password: str = ""
    key: str = ""


def read_rows(file: TextIO) -> list[Row]:
    """Read CSV `username[,email[,password]]`; a header row, empty lines and `#` lines are skipped."""
    rows, problems = [], []
    reader = csv.reader(file, strict=True)
    for values in reader:
        if not values or values == [""] or values[0].startswith("#"):
            continue
        if reader.line_num == 1 and values[0].strip().casefold() == HEADER:
            continue
        if len(values) > 3:
            problems.append(f"Line {reader.line_num}: expected username,email,password.")
            continue
        username, email, password = (*values, "", "")[:3]
        rows.append(Row(reader.line_num, username.strip(), email.strip(), password))
    if problems:
        raise BadRows(problems)
    return rows


def create_accounts(
    rows: Iterable[Row], *, keys: bool = False, skip_existing: bool = False
) -> tuple[list[Created], list[str]]:
    """Create the accounts of all rows; returns them, and the usernames that existed already and are left alone.

    Raises BadRows without creating any.
    """
    problems: list[str] = []
    skipped: list[str] = []
    made: list[tuple[User, str]] = []
    lines: dict[str, int] = {}
    for row in rows:
        same = lines.setdefault(username_key(row.username), row.line)
        if same != row.line:
            problems.append(f"Line {row.line}: same username as in line {same}.")
        elif skip_existing and (known := User.objects.named(row.username)) is not None:
            skipped.append(known.username)
        else:
            try:
                made.append(_prepared(row))
            except ValidationError as error:
                problems.append(f"Line {row.line}: {' '.join(error.messages)}")
    if problems:
        raise BadRows(problems)
    # Passwords are hashed before this: hashing takes a while, and would keep other writers waiting.
    try:
        with transaction.atomic():
            return [_stored(user, password, keys) for user, password in made], skipped
    except IntegrityError as error:
        raise BadRows(["One of these usernames was taken in the meantime. Try again."]) from error


def _prepared(row: Row) -> tuple[User, str]:
    generated = get_random_string(PASSWORD_CHARS) if row.password == GENERATE else ""
    user = new_user(username=row.username, password=generated or row.password or None, email=row.email)
    validate_user(user)
    return user, generated


def _stored(user: User, password: str, keys: bool) -> Created:
    user.save(force_insert=True)
    return Created(user, password, issue_api_key(user=user)[1] if keys else "")
