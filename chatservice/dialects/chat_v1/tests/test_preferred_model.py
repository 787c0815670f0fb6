"""The model that one's new chats begin with: one that may be used, or the service's default."""

from __future__ import annotations

from typing import Any

from accounts.models import SubjectLimits
from accounts.personal_data import export_account
from chatservice.testing import ApiUser, ServiceTestCase, tried_once, wait_until

ME = "/v1/chat/me"


@tried_once
class PreferredModelTest(ServiceTestCase):
    """The built-in model is listed whatever the upstreams do, which may list theirs too late on a busy machine."""

    def choose(self, model: Any, who: ApiUser | None = None) -> Any:
        return (who or self.alice).http.patch(ME, json={"preferred_model": model})

    def shown(self) -> Any:
        asked = self.alice.http.post("/graphql", json={"query": "{ me { preferredModel } }"})
        of_page = asked.json()["data"]["me"]["preferredModel"]
        self.assertEqual(self.alice.http.get(ME).json()["data"]["preferred_model"], of_page)
        return of_page

    def test_it_is_ones_own_and_in_the_export(self) -> None:
        self.assertIsNone(self.shown())
        self.assertEqual(self.choose("echo").json()["data"]["preferred_model"], "echo")
        self.assertEqual(self.shown(), "echo")
        self.assertIn('"preferred_model": "echo"', "".join(export_account(self.alice.user)))
        self.assertIsNone(self.bob.http.get(ME).json()["data"]["preferred_model"])
        self.assertIsNone(self.choose(None).json()["data"]["preferred_model"])
        self.assertIsNone(self.shown())

    def test_what_may_not_be_used_is_not_taken_and_what_may_no_longer_is_not_shown(self) -> None:
        self.choose("echo")
        for model in ("gone", "", "x" * 5_000, 5, ["echo"]):
            self.assertEqual(self.choose(model).status_code, 400, model)
        self.assertEqual(self.alice.http.patch(ME, json={}).status_code, 400)
        self.assertEqual(self.shown(), "echo")
        limits = SubjectLimits.objects.create(user=self.alice.user, models_allowed=["other"])
        self.addCleanup(lambda: SubjectLimits.objects.filter(pk=limits.pk).delete())
        wait_until(lambda: self.alice.http.get(ME).json()["data"]["preferred_model"] is None, what="the limit")
        self.assertIsNone(self.shown())
        self.assertEqual(self.choose("echo").status_code, 400)
