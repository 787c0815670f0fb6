"""A database of the previous version is migrated, and every API gives the same answers as before.

The databases and the answers were recorded with that version; `tests/upgrade/record.py` explains how. Answers may gain
fields, and error texts may change (docs/upgrading.md). All other differences are listed below, with the reason.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from django.db import connection

from chatservice.testing import ROOT, Service, needs_dialect, running_service, wait_until
from chatservice.tests.migrating import Execute, MigrationTestCase
from tests.upgrade.asking import Asker, Record
from tests.upgrade.databases import SECRETS, load_answers, load_database, question_of
from tests.upgrade.material import BOATS, MESSAGES

needs_dialect("chat", "chat_v1", "graphql", "openai_v1", "resources", "websocket")

# Retention of a hundred years, so nothing expires. No models, because the previous version gave all answers.
SETTINGS = {
    **SECRETS,
    "UPSTREAMS": "{}",
    "CHUNK_HOURS": "876000",
    "IDEMPOTENCY_DAYS": "36500",
    "RETENTION_GUEST_DAYS": "0",
    "RETENTION_GUEST_EMPTY_HOURS": "0",
    "RETENTION_ACCESS_LOG_DAYS": "0",
}
# 2026.11.0: a refusal's text is now the message's content, which was empty, and can be searched.
REFUSALS = (("", "I cannot."), ("", "<p>I cannot.</p>\n"))
# Unreleased: only the first chunk of a stream has the role, since clients would join a repeated one.
FIRST_CHUNK, ROLE = ".body[0].", "delta.role"
# Unreleased: the id of a stored completion is our own, by which it can be read again.
COMPLETION = "chatcmpl-"
# The refusals add words to the index, so the weight of each word changes slightly.
SCORES = ("score", "text_score", "textScore")
SCORE_TOLERANCE = 0.005
# What a hit of a search has or has not, depending on which message it is.
NEIGHBOURS = ("before", "after")
SHAPE_DEPTH = 3
# 2026.11.0: message parts are separate rows; comparing the conversation exports covers them.
MOVED = {"conversations.message": ("parts",)}
RENAMED = {"conversations.look": "conversations.accesslogentry"}
# Counters of limits, which the requests themselves change.
COUNTERS = "accounts.ratewindow"
USAGE = "GET /v1/chat/me/usage"


class UpgradeTest(MigrationTestCase):
    maxDiff = None

    def test_every_api_answers_as_before(self) -> None:
        keys, records = load_answers(connection.vendor)
        with self.database() as (url, execute):
            load_database(url)
            settings = {**SETTINGS, "DATABASE_URL": url}
            manage(settings, "migrate")
            with (
                running_service(**settings) as service,
                closing(Asker(service.url, keys, lambda *arguments: manage(settings, *arguments))) as asker,
            ):
                wait_until(lambda: not execute("SELECT 1 FROM search_pendingmessage LIMIT 1"), what="the index")
                self.compare(asker, [each for each in records if USAGE not in each["ask"]])
                self.compare_usage(asker, [each for each in records if USAGE in each["ask"]], execute)
                self.compare_continuation(asker)
            self.assertIn("0 accounts differ", manage(settings, "recount_storage", "--dry-run"))

    def compare(self, asker: Asker, records: list[Record]) -> None:
        for record in records:
            with self.subTest(who=record.get("who"), ask=record["ask"], body=record.get("body")):
                before, after = comparable(record["answer"]), comparable(asker.ask(question_of(record)))
                if is_ranked(record):
                    before, after = shape_of(before), shape_of(after)
                self.assertEqual([*differences(before, after)], [])

    def compare_usage(self, asker: Asker, records: list[Record], execute: Execute) -> None:
        """The usage API covers recent days only, so shift all usage to the present for comparison.

        Unreleased: it has more fields, and reads a ledger that a migration fills.
        """
        execute("UPDATE usage_dailyusage SET day = CURRENT_DATE")
        for record in records:
            with self.subTest(who=record["who"], ask=record["ask"]):
                answers = (record["answer"], asker.ask(question_of(record)))
                before, after = ([{**each, "day": ""} for each in one["body"].get("data", ())] for one in answers)
                names = before[0].keys() if before else ()
                self.assertEqual(before, [{name: each[name] for name in names} for each in after])

    def compare_continuation(self, asker: Asker) -> None:
        """Continue old conversations: by their id, and by an OpenAI call that resends its messages."""

        def ask(request: str, body: Any = None) -> Any:
            return asker.ask({"who": "alice", "ask": request, "body": body})

        found = ask("GET /v1/chat/search?q=neither&mode=text")["body"]["data"]
        [conversation] = {each["conversation"]["id"] for each in found}
        path = "POST /v1/chat/completions"
        said, goes_on = {"role": "assistant", "content": "Hello wörld 🙂!"}, {"role": "user", "content": "And now?"}
        branch = [*MESSAGES[:4], {"role": "user", "content": "Neither of them."}, said, goes_on]
        self.assertEqual(ask(path, {"messages": branch})["headers"]["x-conversation-id"], conversation)
        # Unreleased: pictures are files now, so a history with pictures begins a new conversation, once.
        more = [*MESSAGES, said, goes_on]
        begun = ask(path, {"messages": more})
        self.assertNotEqual(begun["headers"]["x-conversation-id"], conversation)
        more += [begun["body"]["choices"][0]["message"], goes_on]
        self.assertEqual(
            ask(path, {"messages": more})["headers"]["x-conversation-id"], begun["headers"]["x-conversation-id"]
        )
        again = {"content": BOATS}
        self.assertEqual(ask(f"POST /v1/chat/conversations/{conversation}/messages", again)["status"], 201)


def manage(settings: dict[str, str], *arguments: str) -> str:
    """Run a command as the service with these settings would."""
    command = [sys.executable, "manage.py", *arguments]
    environment = Service(env=settings).environment()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def comparable(value: Any) -> Any:
    """Return an answer without texts that may change, and the rows of an export by their name and key."""
    if isinstance(value, dict):
        # Error texts may change, but codes may not.
        return {name: comparable(each) for name, each in value.items() if not (name == "message" and "code" in value)}
    if not isinstance(value, list):
        return value
    if value and isinstance(value[0], dict) and value[0].keys() == {"model", "row"}:
        return dict(by_key(each["model"], each["row"]) for each in value if each["model"] != COUNTERS)
    return [comparable(each) for each in value]


def by_key(model: str, row: dict[str, Any]) -> tuple[str, Any]:
    key = [row[name] for name in ("id", "run_id", "seq", "user_id") if name in row][:2]
    return f"{RENAMED.get(model, model)} {key}", {name: row[name] for name in row if name not in MOVED.get(model, ())}


def differences(before: Any, after: Any, place: str = "") -> Iterator[str]:
    """Yield where an answer differs from the previous one; added fields do not count."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            told_before = f"{place}.{name}".endswith(ROLE) and not place.startswith(FIRST_CHUNK) and name not in after
            if not told_before and not (name in SCORES and is_close(value, after.get(name))):
                yield from differences(value, after.get(name, "(gone)"), f"{place}.{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{place}[{number}]")
    elif place.endswith(".id") and all(str(each).startswith(COMPLETION) for each in (before, after)):
        return
    elif place.endswith(".html") and str(after).replace("<br>\n", "\n") == before:
        return  # Unreleased: the line breaks of what people wrote are shown
    elif (before != after or type(before) is not type(after)) and (before, after) not in REFUSALS:
        yield f"{place}: {before!r} is now {after!r}"


def is_ranked(record: Record) -> bool:
    """Tell whether a search answered. Unreleased: its hits have another order, and other scores."""
    return "search" in f"{record['ask']} {record.get('body')}"


def shape_of(value: Any, depth: int = 0) -> Any:
    """Return the names and the numbers of rows of an answer, without what depends on which messages were found."""
    if depth > SHAPE_DEPTH:
        return "…"
    if isinstance(value, dict):
        return {name: shape_of(each, depth + 1) for name, each in value.items() if name not in NEIGHBOURS}
    if value and isinstance(value, list) and all(isinstance(each, dict) for each in value):
        return [shape_of(each, depth + 1) for each in value]
    return value if isinstance(value, int) and depth == 1 else "…"  # a status


def is_close(before: Any, after: Any) -> bool:
    scores = isinstance(before, float) and isinstance(after, float)
    return scores and math.isclose(before, after, abs_tol=SCORE_TOLERANCE)
