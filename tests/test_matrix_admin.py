"""The admin site accepts sessions of staff, and no keys."""

from __future__ import annotations

from django.contrib import admin

from chatservice.testing import tried_once
from tests.matrix import subjects
from tests.matrix.asking import request
from tests.test_matrix_leaks import MatrixCase


@tried_once
class AdminTest(MatrixCase):
    def setUp(self) -> None:
        super().setUp()
        self.owner = subjects.subject_of("alice", self.service)
        self.keep(self.owner)
        self.things = subjects.things_of(self.owner, self.service)

    def pages(self) -> list[str]:
        ids = {"User": "user", "Conversation": "conversation", "Run": "run"}
        found = ["/admin/", "/admin/autocomplete/?app_label=x&model_name=x&field_name=x", "/admin/password_change/"]
        for model in admin.site._registry:
            base = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            pk = self.things.get(ids.get(model.__name__, ""), "1")
            found += [f"/admin/{model._meta.app_label}/", base, f"{base}?q={self.things['word']}", f"{base}add/"]
            found += [f"{base}{pk}/{page}" for page in ("", "change/", "history/", "delete/")]
        return found

    def test_a_key_opens_no_page_not_even_the_one_of_staff(self) -> None:
        bob, staff = subjects.subject_of("bob", self.service), subjects.subject_of("staff", self.service, staff=True)
        nobody = subjects.guest(self.service)
        self.keep(bob, staff, nobody)
        stored = self.stored_of(self.things)
        for subject in (bob, staff, nobody, *subjects.with_bad_keys(self.owner, self.service)):
            self.keep(subject)
            for page in self.pages():
                for method in ("GET", "POST", "DELETE"):
                    with self.subTest(f"{subject.name}: {method} {page}"):
                        response = request(subject, method, page, None)
                        self.assertIn(response.status_code, (302, 403), response.text[:300])
                        if response.status_code == 302:
                            self.assertIn("/admin/login/?next=/admin/", response.headers["location"])
                        self.assertNotIn(self.things["canary"], response.text)
                        self.assertNotIn("set-cookie: chat_session", str(response.headers).lower())
        self.assertEqual(self.stored_of(self.things), stored)
