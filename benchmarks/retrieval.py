"""The cost of search compared with its parts: the model, the vectors and the full text, each measured alone in one run.

    python -m benchmarks.retrieval [--postgres] [--sizes 10000,100000] [--many 100000] [--rate 1500]

A temporary database is filled with generated passages. Questions run the same code as an API request, without HTTP.
Compare ratios within one run only. `--sizes 10000 --many 20000 --rate 300` takes about a minute.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scripts.isolated import own_directory
from scripts.postgres import postgres

QUESTIONS = 30
OWNERS = 1_000
RECALL_AT = 10
CANDIDATES = 50
INSERTS = 2_048
SHARED_BUFFERS = "4GB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    parser.add_argument("--sizes", default="10000,100000", help="passages of one owner, each measured")
    parser.add_argument("--many", type=int, default=100_000, help=f"passages of {OWNERS} skewed owners; 0 for none")
    parser.add_argument("--rate", type=int, default=1_500, help="messages to index; 0 for none")
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--embedder", default="minilm-int8")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        return _measure(given)
    command = [sys.executable, "-m", "benchmarks.retrieval", *sys.argv[1:], "--inside"]
    with own_directory() as environment:
        # A search runs in one thread, so its parts are limited to one thread, too.
        environment = {**os.environ, **environment, "SEARCH_EMBEDDER": given.embedder, "OPENBLAS_NUM_THREADS": "1"}
        if not given.postgres:
            return subprocess.run(command, env=environment).returncode
        # A dedicated server has enough memory; with the defaults most reads would come from the system's cache.
        with postgres(durable=True, shared_buffers=SHARED_BUFFERS) as url:
            return subprocess.run(command, env={**environment, "DATABASE_URL": url}).returncode


def _measure(given: argparse.Namespace) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatservice.settings")
    import django
    from django.core.management import call_command
    from django.db import connection

    from chatservice import startup

    startup.prepare_first_run()
    django.setup()
    call_command("migrate", verbosity=0)

    from benchmarks.report import machine
    from benchmarks.retrieval_rows import Maker, Owner, begin, settle
    from search.embedders import loading
    from search.indexing import embedder_number

    embedder = loading.current()
    maker = Maker(given.seed, embedder_number(embedder))
    print(
        f"{connection.vendor}, {embedder.name}; {machine()['cpu']}; load average {os.getloadavg()[0]:.1f}", flush=True
    )
    if given.rate:
        _indexing(maker, embedder, given.rate)
    begin()
    began = time.perf_counter()
    owners = [maker.owner(int(size), keep=True) for size in given.sizes.split(",") if size]
    many: list[Owner] = []
    if given.many:
        shares = 1 / np.arange(1, OWNERS + 1) ** 0.8
        sizes = np.maximum(1, np.floor(given.many * shares / shares.sum())).astype(int)
        # Only the largest owner and one of the small ones are compared with exact answers.
        many = [maker.owner(int(size), keep=place in (0, OWNERS // 2)) for place, size in enumerate(sizes)]
    settle()
    print(f"filled in {time.perf_counter() - began:.0f} s", flush=True)
    bare = _Bare(embedder, maker)
    print("| owner | first search ms | search p50 / p95 ms | its vectors |", end="")
    print(" vectors | full text | model | over their sum | recall@10 |")
    print("|---" * 9 + "|", flush=True)
    for owner in owners:
        bare.row(f"{owner.size:,}, one owner", owner, given.questions)
    if many:
        for owner in (many[0], many[OWNERS // 2]):
            bare.row(f"{owner.size:,} of {given.many:,}", owner, given.questions)
    if owners or many:
        bare.everybodys(sum(owner.size for owner in (*owners, *many)), given.questions)
    _inserting(maker, owners[-1] if owners else many[0])
    return 0


def _indexing(maker: Any, embedder: Any, count: int) -> None:
    """Index `count` messages, and encode the same passages in a plain loop."""
    from accounts.services import register_user
    from conversations.services import append_message, start_conversation
    from search import indexing

    texts: list[str] = []

    plain = embedder.embed_passages

    def noting(given: Sequence[str]) -> Any:
        texts.extend(given)
        return plain(given)

    user = register_user(username="indexed")
    talk = start_conversation(owner_id=user.pk)
    for number in range(count):
        if number % 20 == 0:
            talk = start_conversation(owner_id=user.pk)
        append_message(conversation=talk, role="user", content=maker.text())
    embedder.embed_passages = noting
    embedder.embed([maker.text() for _ in range(64)])
    began = time.perf_counter()
    while indexing.index_text() or indexing.index_semantic(embedder):
        pass
    ours = time.perf_counter() - began
    began = time.perf_counter()
    for at in range(0, len(texts), 512):
        plain(texts[at : at + 512])
    bare = time.perf_counter() - began
    rates = f"{len(texts) / ours:.0f} passages/s, bare encode {len(texts) / bare:.0f}/s"
    print(f"indexing {rates}: {100 * bare / ours:.0f} %", flush=True)


class _Bare:
    """The parts of a search, each called alone in the simplest way."""

    def __init__(self, embedder: Any, maker: Any) -> None:
        self.embedder, self.maker = embedder, maker

    def row(self, name: str, owner: Any, count: int) -> None:
        """Print the cost of one owner's search, divided by the sum of its separate parts."""
        from accounts.callers import Principal
        from search.backends import backend
        from search.queries import search_messages

        principal = Principal(owner.user.pk, owner.user.username)
        questions = [self.maker.question() for _ in range(count + 3)]
        vectors = self.embedder.embed_queries(questions)
        text_table = self._text_table(owner)
        matrix = self._matrix(owner)
        times: dict[str, list[float]] = {"search": [], "nearest": [], "vectors": [], "text": [], "model": []}
        asked: dict[str, Callable[[int], Any]] = {
            "search": lambda n: search_messages(principal, questions[n], limit=20),
            "nearest": lambda n: backend().nearest(
                [owner.partition], self.maker.embedder_id, vectors[n], CANDIDATES, None
            ),
            "vectors": lambda n: self._nearest(owner, vectors[n], matrix),
            "text": lambda n: self._text(text_table, questions[n]),
            "model": lambda n: self.embedder.embed_queries([f"{questions[n]} "]),
        }
        began = time.perf_counter()
        asked["search"](0)
        first = (time.perf_counter() - began) * 1000
        while getattr(backend(), "is_loading", False):  # the owner's vectors load while the first searches run
            asked["search"](1)
        # Run all variants in turn for each question, so that other load on the machine affects them alike.
        for number in range(len(questions)):
            for part, ask in asked.items():
                began = time.perf_counter()
                ask(number)
                if number >= 3:
                    times[part].append((time.perf_counter() - began) * 1000)
        middle = {part: float(np.median(found)) for part, found in times.items()}
        late = float(np.percentile(times["search"], 95))
        ratio = middle["search"] / (middle["vectors"] + middle["text"] + middle["model"])
        print(
            f"| {name} | {first:.0f} | {middle['search']:.1f} / {late:.1f} | {middle['nearest']:.1f} "
            f"| {middle['vectors']:.1f} | {middle['text']:.1f} | {middle['model']:.1f} "
            f"| {ratio:.2f}x | {self._recall(owner, vectors)} |",
            flush=True,
        )

    def everybodys(self, total: int, count: int) -> None:
        """Print the cost of a search by staff over all owners, with filters that half of the messages pass, and few."""
        from benchmarks.retrieval_rows import BEGAN
        from search.backends import backend
        from search.queries import Filters, search_everybody

        day = dt.timedelta(days=1)
        for name, words, without, filters in (
            ("by staff", 5, 0, Filters()),
            ("by staff, one word", 1, 0, Filters()),
            ("by staff, one `-word`", 4, 1, Filters()),
            ("by staff, answers only", 5, 0, Filters(roles=("assistant",))),
            ("by staff, of some days", 5, 0, Filters(after=BEGAN + day, before=BEGAN + 3 * day)),
        ):
            times = []
            for question in [self.maker.question() for _ in range(count + 3)]:
                asked = question.split()
                text = " ".join([*asked[:words], *(f"-{word}" for word in asked[words : words + without])])
                began = time.perf_counter()
                search_everybody(text, filters=filters, limit=20)
                times.append((time.perf_counter() - began) * 1000)
                while getattr(backend(), "is_loading", False):  # while the first searches run
                    time.sleep(0.1)
            middle, late = float(np.median(times[3:])), float(np.percentile(times[3:], 95))
            figures = f"{times[0]:.0f} | {middle:.0f} / {late:.0f}"
            print(f"| everybody's {total:,}, {name} | {figures} " + "| - " * 6 + "|", flush=True)
        print(f"recall@{RECALL_AT} of everybody's nearest: {self._recall_of_all(count)}", flush=True)

    def _recall_of_all(self, count: int) -> str:
        """Return which share of the ten nearest passages of everybody a search finds; SQLite scans all of them."""
        from django.db import connection

        from search.backends import backend

        if connection.vendor != "postgresql":
            return "1.000"
        found = 0
        for vector in self.embedder.embed_queries([self.maker.question() for _ in range(count)]):
            exact = _rows(
                "SELECT entry_id FROM search_passage WHERE embedder_id = %s ORDER BY vector <#> %s::halfvec LIMIT %s",
                [self.maker.embedder_id, _literal(vector), RECALL_AT],
            )
            ids, _ = backend().nearest(None, self.maker.embedder_id, vector, RECALL_AT, None)
            found += len({entry for (entry,) in exact} & set(ids.tolist()))
        return f"{found / count / RECALL_AT:.3f}"

    def _recall(self, owner: Any, vectors: np.ndarray) -> str:
        """Return which share of the ten truly nearest passages (in single precision) the index finds."""
        from search.backends import backend
        from search.models import PARTITION_SHIFT

        if not len(owner.vectors):
            return "-"
        found = wanted = 0
        for vector in vectors:
            most = min(RECALL_AT, owner.size)
            exact = set((np.argsort(-(owner.vectors @ vector), kind="stable")[:most] + 1).tolist())
            ids, _ = backend().nearest([owner.partition], self.maker.embedder_id, vector, most, None)
            found += len(exact & {int(entry) & ((1 << PARTITION_SHIFT) - 1) for entry in ids})
            wanted += most
        return f"{found / wanted:.3f}"

    def _matrix(self, owner: Any) -> np.ndarray | None:
        from django.db import connection

        return owner.vectors if connection.vendor != "postgresql" else None

    def _nearest(self, owner: Any, vector: np.ndarray, matrix: np.ndarray | None) -> Any:
        if matrix is not None:
            cosines = matrix @ vector
            best = np.argpartition(-cosines, min(CANDIDATES, len(cosines) - 1))[:CANDIDATES]
            return best[np.argsort(-cosines[best])]
        return _rows(
            "SELECT entry_id FROM search_passage WHERE partition_id = %s AND embedder_id = %s "
            "ORDER BY vector <#> %s::halfvec LIMIT %s",
            [owner.partition, self.maker.embedder_id, _literal(vector), CANDIDATES],
        )

    def _text_table(self, owner: Any) -> str:
        """Create a plain full-text index of this owner's messages."""
        from django.db import connection

        name = f"bare_text_{owner.partition}"
        with connection.cursor() as cursor:
            source = (
                "SELECT message.content FROM conversations_message message JOIN conversations_conversation talk "
                f"ON talk.id = message.conversation_id WHERE talk.owner_id = '{self._key(owner)}'"
            )
            if connection.vendor == "postgresql":
                cursor.execute(
                    f"CREATE TABLE {name} AS SELECT to_tsvector('english', content) AS document FROM ({source}) s"
                )
                cursor.execute(f"CREATE INDEX ON {name} USING gin (document)")
                cursor.execute(f"VACUUM ANALYZE {name}")
            else:
                cursor.execute(f"CREATE VIRTUAL TABLE {name} USING fts5(content, tokenize = 'porter unicode61')")
                cursor.execute(f"INSERT INTO {name} (content) {source}")
        return name

    def _key(self, owner: Any) -> str:
        from django.db import connection

        return str(owner.user.pk) if connection.vendor == "postgresql" else owner.user.pk.hex

    def _text(self, table: str, question: str) -> Any:
        from django.db import connection

        words = question.split()
        if connection.vendor == "postgresql":
            return _rows(
                f"SELECT ctid FROM {table}, to_tsquery('english', %s) query WHERE document @@ query "
                "ORDER BY ts_rank(document, query) DESC LIMIT %s",
                [" | ".join(words), CANDIDATES],
            )
        return _rows(
            f"SELECT rowid FROM {table} WHERE {table} MATCH %s ORDER BY rank LIMIT %s",
            [" OR ".join(words), CANDIDATES],
        )


