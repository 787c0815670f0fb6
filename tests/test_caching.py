"""No cache stores a caller's own data: every route, requested with a key, with a session and without either."""

from __future__ import annotations

import uuid

import httpx2
from django.contrib import admin

from chatservice.testing import needs_dialect, tried_once
from tests.matrix import operations, subjects
from tests.matrix.asking import request
from tests.matrix.rows import filled
from tests.matrix.subjects import Subject
from tests.test_matrix_leaks import MatrixCase

# The same for all callers: caches may keep these, and revalidate them each time.
PUBLIC = {"/", "/docs", "/schema/{dialect}"}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")  # DELETE comes last, because it removes what the others request


@tried_once
class NoStoreTest(MatrixCase):
    def assert_not_kept(self, response: httpx2.Response) -> None:
        kept = response.headers.get("cache-control", "")
        self.assertIn("no-store", kept, f"{response.request.method} {response.request.url} {response.status_code}")

    def walk(self, subject: Subject, things: dict[str, str]) -> list[int]:
        """Request everything declared, with the ids in `things`; return the statuses."""
        statuses = []
        rows = [row for row in operations.rows() if row.kind in METHODS and row.target not in PUBLIC]
        for row in sorted(rows, key=lambda row: METHODS.index(row.kind)):
            known = {"fresh": f"fresh-{uuid.uuid4().hex[:12]}", "own.model": "echo", **things}
            known |= {f"own.{name}": value for name, value in things.items()}
            response = request(subject, row.kind, filled(row.own_path(), known), filled(row.body, known))
            with self.subTest(f"{subject.name}: {row.operation}"):
                self.assert_not_kept(response)
            statuses.append(response.status_code)
        return statuses

    def test_every_route_by_key_by_session_and_without(self) -> None:
        other = subjects.subject_of("bob", self.service)
        for subject in (subjects.subject_of("alice", self.service), subjects.at_a_browser(self.service)):
            self.keep(subject, other)
            things = subjects.things_of(subject, self.service)
            statuses = self.walk(subject, things)
            answered = [status for status in statuses if status < 300]
            self.assertGreater(len(answered), len(statuses) / 2, statuses)
            for nobody in (subjects.guest(self.service), subjects.with_bad_keys(other, self.service)[0]):
                self.keep(nobody)
                self.walk(nobody, things)

    def test_streams_and_what_no_view_answers(self) -> None:
        needs_dialect("openai_v1")
        http = self.alice.http
        body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
        self.assert_not_kept(http.post("/v1/chat/completions", json=body))
        for method, path, options in (
            ("GET", "/v1/nothing", {}),
            ("GET", "/nothing/at/all", {}),
            ("PATCH", "/v1/models", {}),
            ("POST", "/v1/chat/completions", {"content": "x" * 4_200_000}),
            ("GET", "/v1/models", {"headers": {"Host": "evil.example"}}),
        ):
            self.assert_not_kept(http.request(method, path, **options))

    def test_the_admin(self) -> None:
        session = subjects.signed_in(self.carol.user, self.service)
        with httpx2.Client(base_url=self.service.url, headers=session, timeout=30, trust_env=False) as browser:
            for model in admin.site._registry:
                self.assert_not_kept(browser.get(f"/admin/{model._meta.app_label}/{model._meta.model_name}/"))
            for page in ("", "login/", "dashboard/", "jsi18n/", "password_change/", "nothing/"):
                self.assert_not_kept(browser.get(f"/admin/{page}"))

    def test_what_is_the_same_for_everybody_may_be_kept(self) -> None:
        for path in ("/", "/docs", *(f"/schema/{name}" for name in operations.documented_dialects())):
            self.assertEqual(self.guest.get(path).headers["cache-control"], "no-cache", path)
        for path in ("pages/main.js", "admin/css/base.css"):
            self.assertIn("max-age", self.guest.get(f"/static/{path}").headers["cache-control"], path)
