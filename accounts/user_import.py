"""Brings accounts and their groups in line with rows of CSV: all rows are checked before any is written."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TextIO, TypeVar

from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts.models import User
from accounts.services import new_user
from accounts.subject_limits import announce
from accounts.usernames import username_key, validate_username

BATCH = 200  # SQLite takes so many values in one statement
COLUMNS = 3
HEADERS = frozenset({"name", "username"})
MAX_GROUP_CHARS = 150
TAKEN = "One of these usernames was taken in the meantime. Try again."
T = TypeVar("T")
Membership = User.groups.through


@dataclass(frozen=True, slots=True)
class UserRow:
    """A row `name,mail,groups`; `line` is its line in the file. `mail` and `groups` may be empty: nothing is said."""

    line: int
    name: str
    mail: str = ""
    groups: tuple[str, ...] = ()


class State(StrEnum):
    MADE = "made"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(slots=True)
class Change:
    """What becomes of a row. `account` is not stored yet if it is to be made; a refused row has none."""

    row: UserRow
    account: User | None = None
    is_new: bool = False
    new_mail: bool = False
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    refusal: str = ""

    @property
    def state(self) -> State:
        if self.refusal:
            return State.REFUSED
        if self.is_new:
            return State.MADE
        return State.CHANGED if self.new_mail or self.added or self.removed else State.UNCHANGED

    def __str__(self) -> str:
        said = [self.refusal] if self.refusal else []
        said += ["mail"] if self.new_mail else []
        said += [f"into {', '.join(self.added)}"] if self.added else []
        said += [f"out of {', '.join(self.removed)}"] if self.removed else []
        about = f": {'; '.join(said)}" if said else ""
        return f"Row {self.row.line}: {self.state} {self.row.name!r}{about}"


class Taken(Exception):
    """Somebody else made one of the accounts after the rows were checked. Nothing was written."""


def read_user_rows(file: TextIO) -> list[UserRow | Change]:
    """Read CSV `name[,mail[,groups]]`, groups with `;` between them, as rows, or refusals where the form is wrong.

    A header row, empty lines and lines that begin with `#` are skipped.
    """
    rows: list[UserRow | Change] = []
    reader = csv.reader(file, strict=True)
    for values in reader:
        line = reader.line_num
        if not values or values == [""] or values[0].startswith("#"):
            continue
        if not rows and values[0].strip().casefold() in HEADERS:
            continue
        name, mail, groups = (each.strip() for each in (*values, "", "")[:COLUMNS])
        named = tuple(dict.fromkeys(group.strip() for group in groups.split(";") if group.strip()))
        row = UserRow(line, name, mail, named)
        wrong = len(values) > COLUMNS
        rows.append(Change(row, refusal="expected name,mail,groups") if wrong else row)
    return rows


def plan(
    rows: Sequence[UserRow | Change], *, exact: bool = False, advance: Callable[[int], object] = lambda amount: None
) -> list[Change]:
    """Return what each row changes, or why it is refused, without writing anything.

    Accounts are put into the groups of their row; with `exact` they also leave all others.
    """
    changes: list[Change] = []
    lines: dict[str, int] = {}
    for batch in _batches(rows):
        known = _known_accounts(each.name for each in batch if isinstance(each, UserRow))
        groups = _groups_of(known.values())
        for row in batch:
            change = row if isinstance(row, Change) else _planned(row, known.get(row.name), lines)
            if change.account is not None:
                has = groups.get(change.account.pk, set())
                change.added = [name for name in change.row.groups if name not in has]
                change.removed = sorted(has - set(change.row.groups)) if exact else []
            changes.append(change)
        advance(len(batch))
    return changes


def carry_out(changes: Sequence[Change], *, advance: Callable[[int], object] = lambda amount: None) -> None:
    """Write what the rows change, in one transaction; raises Taken. Limits that come with groups hold at once."""
    try:
        with transaction.atomic():
            groups = _made_groups({name for change in changes for name in (*change.added, *change.removed)})
            for batch in _batches(changes):
                _carry_out(batch, groups)
                advance(len(batch))
            announce()
    except IntegrityError as error:
        raise Taken(TAKEN) from error


def _carry_out(changes: Sequence[Change], groups: dict[str, int]) -> None:
    accounts = [(change, change.account) for change in changes if change.account is not None]
    User.objects.bulk_create([account for change, account in accounts if change.is_new])
    User.objects.bulk_update([account for change, account in accounts if change.new_mail], ["email"])
    Membership.objects.bulk_create(
        [Membership(user=account, group_id=groups[name]) for change, account in accounts for name in change.added],
        ignore_conflicts=True,
    )
    for change, account in accounts:
        if change.removed:
            Membership.objects.filter(user=account, group_id__in=[groups[name] for name in change.removed]).delete()


def _planned(row: UserRow, account: User | None, lines: dict[str, int]) -> Change:
    """Return what a row is about: an account that exists, or one to be made; `lines` are those of earlier names."""
    first = lines.setdefault(username_key(row.name), row.line)
    if first != row.line:
        return Change(row, refusal=f"the same name as in row {first}")
    if any(len(name) > MAX_GROUP_CHARS or not name.isprintable() for name in row.groups):
        return Change(row, refusal=f"the name of a group has at most {MAX_GROUP_CHARS} characters, in one line")
    is_new = account is None
    if account is None:
        account = new_user(username=row.name, password=None)
        account.username_key = username_key(account.username)
    elif account.guest_made:
        return Change(row, refusal="this account belongs to guests")
    new_mail = not is_new and row.mail not in ("", account.email)
    account.email = row.mail or account.email
    try:
        if is_new:
            validate_username(account.username)
        if is_new or new_mail:
            account.clean_fields(exclude=["password", "username_key"])
    except ValidationError as error:
        return Change(row, refusal=" ".join(error.messages))
    return Change(row, account, is_new=is_new, new_mail=new_mail)


def _known_accounts(names: Iterable[str]) -> dict[str, User]:
    """Return the accounts with these names in any spelling; an exact match takes precedence."""
    keys = {name: username_key(name) for name in names}
    found = User.objects.filter(Q(username__in=keys) | Q(username_key__in=keys.values()))
    by_name = {user.username: user for user in found}
    by_key = {user.username_key: user for user in by_name.values()}
    accounts = {name: by_name.get(name) or by_key.get(key) for name, key in keys.items()}
    return {name: account for name, account in accounts.items() if account is not None}


def _groups_of(accounts: Iterable[User]) -> dict[object, set[str]]:
    """Return the names of each account's groups, by its id."""
    found: dict[object, set[str]] = {}
    rows = Membership.objects.filter(user__in=list(accounts)).values_list("user_id", "group__name")
    for user_id, name in rows:
        found.setdefault(user_id, set()).add(name)
    return found


def _made_groups(names: set[str]) -> dict[str, int]:
    """Return the ids of the groups with these names; makes those that do not exist."""
    Group.objects.bulk_create([Group(name=name) for name in sorted(names)], ignore_conflicts=True)
    return {name: pk for batch in _batches(sorted(names)) for name, pk in _ids_of(batch)}


def _ids_of(names: Sequence[str]) -> Iterable[tuple[str, int]]:
    return Group.objects.filter(name__in=names).values_list("name", "pk")


def _batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(values), BATCH):
        yield values[at : at + BATCH]
