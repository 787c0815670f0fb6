"""Where raw SQL is allowed; all other code uses querysets. Add a new place to the table, with its reason."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from chatservice.tests.test_architecture import TOP, allowed_at, explain, is_test, sources

# Path (a trailing slash means everything below) -> why a queryset cannot do it.
PLACES = {
    "chatservice/doctor.py": "the database's clock",
    "backups/": "statements for one connection, which is not Django's",
    "foundation/postgresql/": "deadlines and settings of a session",
    "foundation/sqlite/": "pragmas, and tables that are rebuilt with their triggers",
    "foundation/database.py": "a probe of the connection, and statements that are sent at once and fetched later",
    "foundation/outages.py": "a probe of the connection",
    "foundation/admin_base.py": "the planner's estimate of how many rows there are",
    "accounts/throttling.py": "one upsert counts a request, by the database's clock",
    "accounts/password_attempts.py": "one upsert counts a failure, by the database's clock",
    "accounts/erasing.py": "claims are compared by the database's clock",
    "accounts/erasure.py": "rows that triggers keep from being changed",
    "accounts/migration_operations.py": "tables as the first version made them, which no model describes",
    "completions/acceptance.py": "one round trip accepts a question: prepared statements",
    "completions/idempotency.py": "one round trip accepts a question: prepared statements",
    "completions/rows.py": "one round trip accepts a question: prepared statements",
    "completions/admission.py": "the same transaction",
    "completions/insertion.py": "the same transaction",
    "completions/queueing.py": "the same transaction, and the group commit",
    "completions/bulk_sql.py": "statements for many rows at once, made from the models",
    "completions/prefixes.py": "a history is recognised by a recursive query",
    "completions/long_histories.py": "slices of a history, in statements for many rows",
    "completions/staging.py": "COPY into a table of the transaction's own",
    "completions/commits.py": "the group commit: many runs' pieces in one statement, fenced by the lease",
    "completions/run_results.py": "the same transaction",
    "completions/worker_identity.py": "settings of the journal's session",
    "completions/reaper.py": "leases are compared by the database's clock, and rows that are locked are left alone",
    "completions/services.py": "the database's clock",
    "completions/spending.py": "the same transaction",
    "webhooks/outbox.py": "the group commit",
    "usage/ledger.py": "one upsert adds to many rows, in the group commit",
    "usage/budgets.py": "rows are made and locked in one order, in the group commit",
    "files/holds.py": "a backup waits for deletions that have begun",
    "files/models.py": "claims are compared by the database's clock",
    "files/texts.py": "the same clock",
    "conversations/append_only.py": "triggers",
    "conversations/quota_triggers.py": "triggers",
    "conversations/quota.py": "what triggers count is read and corrected in one statement",
    "conversations/checks.py": "which triggers there are",
    "conversations/admin_filters.py": "the planner's estimate, to choose a filter's form",
    "dashboard/figures.py": "one scan for all figures",
    "search/backends/": "full text and vectors: each database has a language of its own",
    "search/claims.py": "rows that others have locked are left alone",
    "search/indexing.py": "one statement over what triggers have listed",
    "search/neighbours.py": "a window over each hit's conversation",
}
RECEIVERS = {"cursor", "connection", "schema_editor"}


def raw_sql_in(source: str) -> list[int]:
    """Return the lines that run raw SQL: by a cursor, `send_statement`, `raw`, `extra` or `RawSQL`."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and is_raw(node.func)]


def is_raw(called: ast.expr) -> bool:
    match called:
        case ast.Name(id="RawSQL" | "RunSQL" | "send_statement"):
            return True
        case ast.Attribute(attr="RawSQL" | "RunSQL" | "raw" | "extra" | "executemany"):
            return True
        case ast.Attribute(attr="cursor" | "execute", value=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name.lstrip("_") in RECEIVERS
    return False


@cache
def places() -> dict[str, list[int]]:
    paths = [each for each in sources({".py"}) if not is_test(each) and "migrations" not in Path(each).parts]
    ours = [each for each in paths if not each.startswith(("benchmarks/", "scripts/", "tests/"))]
    found = {path: raw_sql_in((TOP / path).read_text(encoding="utf-8")) for path in ours}
    return {path: lines for path, lines in found.items() if lines}


def test_raw_sql_stands_where_the_table_says_so() -> None:
    broken = [f"{path}:{lines[0]}" for path, lines in places().items() if not allowed_at(path, list(PLACES))]
    assert not broken, explain("Ask by a queryset, or give a reason in PLACES", broken)


def test_the_table_names_no_place_without_raw_sql() -> None:
    broken = [place for place in PLACES if not any(allowed_at(path, [place]) for path in places())]
    assert not broken, explain("Nothing is left to excuse", broken)


def test_the_checker_sees_every_form() -> None:
    source = (
        "with connection.cursor() as cursor:\n"
        "    cursor.execute('SELECT 1')\n"
        "Message.objects.raw('SELECT 1')\n"
        "Message.objects.extra(where=['1'])\n"
        "order_by(RawSQL('1', []))\n"
        "self._cursor.executemany('SELECT 1', [])\n"
        "fetch = send_statement('SELECT 1', [])\n"
        "schema.execute(query); runner.execute(job); page.cursor(3)\n"
    )
    assert sorted(raw_sql_in(source)) == [1, 2, 3, 4, 5, 6, 7]