def _inserting(maker: Any, owner: Any) -> None:
    """Insert passages next to those of a large owner, and into the same table without the vector index."""
    from django.db import connection, transaction

    from benchmarks.retrieval_rows import insert_passages
    from search.models import PARTITION_SHIFT

    rates = {}
    entries = [owner.partition << PARTITION_SHIFT | owner.size + 1 + n for n in range(INSERTS)]
    index = "search_passage_covering" if connection.vendor == "postgresql" else "search_passage_partition"
    for name in ("with", "without"):
        vectors = maker.vectors(INSERTS)
        if name == "without":
            with connection.cursor() as cursor:
                cursor.execute(
                    "DELETE FROM search_passage WHERE entry_id >= %s AND entry_id <= %s", [entries[0], entries[-1]]
                )
                cursor.execute(f"DROP INDEX {index}")
        began = time.perf_counter()
        for at in range(0, INSERTS, 64):
            with transaction.atomic():
                part = slice(at, at + 64)
                insert_passages(owner.partition, maker.embedder_id, entries[part], vectors[part])
        rates[name] = INSERTS / (time.perf_counter() - began)
    share = rates["with"] / rates["without"]
    beside, alone = rates["with"], rates["without"]
    print(f"inserts/s, 64 at once: {beside:,.0f} with the vectors' index, {alone:,.0f} without: {share:.2f}")


def _literal(vector: np.ndarray) -> str:
    return f"[{','.join(f'{value:.6g}' for value in vector)}]"


def _rows(sql: str, parameters: list[Any]) -> list[Any]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


if __name__ == "__main__":
    sys.exit(main())
