"""`manage.py evaluate_search FILE`: import a judged set, ask its questions over HTTP, and measure the answers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.services import issue_api_key
from search import published_sets, reranking
from search.evaluation import DEPTHS, JudgedSet, Question, Scores
from search.judged_files import BadFile, read_judged
from search.judged_import import ALL, imported
from search.published_sets import RecallScores
from search.results import Group, Mode

READY_SECONDS = 60
MAX_QUERY_CHARS = 1000  # of the API
Table = tuple[Sequence[str], Mapping[str, Scores | RecallScores]]
HEADINGS = [*(f"recall@{depth}" for depth in DEPTHS), "MRR", "nDCG@10"]


class Command(BaseCommand):
    help = "Measure search on judged histories: recall, MRR and nDCG by category, and how long a question takes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--owner-per-history", action="store_true", help="give each history its own owner")
        parser.add_argument("--mode", choices=[str(mode) for mode in Mode], default=str(Mode.HYBRID))
        parser.add_argument("--url", help="a running service on this database; otherwise one is started")
        parser.add_argument("--questions", type=int, help="ask only so many, evenly spread, and import their histories")
        parser.add_argument("--keep", action="store_true", help="leave the imported histories in the database")

    def handle(
        self,
        *args: Any,
        file: Path,
        owner_per_history: bool,
        mode: str,
        url: str,
        questions: int | None,
        keep: bool,
        **options: Any,
    ) -> None:
        try:
            judged = read_judged(file)
        except BadFile as error:
            raise CommandError(str(error)) from error
        if questions:
            judged = judged.limited(questions)
        # A published set asks each question of one history alone.
        alone = owner_per_history or bool(judged.name)
        with imported(judged.histories, owner_per_history=alone, keep=keep) as stored:
            asked = f"{len(judged.questions)} questions"
            self.stdout.write(f"{len(stored.names)} messages of {len(judged.histories)} histories, {asked}")
            call_command("index_messages", stdout=self.stdout, stderr=self.stderr)
            keys = {whose: issue_api_key(user=user, name="evaluation")[1] for whose, user in stored.owners.items()}
            with _service(url) as address, httpx2.Client(base_url=address, timeout=60, trust_env=False) as client:
                search = Search(client, mode, keys, stored.names, judged.role)
                tables = _published(judged, search) if judged.name else _own(judged, search)
        for headings, scores in tables:
            self._print(headings, scores)
        middle, late = (float(np.percentile(search.times, part)) for part in (50, 95)) if search.times else (0.0, 0.0)
        self.stdout.write(f"A question over HTTP: p50 {middle:.1f} ms, p95 {late:.1f} ms")

    def _print(self, headings: Sequence[str], scores: Mapping[str, Scores | RecallScores]) -> None:
        self.stdout.write(f"{'':26}{'questions':>10}" + "".join(f"{heading:>15}" for heading in headings))
        for category, score in scores.items():
            self.stdout.write(f"{category:26}{score.count:10}" + "".join(f"{value:15.4f}" for value in score.row()))


def _own(judged: JudgedSet, search: Search) -> list[Table]:
    """Return the scores of a set of our own, by category."""
    scores: dict[str, Scores] = {"all": Scores()}
    for question in judged.questions:
        found = search.find(question)
        for category in ("all", question.category):
            scores.setdefault(category, Scores()).add(found, question.evidence)
    return [(HEADINGS, scores)]


def _published(judged: JudgedSet, search: Search) -> list[Table]:
    """Return the recall of sessions, and of single turns, by category."""
    session_of = {
        line.key: (history.id, number)
        for history in judged.histories
        for number, sitting in enumerate(history.sittings)
        for line in sitting
    }
    sessions: dict[str, RecallScores] = {"all sessions": RecallScores()}
    turns: dict[str, RecallScores] = {"all turns": RecallScores()}
    for question in judged.questions:
        best = [session_of[each] for each in search.find(question, group=Group.CONVERSATION)]
        said_in = frozenset(session_of[each] for each in question.evidence)
        for category in ("all sessions", question.category):
            sessions.setdefault(category, RecallScores()).add(best, said_in)
        found = search.find(question)
        for category in ("all turns", question.category):
            turns.setdefault(category, RecallScores()).add(found, question.evidence)
    return [(published_sets.HEADINGS, sessions), (published_sets.HEADINGS, turns)]


class Search:
    """Searches over HTTP, as the owner of a question's history. `times` are in milliseconds."""

    def __init__(
        self, client: httpx2.Client, mode: str, keys: Mapping[str, str], names: Mapping[str, tuple[str, str]], role: str
    ) -> None:
        self._client, self._mode, self._keys, self._names, self._role = client, mode, keys, names, role
        self.times: list[float] = []

    def find(self, question: Question, *, group: Group | None = None) -> list[tuple[str, str]]:
        """Return the keys of the messages found, best first; with `group` of the best of each session."""
        params = {"q": question.text[:MAX_QUERY_CHARS], "mode": self._mode, "limit": str(max(DEPTHS))}
        if self._role:
            params["role"] = self._role
        if group:
            params["group"] = str(group)
        key = self._keys.get(question.history) or self._keys[ALL]
        while True:
            began = time.perf_counter()
            response = self._client.get("/v1/chat/search", params=params, headers={"Authorization": f"Bearer {key}"})
            if response.status_code == 429:
                time.sleep(int(response.headers.get("retry-after", 1)))
                continue
            if response.status_code != 200:
                raise CommandError(f"The search answered with status {response.status_code}.")
            answer = response.json()
            meta = answer["meta"]
            if meta["mode"] == self._mode and meta["why"] != reranking.LOADING:
                self.times.append((time.perf_counter() - began) * 1000)
                return [self._names[hit["message"]["id"]] for hit in answer["data"]]
            time.sleep(0.5)  # its embedder or reranker is still loading


@contextmanager
def _service(url: str | None) -> Iterator[str]:
    """Run the service on this database for as long as the block lasts, unless one is given."""
    if url:
        yield url
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "LIMIT_READS_PER_MINUTE": "0",
        "SEARCH_INDEXER": "false",
    }
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "manage.py", "serve", "--no-migrate"]
    process = subprocess.Popen(command, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait_until_ready(process, address)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_ready(process: subprocess.Popen[bytes], address: str) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx2.get(f"{address}/readyz", timeout=2, trust_env=False).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.1)
    raise CommandError("The service did not start.")
