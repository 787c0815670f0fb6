"""Migrating the column `parts` to rows and back changes no message."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from typing import Any

from django.db import connection

from chatservice import testing
from chatservice.testing import tried_once
from chatservice.tests.migrating import Execute, MigrationTestCase
from chatservice.tests.test_access_log_migration import PERSON
from conversations import digests
from conversations.models import MessagePart

BEFORE, RUNS_BEFORE = ("conversations", "0010"), ("completions", "0007")
USAGE = {
    "prompt_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens": 2,
    "completion_tokens_details": {"reasoning_tokens": 1},
}
RUN = (
    "INSERT INTO completions_run (id, user_id, address, upstream, model, parameters, state, exclusive, epoch, worker, "
    "lease_until, usage, finish_reason, error_code, error_message, http_status, created_at) VALUES ('{id}', '{owner}', "
    "'', '', 'm', '{{}}', 'complete', {yes}, 1, '', 0, {usage}, '', '', '', 200, '2026-11-21 10:00:00')"
)
ALICE, TALK = uuid.UUID(int=1), uuid.UUID(int=2)
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
ODD_CALL = {**CALL, "extra": {"signature": "é"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
TEXT = {"type": "text", "text": "See"}
# Role, content and author, and the content of `parts`.
STORED: tuple[tuple[str, str, str, Any], ...] = (
    ("system", "Be brief", "", None),
    ("user", "Hi", "Zoë", None),
    ("user", "See", "", {"content": [TEXT, IMAGE, {"type": "file", "file": {"file_id": "f1"}}]}),
    ("user", "See", "Al", {"content": [TEXT]}),
    ("user", "", "", {"content": [{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}]}),
    ("assistant", "", "", {"content": None, "tool_calls": [CALL, ODD_CALL, {"type": "custom", "custom": {}}]}),
    ("tool", "42", "", {"tool_call_id": "c1"}),
    ("assistant", "", "", {"refusal": "I cannot."}),
    ("assistant", "Well", "", {"refusal": None, "annotations": [{"type": "url_citation", "url_citation": {}}]}),
    ("assistant", "So", "", {"reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm"}]}),
    ("assistant", "", "", {"audio": {"id": "a1", "data": "AA", "transcript": "Hello", "expires_at": 5}}),
    ("assistant", "", "", {"content": None, "function_call": {"name": "f", "arguments": "{}"}}),
    ("user", "hm", "", {"role": "critic"}),
    ("user", "odd", "", {"content": "other", "name": None, "mood": {"a": [1, None, {"b": 0.5}]}}),
    ("assistant", "", "", None),
    ("assistant", "empty", "", {}),
)
MESSAGE = (
    "INSERT INTO conversations_message (id, conversation_id, parent_id, position, role, content, parts, author, model, "
    "upstream, status, finish_reason, digest, created_at) VALUES ('{id}', '{talk}', {parent}, {position}, '{role}', "
    "'{content}', {parts}, '{author}', 'm', '', 'complete', '', '{digest}', '2026-11-21 10:00:00')"
)
READ = """
import json
import django
from django.core.management import call_command
django.setup()
call_command("migrate", verbosity=0)
from conversations import quota
from conversations.exporters import export_conversations
from completions.models import Run
from conversations.models import Conversation, Message, MessagePart
from completions.token_counts import PATHS
rows = Message.objects.order_by("position")
parts = MessagePart.objects.order_by("message__position", "position")
print(json.dumps({
    "wires": [row.as_wire() for row in rows],
    "extras": [row.extras() for row in rows],
    "contents": [row.content for row in rows],
    "digests": [row.digest for row in rows],
    "parts": list(parts.values_list("message__position", "kind")),
    "has_parts": [row.position for row in rows if row.has_parts],
    "tokens": list(Run.objects.order_by("id").values_list(*PATHS)),
    "drifts": len(list(quota.drifts())),
    "jsonl": "".join(export_conversations(Conversation.objects.all(), "jsonl")),
}))
"""
# Run the migration and let it fail in the middle of its second batch.
KILLED = """
import importlib, os
import django
from django.core.management import call_command
django.setup()
migration = importlib.import_module("conversations.migrations.0012_fill_message_parts")
migration.BATCH = 3
split, calls = migration.chat_wire.split, []
def dying(wire):
    calls.append(wire)
    return split(wire) if len(calls) < 6 else os._exit(9)
migration.chat_wire.split = dying
call_command("migrate", "conversations", "0013", verbosity=0)
"""


def wire_before(role: str, content: str, author: str, parts: Any) -> dict[str, Any]:
    """Return a message's wire form from before parts became rows."""
    return {"role": role, "content": content} | ({"name": author} if author else {}) | (parts or {})


