"""Databases created by earlier versions get the current schema, and keep their rows.

Some come from a version of a migration that had another number, others from versions that built the index outside of
migrations. Whole versions are migrated by tests/test_older_versions.py.
"""

from __future__ import annotations

import json
from typing import Any

from django.db import connection

from chatservice.testing import tried_on
from chatservice.tests.migrating import Execute, MigrationTestCase
from search.analysis import stems, term_of
from search.backends import postgres_schema, sqlite_schema
from search.embedders.hashing import HashingEmbedder
from search.tables import TABLES

# completions.0005_runs_by_model had another number for some hours.
FORMER_NUMBER = (
    'CREATE INDEX "run_by_model" ON "completions_run" ("model", "id" DESC)',
    "INSERT INTO django_migrations (app, name, applied) "
    "VALUES ('completions', '0004_runs_by_model', '2026-11-24 16:28:45')",
)
CATALOG = {
    "columns": "SELECT table_name, column_name, udt_name, is_nullable, column_default, character_maximum_length "
    "FROM information_schema.columns WHERE table_schema = 'public'",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace",
    "triggers": "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
}
# What search created after its migration 0003.
INDEX = {
    "sqlite": (
        "ALTER TABLE search_entry ADD COLUMN terms text NOT NULL DEFAULT ''",
        "ALTER TABLE search_passage ADD COLUMN vector blob NOT NULL DEFAULT x''",
        "CREATE INDEX search_passage_space ON search_passage (space_id, embedder_id, id)",
        "CREATE INDEX search_entry_row ON search_entry (id, before, before_that, length)",
        "CREATE VIRTUAL TABLE search_text USING fts5(terms, content='search_entry', content_rowid='id', "
        "detail=none, columnsize=0, tokenize='ascii')",
        "CREATE TABLE search_leftover (id integer PRIMARY KEY CHECK (id = 1), state integer NOT NULL)",
    ),
    "postgresql": (
        "ALTER TABLE search_entry ADD COLUMN terms bigint[] NOT NULL DEFAULT '{}'",
        "CREATE INDEX search_entry_terms ON search_entry USING gin (terms)",
        "CREATE EXTENSION vector",
        "ALTER TABLE search_passage ADD COLUMN vector halfvec NOT NULL",
        "CREATE INDEX search_passage_covering ON search_passage (space_id, embedder_id, id) INCLUDE (entry_id, vector)",
    ),
}
GRANT = (
    "INSERT INTO auth_group (name) VALUES ('readers')",
    "INSERT INTO auth_group_permissions (group_id, permission_id) SELECT auth_group.id, auth_permission.id "
    "FROM auth_group, auth_permission WHERE codename = 'view_space'",
)
GRANTED = (
    "SELECT codename, auth_permission.name, model FROM auth_permission JOIN auth_group_permissions "
    "ON permission_id = auth_permission.id JOIN django_content_type ON django_content_type.id = content_type_id"
)
SAY = """
import django
django.setup()
from accounts.services import register_user
from conversations.services import append_message, start_conversation
talk = start_conversation(owner_id=register_user(username="alice").pk)
for content in ("a white whale", "a lighthouse"):
    append_message(conversation=talk, role="user", content=content)
"""
SEARCH = """
import json, sys
import django
from django.core.management import call_command
django.setup()
for query, mode in json.loads(sys.argv[1]):
    call_command("search_history", query, user="alice", mode=mode)
    print(end="\\f")
"""


