"""Looks at everything that can be wrong with an installation: the checks of the start, and what only works or not.

Messages come from here and from our checks. Errors of drivers and servers are named by their type, because their
messages may hold an address with a password.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.db import DatabaseError, connection
from django.utils import timezone

from accounts import seen_proxies
from chatservice import startup
from chatservice.findings import FAIL, OK, WARN, Finding
from completions import providers
from completions.exceptions import ProviderError
from files import storage
from foundation.database import database_clock
from foundation.ids import first_id_of
from foundation.outages import has_room
from search import indexer
from search.backends import backend
from search.embedders import loading
from search.models import PendingMessage

SPARE_BYTES = 1 << 30
MAX_LAG_SECONDS = 3_600
MAX_CLOCK_SECONDS = 2.0
REDIS_SECONDS = 3.0
# What the checks of the start look at, and what to say if they find nothing.
CHECKED = {
    "settings": "every setting has a valid value",
    "database": "",
    "migrations": "all are applied",
    "secrets": "KEY_PEPPER and SECRET_KEY are those that this database is used with",
    "pgvector": "",
}
UPSTREAM_MENDING = {
    "upstream_unauthorized": "it refuses the key: correct api_key in UPSTREAMS, or OPENAI_API_KEY",
    "upstream_unreachable": "it cannot be reached: start it, or correct base_url in UPSTREAMS, or OPENAI_BASE_URL",
}


def diagnose() -> list[Finding]:
    """Return how every part of this installation is; waits at most some seconds for each upstream."""
    found = [*_checks()]
    if all(each.status != FAIL for each in found if each.subject in ("database", "migrations")):
        for look in (_pgvector, _index, _clock):
            found += _of_database(look)
    return [*found, *asyncio.run(_upstreams()), *_files(), *_redis(), *_proxies()]


def _checks() -> Iterator[Finding]:
    """Yield what the checks of the start find; those for production only where others than this machine are served."""
    is_public = settings.HTTPS or settings.TRUSTED_PROXIES or set(settings.ALLOWED_HOSTS) - {*settings.LOCAL_NAMES}
    messages = startup.findings(deploy=bool(is_public))
    shown: dict[str, list[Finding]] = {}
    for sentence in settings.CONFIGURATION_WARNINGS:
        shown.setdefault("settings", []).append(Finding("settings", WARN, sentence))
    for message in messages:
        if not message.is_silenced():
            subject = startup.subject_of(message)
            status = FAIL if startup.stops(message) else WARN
            shown.setdefault(subject, []).append(Finding(subject, status, startup.sentence(message)))
    is_away = any(each.status == FAIL for each in shown.get("database", ()))
    is_unchecked = is_away or "migrations" in shown
    for subject, fine in CHECKED.items():
        if subject == "database" and not is_away:
            yield from _of_database(_database)
        elif fine and subject not in shown and (subject == "settings" or not is_unchecked):
            yield Finding(subject, OK, fine)
        yield from shown.pop(subject, ())
    for others in shown.values():
        yield from others


def _of_database(look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(look())
    except DatabaseError as error:
        return [Finding("database", FAIL, f"it does not answer ({type(error).__name__}): look at its own log.")]
    finally:
        connection.close()


def _database() -> Iterator[Finding]:
    if not has_room():
        yield Finding("database", FAIL, "its disk is full: make room.")
    elif connection.vendor == "sqlite":
        yield Finding("database", OK, f"SQLite {sqlite3.sqlite_version}: one process can serve it")
    else:
        connection.ensure_connection()
        version = connection.connection.info.server_version
        yield Finding("database", OK, f"PostgreSQL {version // 10_000}.{version % 10_000}")


def _pgvector() -> Iterator[Finding]:
    if connection.vendor != "sqlite" and backend().has_vectors():
        yield Finding("pgvector", OK, "vectors can be stored")


def _index() -> Iterator[Finding]:
    waiting = indexer.backlog()
    late = PendingMessage.objects.filter(
        message_id__lt=first_id_of(timezone.now() - dt.timedelta(seconds=MAX_LAG_SECONDS))
    ).count()
    if late:
        message = (
            f"{late} messages have waited for more than an hour: let a process run with SEARCH_INDEXER=true, or run "
            "manage.py index_messages."
        )
        yield Finding("search index", WARN, message)
    else:
        models = f"embedder {loading.current_name()}, reranker {settings.SEARCH_RERANKER or 'none'}"
        yield Finding("search index", OK, f"{waiting} messages wait; {models}")


def _clock() -> Iterator[Finding]:
    before = time.time()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {database_clock()}")
        theirs = float(cursor.fetchone()[0])
    after = time.time()
    apart = max(before - theirs, theirs - after, 0.0)
    if apart > MAX_CLOCK_SECONDS:
        message = f"{apart:.1f} s from the database's: let both machines keep time by NTP."
        yield Finding("clock", WARN, message)
    else:
        yield Finding("clock", OK, f"{apart * 1_000:.0f} ms from the database's")


async def _upstreams() -> list[Finding]:
    try:
        return await asyncio.gather(*map(_upstream, providers.upstream_names()))
    finally:
        await providers.close_all()


async def _upstream(name: str) -> Finding:
    subject = f"upstream {name}"
    try:
        models = await providers.list_upstream(name)
    except ProviderError as error:
        mending = UPSTREAM_MENDING.get(error.code)
        return Finding(subject, FAIL if mending else WARN, f"{mending or f'it lists no models ({error.code})'}.")
    except ImproperlyConfigured:
        return Finding(subject, FAIL, "it was not asked, since its settings are wrong.")
    except TimeoutError:
        return Finding(subject, FAIL, f"in time, {UPSTREAM_MENDING['upstream_unreachable']}.")
    return Finding(subject, OK, f"{len(models)} models")


def _files() -> Iterator[Finding]:
    name = f"doctor-{uuid.uuid4().hex}"
    try:
        storage.storage().save(name, ContentFile(b"doctor"))
        with storage.storage().open(name) as stored:
            is_kept = stored.read() == b"doctor"
        storage.storage().delete(name)
    except Exception as error:  # storages raise errors of their own
        message = f"nothing can be stored ({type(error).__name__}): see FILE_STORAGE, and who may write to VAR_DIR."
        yield Finding("file storage", FAIL, message)
        return
    free = shutil.disk_usage(settings.VAR_DIR).free
    if not is_kept:
        yield Finding("file storage", FAIL, "it returns something else than was stored: see FILE_STORAGE.")
    elif free < SPARE_BYTES:
        yield Finding("file storage", WARN, f"{free >> 20} MiB are free on the disk of VAR_DIR: make room.")
    else:
        yield Finding("file storage", OK, f"can be written to; {free >> 30} GiB are free on the disk of VAR_DIR")


def _redis() -> Iterator[Finding]:
    if not settings.REDIS_URL:
        return
    import redis  # most services have none

    try:
        with redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
        ) as client:
            client.ping()
    except Exception as error:  # of whatever kind: the address may be of no use
        message = (
            f"it does not answer ({type(error).__name__}): start it, or correct REDIS_URL. Until then, answers of "
        )
        yield Finding("redis", FAIL, f"{message}other processes are shown later.")
    else:
        yield Finding("redis", OK, "it answers")


def _proxies() -> Iterator[Finding]:
    seen = seen_proxies.last_seen()
    if seen is None:
        yield Finding("proxies", OK, "no request was seen yet")
    elif problem := seen_proxies.problem_of(seen):
        yield Finding("proxies", WARN, problem)
    else:
        headers = ", ".join(seen["names"]) or "no header of a proxy"
        yield Finding("proxies", OK, f"the last request that was looked at had {headers}; TRUSTED_PROXIES fits")