@tried_once
class MessagePartsMigrationTest(MigrationTestCase):
    def test_messages_of_every_kind_say_the_same_afterwards(self) -> None:
        with self.database() as (url, execute):
            self.migrate(url, BEFORE, RUNS_BEFORE)
            stored = self.fill(execute)
            self.assert_complete(self.migrated(url))
            self.migrate(url, BEFORE)
            self.assertEqual(self.rows(execute), stored)
            self.assert_complete(self.migrated(url))

    def test_a_killed_migration_goes_on_where_it_stopped(self) -> None:
        with self.database() as (url, execute):
            self.migrate(url, BEFORE, RUNS_BEFORE)
            self.fill(execute)
            self.assertEqual(self.run_script(url, KILLED).returncode, 9)
            [(moved,)] = execute("SELECT count(*) FROM conversations_message WHERE has_parts")
            self.assertTrue(0 < moved < sum(bool(parts) for *_, parts in STORED))
            self.assert_complete(self.migrated(url))

    def fill(self, execute: Execute) -> list[tuple[Any, ...]]:
        """Store a conversation with messages of every kind; return its rows."""
        yes, no = ("true", "false") if connection.vendor == "postgresql" else ("1", "0")
        execute(PERSON.format(id=ALICE.hex, name="alice", yes=yes, no=no))
        execute(
            "INSERT INTO conversations_conversation (id, owner_id, title, end_user, metadata, next_position, "
            f"created_at, updated_at) VALUES ('{TALK.hex}', '{ALICE.hex}', 'Talk', '', '{{}}', 99, "
            "'2026-11-21 10:00:00', '2026-11-21 10:00:00')"
        )
        digest, parent = digests.root(ALICE), "NULL"
        for position, (role, content, author, parts) in enumerate(STORED, 1):
            digest = digests.follow(digest, wire_before(role, content, author, parts))
            pk = uuid.UUID(int=100 + position).hex
            told = "NULL" if parts is None else f"'{json.dumps(parts)}'"
            execute(
                MESSAGE.format(
                    id=pk,
                    talk=TALK.hex,
                    parent=parent,
                    position=position,
                    role=role,
                    content=content,
                    parts=told,
                    author=author,
                    digest=digest,
                )  # fmt: skip
            )
            parent = f"'{pk}'"
        for number, usage in enumerate((json.dumps(USAGE), '{"prompt_tokens": "many"}', None)):
            told = "NULL" if usage is None else f"'{usage}'"
            execute(RUN.format(id=uuid.UUID(int=200 + number).hex, owner=ALICE.hex, yes=yes, usage=told))
        execute(f"UPDATE conversations_conversation SET head_id = {parent}")
        return self.rows(execute)

    def rows(self, execute: Execute) -> list[tuple[Any, ...]]:
        found = execute("SELECT position, role, content, author, parts, digest FROM conversations_message ORDER BY 1")
        return [(*row[:4], _decoded(row[4]) or None, row[5]) for row in found]

    def migrated(self, url: str) -> dict[str, Any]:
        done = self.run_script(url, READ)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def run_script(self, url: str, script: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "ENV_FILE": os.devnull, "DATABASE_URL": url, "SQLITE_SYNCHRONOUS": "OFF"}
        environment["DJANGO_SETTINGS_MODULE"] = "chatservice.settings"
        return subprocess.run(
            [sys.executable, "-c", script], cwd=testing.ROOT, env=environment, capture_output=True, text=True
        )

    def assert_complete(self, found: dict[str, Any]) -> None:
        wires = [wire_before(*row) for row in STORED]
        self.assertEqual(found["wires"], wires)
        self.assertEqual(found["extras"], [parts or None for *_, parts in STORED])
        self.assertEqual(found["digests"], digests.chain(digests.root(ALICE), wires))
        contents = [content or ("I cannot." if (parts or {}).get("refusal") else "") for _, content, _, parts in STORED]
        self.assertEqual(found["contents"], contents)
        with_parts = [position for position, (*_, parts) in enumerate(STORED, 1) if parts]
        self.assertEqual(found["has_parts"], with_parts)
        self.assertEqual(sorted({position for position, _ in found["parts"]}), with_parts)
        self.assertEqual({kind for _, kind in found["parts"]}, set(MessagePart.Kind.values))
        self.assertEqual(found["drifts"], 0)
        self.assertEqual(found["tokens"], [[7, 3, 2, 1], [None] * 4, [None] * 4])
        empty = {"role": "assistant", "content": ""}
        self.assertEqual(json.loads(found["jsonl"])["messages"], [wire for wire in wires if wire != empty])


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
