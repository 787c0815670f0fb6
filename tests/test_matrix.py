"""The authorization matrix declares every possible request to the service."""

from __future__ import annotations

from django.test import SimpleTestCase

from tests.matrix import operations, site
from tests.matrix.rows import Admits, anonymous


class DeclarationTest(SimpleTestCase):
    def setUp(self) -> None:
        self.rows = {anonymous(row.operation): row for row in operations.rows()}

    def assert_declared(self, found: set[str], what: str) -> None:
        missing = sorted(name for name in found if anonymous(name) not in self.rows)
        self.assertFalse(missing, f"{what} without a row in tests/matrix/: {', '.join(missing)}")

    def assert_probed(self, positions: dict[str, set[str]]) -> None:
        for operation, wanted in positions.items():
            row = self.rows[anonymous(operation)]
            probed = {probe.position for probe in row.probes} | set(row.harmless)
            probed |= {position.partition(" ")[0] for position in probed if position.startswith("path")}
            missing = sorted(wanted - probed)
            self.assertFalse(missing, f"{operation} takes an id that no probe of its row tries: {', '.join(missing)}")

    def test_every_route_is_declared(self) -> None:
        self.assert_declared(operations.http_operations(), "routes")

    def test_every_documented_operation_is_a_route_and_declared(self) -> None:
        documented = operations.documented_operations()
        self.assert_declared(set(documented), "documented operations")
        self.assert_probed(documented)
        served = {anonymous(name) for name in operations.http_operations()}
        self.assertLessEqual({anonymous(name) for name in documented}, served)
        # /v1/chat/looks is the former name of /v1/chat/access-log.
        own = {anonymous(row.operation) for row in site.ROWS} | {"POST /graphql", "POST /mcp", "GET /v1/chat/looks"}
        self.assertEqual(served - {anonymous(name) for name in documented} - own, set(), "served, and not documented")

    def test_every_field_of_the_graph_is_declared(self) -> None:
        found = operations.graph_operations()
        self.assert_declared(set(found), "GraphQL fields")
        self.assert_probed(found)

    def test_every_frame_is_declared(self) -> None:
        found = operations.frame_operations()
        self.assert_declared(set(found), "websocket frames")
        self.assert_probed(found)

    def test_every_tool_is_declared(self) -> None:
        found = operations.tool_operations()
        self.assert_declared(set(found), "tools and resources")
        self.assert_probed(found)

    def test_every_page_of_the_admin_site_is_declared(self) -> None:
        self.assertEqual(operations.admin_models(), set(site.ADMIN))
        pages = {page for page in operations.admin_pages() if not page.startswith(("r/", "^(?P", "(?P"))}
        self.assertEqual(pages - site.ADMIN_PAGES, set())

    def test_no_row_declares_what_is_gone(self) -> None:
        found = operations.http_operations() | set(operations.graph_operations()) | set(operations.frame_operations())
        found |= set(operations.tool_operations())
        gone = sorted(set(self.rows) - {anonymous(name) for name in found})
        self.assertFalse(gone, f"rows of nothing: {', '.join(gone)}")

    def test_what_touches_somebodys_things_admits_not_just_anyone(self) -> None:
        for row in self.rows.values():
            if row.operation != "frame auth":
                self.assertFalse(row.touches and row.admits is Admits.ANYONE, row.operation)

    def test_the_check_names_what_is_not_declared(self) -> None:
        with self.assertRaisesRegex(AssertionError, r"GET /spy/\{id\}"):
            self.assert_declared({"GET /spy/{id}"}, "routes")
        with self.assertRaisesRegex(AssertionError, "query run takes an id .*argument spy"):
            self.rows.setdefault("query run", next(iter(self.rows.values())))
            self.assert_probed({"query run": {"argument spy"}})
