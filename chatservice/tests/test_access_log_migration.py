"""A migration renames the access log's tables and columns without loss, forwards and backwards."""

from __future__ import annotations

import sqlite3
import uuid

import psycopg
from django.db import connection

from chatservice.testing import tried_once
from chatservice.tests.migrating import Execute, MigrationTestCase

BEFORE, AFTER = ("conversations", "0009"), ("conversations", "0010")
LOOK, ENTRY = ("conversations_look", "view_look"), ("conversations_accesslogentry", "view_accesslogentry")
PEOPLE = ("alice", "bob")
PERSON = (
    "INSERT INTO accounts_user (id, username, password, is_superuser, is_staff, is_active, guest_made, first_name, "
    "last_name, email, date_joined) VALUES ('{id}', '{name}', '!', {no}, {yes}, {yes}, {no}, '', '', '', '2026-11-21')"
)
ROW = (
    "INSERT INTO conversations_look (id, created_at, kind, reader_id, reader_name, owner_id, reason) "
    "SELECT id, CURRENT_TIMESTAMP, 'search', id, username, id, 'Complaint 4711' FROM accounts_user"
)
PERMISSIONS = (
    "SELECT content.model, permission.codename, permission.name FROM auth_permission permission "
    "JOIN django_content_type content ON content.id = permission.content_type_id "
    "WHERE content.app_label = 'conversations' AND content.model IN ('look', 'accesslogentry')"
)
GRANTS = (
    "SELECT who.username, permission.codename FROM accounts_user_user_permissions granted "
    "JOIN accounts_user who ON who.id = granted.user_id "
    "JOIN auth_permission permission ON permission.id = granted.permission_id",
    "SELECT who.name, permission.codename FROM auth_group_permissions granted "
    "JOIN auth_group who ON who.id = granted.group_id "
    "JOIN auth_permission permission ON permission.id = granted.permission_id",
)


@tried_once
class AccessLogMigrationTest(MigrationTestCase):
    def test_rows_triggers_and_grants_survive_forwards_and_back(self) -> None:
        with self.database() as (url, execute):
            self.migrate(url, ("accounts",), BEFORE)
            self.fill(execute)
            rows = execute("SELECT * FROM conversations_look ORDER BY id")
            self.assert_complete(execute, LOOK, rows, ("look", "view_look", "Can view look"))
            for target, names, permission in (
                (AFTER, ENTRY, ("accesslogentry", "view_accesslogentry", "Can view access log entry")),
                (BEFORE, LOOK, ("look", "view_look", "Can view look")),
                (AFTER, ENTRY, ("accesslogentry", "view_accesslogentry", "Can view access log entry")),
            ):
                with self.subTest(target):
                    self.migrate(url, target)
                    self.assert_complete(execute, names, rows, permission)

    def test_a_database_without_permissions_yet_gets_the_new_one_alone(self) -> None:
        with self.database() as (url, execute):
            self.migrate(url, AFTER)
            wanted = [("accesslogentry", "view_accesslogentry", "Can view access log entry")]
            self.assertEqual(execute(PERMISSIONS), wanted)
        with self.database() as (url, execute):
            self.migrate(url, BEFORE)
            execute("DELETE FROM auth_permission")
            execute("DELETE FROM django_content_type")
            self.migrate(url, AFTER)
            self.assertEqual(execute(PERMISSIONS), wanted)

    def fill(self, execute: Execute) -> None:
        """Add an entry for each of two people; one of them, and one group, may view the log."""
        yes, no = ("true", "false") if connection.vendor == "postgresql" else ("1", "0")
        for name in PEOPLE:
            execute(PERSON.format(id=uuid.uuid4().hex, name=name, yes=yes, no=no))
        execute(ROW)
        execute("INSERT INTO auth_group (name) VALUES ('Auditors')")
        permission = "(SELECT id FROM auth_permission WHERE codename = 'view_look')"
        execute(
            "INSERT INTO accounts_user_user_permissions (user_id, permission_id) "
            f"SELECT id, {permission} FROM accounts_user WHERE username = 'alice'"
        )
        execute(f"INSERT INTO auth_group_permissions (group_id, permission_id) SELECT id, {permission} FROM auth_group")

    def assert_complete(
        self, execute: Execute, names: tuple[str, str], rows: list[tuple], permission: tuple[str, ...]
    ) -> None:
        table, codename = names
        self.assertEqual(execute(f"SELECT * FROM {table} ORDER BY id"), rows)
        self.assertEqual(execute(PERMISSIONS), [permission])
        self.assertEqual([execute(grants) for grants in GRANTS], [[("alice", codename)], [("Auditors", codename)]])
        for statement in (f"UPDATE {table} SET reason = 'None'", f"DELETE FROM {table}"):
            with self.assertRaisesRegex((sqlite3.Error, psycopg.Error), "append-only"):
                execute(statement)
