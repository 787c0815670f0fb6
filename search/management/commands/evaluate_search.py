"""`manage.py evaluate_search FILE`: import a judged set, ask its questions over HTTP, and measure the answers."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.models import User
from accounts.services import delete_user, issue_api_key, register_user
from conversations.models import Conversation, Message
from conversations.services import start_conversation
from search.evaluation import DEPTHS, BadFile, History, Question, Scores, read_judged
from search.results import Mode

READY_SECONDS = 60
HEADINGS = [*(f"recall@{depth}" for depth in DEPTHS), "MRR", "nDCG@10"]


class Command(BaseCommand):
    help = "Measure search on judged histories: recall, MRR and nDCG by category, and how long a question takes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--owner-per-history", action="store_true", help="give each history its own owner")
        parser.add_argument("--mode", choices=[str(mode) for mode in Mode], default=str(Mode.HYBRID))
        parser.add_argument("--url", help="a running service on this database; otherwise one is started")
        parser.add_argument("--keep", action="store_true", help="leave the imported histories in the database")

    def handle(
        self, *args: Any, file: Path, owner_per_history: bool, mode: str, url: str, keep: bool, **options: Any
    ) -> None:
        try:
            histories, questions = read_judged(file)
        except BadFile as error:
            raise CommandError(str(error)) from error
        owners: dict[str, User] = {}
        try:
            names: dict[str, tuple[str, str]] = {}
            for history in histories:
                whose = history.id if owner_per_history else "all"
                if whose not in owners:
                    owners[whose] = register_user(username=f"evaluation-{secrets.token_hex(6)}")
                names |= import_history(history, owners[whose])
            self.stdout.write(f"{len(names)} messages of {len(histories)} histories, {len(questions)} questions")
            call_command("index_messages", stdout=self.stdout, stderr=self.stderr)
            keys = {whose: issue_api_key(user=user, name="evaluation")[1] for whose, user in owners.items()}
            with _service(url) as address:
                ask = _asker(address, mode)
                scores, times = self._ask(questions, ask, lambda each: keys.get(each.history) or keys["all"], names)
        finally:
            if not keep:
                for user in owners.values():
                    delete_user(user=user)
        self._print(scores, times)

    def _ask(
        self,
        questions: list[Question],
        ask: Callable[[str, str], list[str]],
        key_for: Any,
        names: dict[str, tuple[str, str]],
    ) -> tuple[dict[str, Scores], list[float]]:
        scores: dict[str, Scores] = {"all": Scores()}
        times = []
        for question in questions:
            began = time.perf_counter()
            found = [names.get(each, ("", "")) for each in ask(key_for(question), question.text)]
            times.append((time.perf_counter() - began) * 1000)
            for category in ("all", question.category):
                scores.setdefault(category, Scores()).add(found, question.evidence)
        return scores, times

    def _print(self, scores: dict[str, Scores], times: list[float]) -> None:
        self.stdout.write(f"{'':14}{'questions':>10}" + "".join(f"{heading:>11}" for heading in HEADINGS))
        for category, score in scores.items():
            self.stdout.write(f"{category:14}{score.count:10}" + "".join(f"{value:11.4f}" for value in score.row()))
        middle, late = (float(np.percentile(times, part)) for part in (50, 95))
        self.stdout.write(f"A question over HTTP: p50 {middle:.1f} ms, p95 {late:.1f} ms")


@transaction.atomic
def import_history(history: History, owner: User) -> dict[str, tuple[str, str]]:
    """Store each session as a conversation of `owner`; returns the keys of its messages by their new ids."""
    names: dict[str, tuple[str, str]] = {}
    for sitting in history.sittings:
        conversation = start_conversation(owner_id=owner.pk)
        first = sitting[0].speaker
        rows = [
            Message(
                conversation=conversation,
                position=position,
                role=Message.Role.USER if line.speaker == first else Message.Role.ASSISTANT,
                author=line.speaker,
                content=line.content,
                created_at=line.at,
            )
            for position, line in enumerate(sitting, start=1)
        ]
        for above, below in pairwise(rows):
            below.parent = above
        Message.objects.bulk_create(rows)
        Conversation.objects.filter(pk=conversation.pk).update(head=rows[-1], next_position=len(rows) + 1)
        names |= {str(row.pk): line.key for row, line in zip(rows, sitting, strict=True)}
    return names


def _asker(url: str, mode: str) -> Callable[[str, str], list[str]]:
    """Return a function that searches with the service and returns the ids of the messages found."""
    client = httpx2.Client(base_url=url, timeout=60, trust_env=False)

    def ask(key: str, text: str) -> list[str]:
        while True:
            response = client.get(
                "/v1/chat/search",
                params={"q": text, "mode": mode, "limit": max(DEPTHS)},
                headers={"Authorization": f"Bearer {key}"},
            )
            if response.status_code == 429:
                time.sleep(int(response.headers.get("retry-after", 1)))
                continue
            if response.status_code != 200:
                raise CommandError(f"The search answered with status {response.status_code}.")
            answer = response.json()
            if answer["meta"]["mode"] == mode:
                return [hit["message"]["id"] for hit in answer["data"]]
            time.sleep(0.5)  # its embedder is still loading

    return ask


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