class OlderDatabaseTestCase(MigrationTestCase):
    def new_schema(self) -> set[tuple[Any, ...]]:
        """Return what the current migrations created for this test run."""

        def execute(statement: str) -> list[tuple[Any, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall()

        return schema(execute)


@tried_on("sqlite")
class FirstVersionTest(OlderDatabaseTestCase):
    def test_a_migration_that_had_another_number(self):
        with self.database() as (url, execute):
            self.migrate(url, ("completions", "0003"), ("search", "0001"))
            for statement in FORMER_NUMBER:
                execute(statement)
            self.migrate(url)
            self.assertEqual(schema(execute), self.new_schema())

    def test_a_good_database_is_left_as_it_is(self):
        with self.database() as (url, execute):
            mends = (("completions", "0006"), ("conversations", "0008"))
            self.migrate(url, (), *mends)  # without what later migrations add
            before, made = schema(execute), storage(execute)
            self.migrate(url, ("completions", "0005"), ("conversations", "0007"))
            self.assertEqual(schema(execute), before)
            self.migrate(url, *mends)
            self.assertEqual((schema(execute), storage(execute)), (before, made))


@tried_on("postgresql")
class IndexOfEarlierVersionTest(OlderDatabaseTestCase):
    def test_an_index_from_outside_of_migrations_is_taken_over(self):
        with self.database() as (url, execute):
            self.migrate(url, ("accounts",), ("conversations",), ("completions",), ("webhooks",), ("search", "0003"))
            self.make_index(execute)
            self.run_python(url, "-c", SAY)
            self.fill_index(execute)
            for statement in GRANT:
                execute(statement)
            self.migrate(url)
            self.assertEqual(without_traces(schema(execute)), without_traces(self.new_schema()))
            self.assertEqual(execute("SELECT count(*) FROM search_pendingmessage"), [(0,)])
            self.assertEqual(execute(GRANTED), [("view_indexpartition", "Can view index partition", "indexpartition")])
            by_text, by_meaning = self.search(url, ("whale", "text"), ("whale", "semantic"))
            self.assertIn("1 found by text", by_text)
            self.assertIn("white [whale]", by_meaning)
            execute("UPDATE conversations_message SET content = 'a harbour' WHERE content = 'a white whale'")
            # The changed message, and the turn after it.
            self.assertEqual(execute("SELECT count(*) FROM search_pendingmessage"), [(2,)])
            before, now = self.search(url, ("whale", "text"), ("harbour", "text"))
            self.assertIn("0 found by text", before)
            self.assertIn("1 found by text", now)

    def test_migrated_back_messages_can_be_written_and_the_index_comes_back(self):
        with self.database() as (url, execute):
            self.migrate(url, (), ("search", "0003"))
            self.run_python(url, "-c", SAY)
            self.migrate(url)
            self.assertIn("1 found by text", *self.search(url, ("whale", "text")))
            self.migrate(url, ("search", "zero"))
            execute("UPDATE conversations_message SET content = 'a harbour'")
            self.migrate(url)
            self.assertEqual(schema(execute), self.new_schema())
            self.assertIn("2 found by text", *self.search(url, ("harbour", "text")))

    @tried_on("postgresql")
    def test_without_pgvector_search_is_by_words_until_it_is_there(self):
        with self.database() as (url, execute):
            execute("CREATE DOMAIN vector AS text")  # a type of the same name, so that the extension cannot be created
            self.assertIn("search is by words alone", self.migrate(url))
            self.run_python(url, "-c", SAY)
            self.assertIn("pgvector is not installed", self.run_python(url, "manage.py", "index_messages"))
            self.assertIn("1 found by text (This database has no pgvector.)", *self.search(url, ("whale", "hybrid")))
            execute("UPDATE conversations_conversation SET head_id = NULL")
            execute("DELETE FROM conversations_message WHERE content = 'a lighthouse'")
            self.assertEqual(execute("SELECT count(*) FROM search_entry"), [(1,)])
            execute("DROP DOMAIN vector")
            self.assertNotIn("by words alone", self.migrate(url))
            self.assertEqual(schema(execute), self.new_schema())
            self.run_python(url, "manage.py", "index_messages")
            self.assertIn("1 found by hybrid", *self.search(url, ("whale", "hybrid")))

    def search(self, url: str, *asked: tuple[str, str]) -> list[str]:
        """Search by each query and mode, in one process: each start takes a second."""
        return self.run_python(url, "-c", SEARCH, json.dumps(asked)).split("\f")[:-1]

    def make_index(self, execute: Execute) -> None:
        for statement in INDEX[connection.vendor]:
            execute(statement)
        tables = TABLES._replace(partition="search_space", part="", file="", file_text="")
        if connection.vendor == "sqlite":
            for name, definition in sqlite_schema.triggers(tables).items():
                execute(f"CREATE TRIGGER {name} {definition}")
            return
        for name, (event, body) in postgres_schema.triggers(tables).items():
            execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$")
            execute(f"CREATE TRIGGER {name} {event} EXECUTE FUNCTION {name}()")

    def fill_index(self, execute: Execute) -> None:
        """Index the messages as the earlier version did, in partition 1."""
        execute(
            "INSERT INTO search_space (id, owner_id, next_seq, version, nonce) SELECT 1, id, 3, 0, 7 FROM accounts_user"
        )
        execute("INSERT INTO search_embedder (id, name, dimensions) VALUES (1, 'hashing:64', 64)")
        embedder = HashingEmbedder(64)
        for seq, (message_id, content) in enumerate(execute("SELECT id, content FROM conversations_message"), start=1):
            terms = sorted(term_of(1, stem) for stem in stems(content))
            [vector] = embedder.embed([content])
            if connection.vendor == "sqlite":
                terms_sql = f"'{' '.join(f'{term:x}' for term in terms)}'"
                vector_sql = f"x'{vector.astype('<f2').tobytes().hex()}'"
            else:
                terms_sql = f"'{{{','.join(map(str, terms))}}}'"
                vector_sql = f"'{vector.tolist()}'"
            entry = 1 << 40 | seq
            execute(
                "INSERT INTO search_entry (id, message_id, before, before_that, length, terms) "
                f"VALUES ({entry}, '{message_id}', NULL, NULL, {len(terms)}, {terms_sql})"
            )
            execute(
                'INSERT INTO search_passage (entry_id, space_id, embedder_id, start, "end", vector) '
                f"VALUES ({entry}, 1, 1, 0, {len(content)}, {vector_sql})"
            )
        execute("DELETE FROM search_pendingmessage")


def without_traces(found: set[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Return the schema without SQLite's leftovers: defaults of added columns, quotes of renamed ones."""
    if connection.vendor == "postgresql":
        return found
    return {
        (*row[:5], *row[6:]) if row[0] == "column" else (*row[:3], str(row[3]).replace('"', ""), *row[4:])
        for row in found
    }


def schema(execute: Execute) -> set[tuple[Any, ...]]:
    """Return every column, index, constraint and trigger, in a form that can be compared between two databases."""
    if connection.vendor == "postgresql":
        return {(kind, *row) for kind, query in CATALOG.items() for row in execute(query)}
    found: set[tuple[Any, ...]] = set()
    for kind, name, table, text in execute("SELECT type, name, tbl_name, sql FROM sqlite_master"):
        if kind == "table" and not name.startswith("sqlite_"):
            found |= {("column", name, *row[1:]) for row in execute(f'PRAGMA table_info("{name}")')}
            found |= {("key", name, *row[2:]) for row in execute(f'PRAGMA foreign_key_list("{name}")')}
        elif kind != "table" and text:
            found.add((kind, name, table, text))
    return found


def storage(execute: Execute) -> set[tuple[Any, ...]]:
    """Return where each index is stored; a rebuilt index is stored elsewhere."""
    if connection.vendor == "postgresql":
        return set(execute("SELECT relname, relfilenode FROM pg_class WHERE relkind = 'i' AND relname !~ '^pg_'"))
    return set(execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name NOT LIKE 'search%'"))
