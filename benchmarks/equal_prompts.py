"""What it costs an owner to have sent one prompt 100,000 times: listing, threading and search, over 1,000 times.

python -m benchmarks.equal_prompts [--postgres] [--sizes 1000,100000]

A throw-away database is filled with the conversations of a health check: the same made-up example, question and
answer in each. Compare ratios within one run.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

from scripts.isolated import own_directory
from scripts.postgres import postgres

ROUNDS = 15
BATCH = 2_000
PROMPT = (
    {"role": "user", "content": "Are you there?"},
    {"role": "assistant", "content": "Here."},
    {"role": "user", "content": "Is the lighthouse lit?"},
)
ANSWER = {"role": "assistant", "content": "Shining."}
MADE_UP = {"role": "assistant", "content": "Dark, as far as anybody knows."}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    parser.add_argument("--sizes", default="1000,100000", help="conversations of each owner; ratios are over the first")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        return _measure([int(size) for size in given.sizes.split(",")])
    command = [sys.executable, "-m", "benchmarks.equal_prompts", *sys.argv[1:], "--inside"]
    with own_directory() as environment:
        environment = {**os.environ, **environment, "SEARCH_EMBEDDER": "hashing", "OPENBLAS_NUM_THREADS": "1"}
        if not given.postgres:
            return subprocess.run(command, env=environment).returncode
        with postgres(durable=True, shared_buffers="1GB") as url:
            return subprocess.run(command, env={**environment, "DATABASE_URL": url}).returncode


def _measure(sizes: list[int]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatservice.settings")
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from chatservice import startup

    startup.prepare_first_run()
    django.setup()
    settings.ALLOWED_HOSTS = ["testserver"]
    for limit in ("LIMIT_READS_PER_MINUTE", "LIMIT_RUNS_PER_USER", "LIMIT_RUN_STARTS_PER_MINUTE"):
        setattr(settings, limit, 0)
    call_command("migrate", verbosity=0)

    from benchmarks.report import machine
    from benchmarks.retrieval_rows import begin, settle
    from search.embedders import loading

    loading.current()
    print(f"{connection.vendor}; {machine()['cpu']}; load average {os.getloadavg()[0]:.1f}", flush=True)
    begin()
    began = time.perf_counter()
    owners = [_owner(size) for size in sizes]
    settle()
    print(f"filled in {time.perf_counter() - began:.0f} s\n", flush=True)
    tasks = [_tasks(user) for user in owners]
    print("| what, ms | " + " | ".join(f"{size:,}" for size in sizes) + " | ratio |")
    print("|---" * (len(sizes) + 2) + "|", flush=True)
    for name in tasks[0]:
        best = _best([each[name] for each in tasks])
        figures = " | ".join(f"{took:.2f}" for took in best)
        print(f"| {name} | {figures} | {best[-1] / best[0]:.1f}x |", flush=True)
    return 0


def _best(asked: list[Callable[[], Any]]) -> list[float]:
    """Return the milliseconds of each one's best round, all in turn: other work on the machine only adds to them.

    On SQLite, which is in this process, those of the processor.
    """
    from django.db import connection

    clock = time.process_time if connection.vendor == "sqlite" else time.perf_counter
    best = [math.inf] * len(asked)
    for _ in range(ROUNDS):
        for place, ask in enumerate(asked):
            began = clock()
            ask()
            best[place] = min(best[place], (clock() - began) * 1000)
    return best


def _tasks(user: Any) -> dict[str, Callable[[], Any]]:
    """Return what is measured, by name."""
    from django.test import Client

    from accounts.callers import Principal
    from accounts.services import issue_api_key
    from conversations.services import start_conversation
    from search.queries import Mode, search_messages

    _, secret = issue_api_key(user=user, name="benchmark")
    client = Client(headers={"authorization": f"Bearer {secret}"})
    principal = Principal(user.pk, user.username)

    def get(path: str) -> None:
        response = client.get(path)
        if response.status_code != 200:
            raise AssertionError(f"{path} answered {response.status_code}")

    def search(text: str, mode: Mode) -> None:
        if not search_messages(principal, text, mode=mode).hits:
            raise AssertionError("nothing was found")

    follow_up = {"role": "user", "content": "And now?"}
    return {
        "list, first page": lambda: get("/v1/chat/conversations"),
        "list, tenth page": lambda: get("/v1/chat/conversations?page=10"),
        "the same prompt once more": lambda: _accept(principal, PROMPT, new=True),
        "an answer goes on": lambda: _accept(principal, (*PROMPT, ANSWER, follow_up), new=False),
        "a made-up example in its place": lambda: _accept(principal, (*PROMPT, MADE_UP, follow_up), new=True),
        "a conversation opened by hand": lambda: _undone(lambda: start_conversation(owner_id=user.pk)),
        "search by words, in all": lambda: search("lighthouse", Mode.TEXT),
        "search by words, in one": lambda: search("albatross", Mode.TEXT),
        "search, hybrid": lambda: search("lighthouse", Mode.HYBRID),
    }


def _accept(principal: Any, messages: tuple[dict[str, Any], ...], *, new: bool) -> None:
    """Accept a call, and take it back."""
    from django.db import connection

    from completions.acceptance import accept, limits_on
    from completions.run_requests import RunRequest
    from conversations.models import Conversation

    def once() -> None:
        request = RunRequest(
            principal=principal, model="echo", upstream="echo", messages=messages, threaded=True, exclusive=False
        )
        with connection.cursor() as cursor:
            [handle] = accept(cursor, [request], worker="benchmark", limits=limits_on(cursor, [request]))
            if isinstance(handle, Exception):
                raise handle
            assert handle.conversation_id is not None
            if Conversation.objects.filter(pk=handle.conversation_id, created_at=handle.created_at).exists() != new:
                raise AssertionError("the call went elsewhere")

    _undone(once)


def _undone(work: Callable[[], Any]) -> None:
    from django.db import transaction

    with transaction.atomic():
        work()
        transaction.set_rollback(True)


def _owner(size: int) -> Any:
    """Make an owner who sent the prompt `size` times; the first conversation has one word more."""
    from accounts.services import register_user
    from search.models import IndexPartition

    user = register_user(username=f"owner-{size}")
    partition = IndexPartition.objects.create(owner=user).pk
    for start in range(0, size, BATCH):
        _write(user, partition, start, min(BATCH, size - start))
    IndexPartition.objects.filter(pk=partition).update(next_seq=size * (len(PROMPT) + 1) + 1)
    return user


@functools.cache
def _stems(text: str) -> list[str]:
    from search.analysis import stems

    return stems(text)


@functools.cache
def _terms(partition: int, text: str) -> Any:
    from search.analysis import terms_of

    return terms_of(partition, _stems(text))


def _write(user: Any, partition: int, start: int, count: int) -> None:
    """Write conversations with the entries of the text index and the vectors of their messages."""
    import datetime as dt

    from django.db import transaction

    from benchmarks.retrieval_rows import insert_entries
    from conversations import digests
    from conversations.models import Conversation, Message
    from foundation.ids import uuid7
    from search.backends import backend
    from search.backends.base import NewPassage
    from search.embedders import loading
    from search.indexing import embedder_number
    from search.models import PARTITION_SHIFT

    wires = (*PROMPT, ANSWER)
    chain = digests.chain(digests.root(user.pk), wires)
    began = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    talks, rows, entries = [], [], []
    for number in range(start, start + count):
        at = began + dt.timedelta(minutes=number)
        talk = Conversation(
            owner=user,
            title="Are you there?",
            next_position=len(wires) + 1,
            created_at=at,
            updated_at=at,
            stateless=True,
        )
        talks.append(talk)
        parent: uuid.UUID | None = None
        before: list[int] = []
        for place, (wire, digest) in enumerate(zip(wires, chain, strict=True)):
            content = wire["content"] + (" An albatross." if number == 0 and wire is ANSWER else "")
            row = Message(
                id=uuid7(), conversation=talk, parent_id=parent, position=place + 1, role=wire["role"], content=content,
                model="echo" if wire is ANSWER else "", upstream="echo" if wire is ANSWER else "",
                digest=digest, created_at=at,
            )  # fmt: skip
            rows.append(row)
            parent = row.pk
            entry = partition << PARTITION_SHIFT | number * len(wires) + place + 1
            found = _stems(content)
            previous = [*reversed(before[-2:]), None, None]
            entries.append((entry, row.pk, previous[0], previous[1], len(found), _terms(partition, content)))
            before.append(entry)
        talk.head_id = parent
    embedder = loading.current()
    embedder_id, vectors = embedder_number(embedder), embedder.embed_passages([wire["content"] for wire in wires])
    with transaction.atomic():
        Conversation.objects.bulk_create(talks)
        Message.objects.bulk_create(rows)
        insert_entries(entries)
        backend().write_passages(
            [
                NewPassage(entry[0], partition, embedder_id, 0, 10, vectors[at % len(wires)])
                for at, entry in enumerate(entries)
            ]
        )


if __name__ == "__main__":
    sys.exit(main())
