"""Refuses to start with a wrong configuration: one sentence per problem on stderr, exit code 2, no traceback."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import django
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, run_checks
from django.core.checks.messages import ERROR
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import SystemCheckError
from django.db import DatabaseError, connection
from django.db.backends.signals import connection_created
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from chatservice import __version__, first_run

EXIT_CODE = 2
NAMED_MIGRATIONS = 3
SUBJECTS = {
    "accounts.E003": "secrets",
    "accounts.W006": "secrets",
    "accounts.W007": "accounts",
    "conversations.E001": "access log",
    "search.W001": "pgvector",
    "usage.W001": "prices",
}
"""What the checks of the database are about."""
NOTHING_THERE = frozenset({"42P01", "42703"})
"""PostgreSQL's codes for a table and a column that it does not have."""


def read_arguments() -> None:
    """Answer the server's `--version` and `--help`, its only arguments: settings come from the environment."""
    parser = argparse.ArgumentParser(
        prog="python -m chatservice.server",
        description="Serve on HOST:PORT. Settings come from the environment and .env: see docs/settings.md.",
    )
    parser.add_argument("--version", action="version", version=f"chatservice {__version__}")
    parser.parse_args()


def load_settings(*, warn: bool = True) -> None:
    """Read the settings, print their warnings if `warn`, and end the process if they cannot be used."""
    try:
        warnings, problems = settings.CONFIGURATION_WARNINGS, []
    except ImproperlyConfigured as error:
        warnings, problems = getattr(error, "warnings", []), str(error).splitlines()
    for sentence in warnings if warn or problems else ():
        _print("warning", sentence)
    if problems:
        refuse(problems)


def prepare_first_run() -> None:
    """Create the data directory, and secrets if none are configured; end the process if that fails."""
    directory = settings.VAR_DIR
    try:
        first_run.make_directory(directory)
    except OSError as error:
        refuse([f"VAR_DIR: the directory {directory} cannot be created ({error.strerror})."])
    if not settings.SECRETS_ARE_MISSING:
        return
    try:
        made = first_run.make_secrets(directory)
    except OSError as error:
        refuse([f"{directory / first_run.FILE} cannot be made ({error.strerror})."])
    for name, secret in made.items():
        if not _is_set(name):
            setattr(settings, name, secret)


def _is_set(name: str) -> bool:
    try:
        return bool(getattr(settings, name))
    except ImproperlyConfigured:  # Django's error for an empty SECRET_KEY
        return False


@contextmanager
def refusing_configuration_errors() -> Iterator[None]:
    """End the process as `refuse` does if a command finds a wrong configuration, or tables that are not there yet."""
    reached: list[object] = []

    def note(sender: object, **kwargs: Any) -> None:
        reached.append(sender)

    connection_created.connect(note)
    try:
        yield
    except ImproperlyConfigured as error:
        refuse(str(error).splitlines())
    except DatabaseError as error:
        if not reached:
            refuse([_unreachable(error)])
        if lacking := _tables_lacking(error):
            refuse(lacking)
        raise  # something else is wrong
    except SystemExit as ending:
        # Django's commands print the results of the system checks, and end with 1.
        if isinstance(ending.__context__, SystemCheckError):
            raise SystemExit(EXIT_CODE) from None
        raise
    finally:
        connection_created.disconnect(note)


def check_service() -> None:
    """Run all checks before the server starts; ends the process at an error and prints warnings."""
    django.setup()
    messages = findings()
    problems = [sentence(message) for message in messages if stops(message)]
    try:
        if not problems:
            _store_fingerprints()
    except DatabaseError as error:
        problems = [_unreachable(error)]
    finally:
        connection.close()
    for message in messages:
        if not (stops(message) or message.is_silenced()):
            _print("warning", sentence(message))
    if problems:
        refuse(problems)


def findings(*, deploy: bool = False) -> list[CheckMessage]:
    """Return what is wrong with the settings, and with the database that they name; `deploy` adds Django's advice."""
    messages: list[CheckMessage] = run_checks(include_deployment_checks=deploy)
    try:
        if lacking := _unapplied_migrations():
            return [*messages, *(Error(each, obj="migrations") for each in lacking)]
        return messages + run_checks(tags=[Tags.database], databases=["default"])
    except DatabaseError as error:
        return [*messages, Error(_unreachable(error), obj="database")]
    finally:
        connection.close()


def subject_of(message: CheckMessage) -> str:
    """Return what a finding is about, in a word or two."""
    return message.obj if isinstance(message.obj, str) else SUBJECTS.get(message.id or "", "settings")


def stops(message: CheckMessage) -> bool:
    """Tell whether the service does not start with this."""
    return message.level >= ERROR and not message.is_silenced()


def sentence(message: CheckMessage) -> str:
    """Return what a finding says, with how to mend it."""
    name = f" ({message.id})" if message.id else ""
    return " ".join(f"{message.msg} {message.hint or ''}{name}".split())


class Refusal(SystemExit):
    """The end of a process whose configuration cannot be used; `sentences` say why."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(EXIT_CODE)
        self.sentences = sentences


def refuse(sentences: Iterable[str]) -> NoReturn:
    told = list(sentences)
    for each in told:
        _print("error", each)
    raise Refusal(told)


def _store_fingerprints() -> None:
    """Record which secrets the database is used with: the first pepper, the last SECRET_KEY."""
    from accounts import fingerprints  # its models can be imported only once Django is set up

    fingerprints.store(fingerprints.KEY_PEPPER)
    fingerprints.store(fingerprints.SECRET_KEY, replace=True)


def _unapplied_migrations() -> list[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return []
    names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan[:NAMED_MIGRATIONS])
    more = ", …" if len(plan) > NAMED_MIGRATIONS else ""
    return [f"The database lacks {len(plan)} migrations ({names}{more}): run `manage.py migrate`."]


def _tables_lacking(error: DatabaseError) -> list[str]:
    """Return what to say of a table or column that is not there yet; nothing if `error` is another or all are there."""
    if getattr(error.__cause__, "sqlstate", None) not in NOTHING_THERE and "no such " not in str(error):
        return []
    try:
        connection.close()  # a transaction may have failed in it
        if MigrationRecorder(connection).applied_migrations():
            return _unapplied_migrations()
        return ["The database has no tables yet: run manage.py migrate first."]
    except DatabaseError:
        return []
    finally:
        connection.close()


def _unreachable(error: Exception) -> str:
    return f"DATABASE_URL: the database cannot be used: {' '.join(str(error).split())}"


def _print(kind: str, sentence: str) -> None:
    print(f"{kind}: {sentence}", file=sys.stderr)  # noqa: T201  before there is a log
