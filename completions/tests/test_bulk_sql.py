"""The hand-written statements store the same as the models would."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import NOT_PROVIDED
from django.test import TestCase
from django.utils import timezone

from completions.bulk_sql import pipelined
from completions.models import Chunk, Run
from completions.rows import INSERT_CONVERSATION, INSERT_KEY, INSERT_MESSAGE, INSERT_RUN, MOVE_HEAD
from completions.run_results import FINISH_MESSAGE, FINISH_RUN, INSERT_CHUNK
from completions.tests.asking import accept_one, question, run_of, somebody
from conversations.models import Conversation, Message
from foundation.database import prepared_cursor

INSERTS = (INSERT_CONVERSATION, INSERT_MESSAGE, INSERT_RUN, INSERT_KEY, INSERT_CHUNK)


class StatementTest(TestCase):
    def test_every_column_that_needs_a_value_gets_one(self):
        for insert in INSERTS:
            for field in insert.model._meta.concrete_fields:
                if field.name in insert.names or field.null or getattr(field, "auto_created", False):
                    continue
                self.assertIsNot(field.db_default, NOT_PROVIDED, f"{insert.model.__name__}.{field.name}")

    def test_a_row_has_the_models_own_defaults_everywhere_else(self):
        alice = somebody("alice")
        now = timezone.now()
        talk, message, run = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
        given: list[tuple[Any, dict[str, Any]]] = [
            (INSERT_CONVERSATION, {"id": talk, "owner": alice.pk, "created_at": now, "updated_at": now}),
            (INSERT_MESSAGE, {"id": message, "conversation": talk, "position": 1, "role": "user", "created_at": now}),
            (
                INSERT_RUN,
                {"id": run, "user": alice.pk, "upstream": "u", "model": "m", "worker": "w", "lease_until": 1.5}
                | {"created_at": now, "message": message, "conversation": talk},
            ),
            (INSERT_CHUNK, {"run": run, "seq": 1, "end": 1, "text": "x"}),
        ]
        with connection.cursor() as cursor:
            for insert, values in given:
                insert.execute(cursor, [values])
        for insert, values in given:
            row = insert.model.objects.get()
            fields = {field.name: field for field in insert.model._meta.concrete_fields}
            model = insert.model(**{fields[name].attname: value for name, value in values.items()})
            for field in fields.values():
                if field.attname != "pk":
                    self.assertEqual(getattr(row, field.attname), getattr(model, field.attname), field)

    def test_the_names_are_fields_and_stand_once(self):
        for statement in (*INSERTS, MOVE_HEAD, FINISH_RUN, FINISH_MESSAGE):
            self.assertEqual(len(set(statement.names)), len(statement.names))
            self.assertEqual([field.name for field in statement.fields], list(statement.names))

    def test_many_rows_are_as_good_as_one(self):
        handle = accept_one(question(somebody("alice"), "Hi"))
        rows = [{"run": handle.run_id, "seq": n, "end": n, "text": "é", "wire": [{"n": n}]} for n in (1, 2, 3)]
        with connection.cursor() as cursor:
            INSERT_CHUNK.execute(cursor, rows)
            INSERT_CHUNK.execute(cursor, [])
        kept = [(row.seq, row.end, row.text, row.wire) for row in Chunk.objects.order_by("seq")]
        self.assertEqual(kept, [(n, n, "é", [{"n": n}]) for n in (1, 2, 3)])

    def test_an_update_tells_whether_the_row_was_there_and_its_condition_held(self):
        handle = accept_one(question(somebody("alice"), "Hi"))
        run = run_of(handle)
        values = {name: getattr(run, name) for name in FINISH_RUN.names} | {"state": "complete", "usage": {"a": [1]}}
        with connection.cursor() as cursor:
            self.assertFalse(FINISH_RUN.execute(cursor, run.pk, values, "somebody else"))
            self.assertFalse(FINISH_RUN.execute(cursor, uuid.uuid4(), values, run.worker))
            self.assertEqual(Run.objects.get().state, "running")
            self.assertTrue(FINISH_RUN.execute(cursor, run.pk, values, run.worker))
            self.assertFalse(FINISH_RUN.execute(cursor, run.pk, values, run.worker))
        run.refresh_from_db()
        self.assertEqual((run.state, run.usage), ("complete", {"a": [1]}))

    def test_odd_texts_and_structures_survive(self):
        text = "'; DROP TABLE x; -- %s \\ \" ü 🙂 \u202e\r\n\t"
        tree = {"%s": [None, True, 1.5, 10**18, {"ü": text}]}
        handle = accept_one(question(somebody("alice"), text, metadata=tree, parameters=tree))
        self.assertEqual(Conversation.objects.get().metadata, tree)
        self.assertEqual(run_of(handle).parameters, tree)
        self.assertEqual(Message.objects.get(role="user").content, text)

    def test_an_error_that_a_pipeline_brings_in_the_end_is_one_of_django(self):
        """An outage that was not known as one failed what a second try would have stored."""
        with self.assertRaises(IntegrityError), transaction.atomic(), pipelined(), prepared_cursor() as cursor:
            INSERT_CHUNK.execute(cursor, [{"run": uuid.uuid4(), "seq": 1, "end": 1, "text": None, "wire": None}])
