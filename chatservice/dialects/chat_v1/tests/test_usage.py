"""The caller's usage, by day and model."""

from __future__ import annotations

from django.contrib.auth.models import Group
from django.utils import timezone

from accounts.models import GroupOwner
from chatservice.testing import ServiceTestCase

USAGE = "/v1/chat/me/usage"
GROUPS = "/v1/chat/usage"


class UsageTest(ServiceTestCase):
    def test_answers_and_tokens_are_counted_by_day_and_model_for_their_owner_alone(self) -> None:
        for model in ("echo", "echo", "fake/ok", "fake/truncated"):
            body = {"content": "Hello", "model": model}
            self.alice.http.post("/v1/chat/conversations/stream", json=body)
        used = {row["model"]: row for row in self.alice.http.get(USAGE).json()["data"]}
        counted = {model: row["runs"] for model, row in used.items()}
        self.assertEqual(counted, {"echo": 2, "fake/ok": 1, "fake/truncated": 1})
        self.assertEqual(used["fake/truncated"]["failed"], 1)
        self.assertGreater(used["fake/ok"]["completion_tokens"], 0)
        self.assertEqual(used["echo"]["day"], timezone.now().date().isoformat())
        self.assertEqual(self.bob.http.get(USAGE).json()["data"], [])

    def test_the_owner_of_a_group_sees_its_usage_and_nobody_else_does(self) -> None:
        group = Group.objects.create(name=f"Interns {self.bob.user.pk}")
        group.user_set.add(self.bob.user)
        GroupOwner.objects.create(group=group, user=self.alice.user)
        for asker in (self.bob, self.alice):
            asker.http.post("/v1/chat/conversations/stream", json={"content": "Hello", "model": "fake/ok"})
        [line] = self.alice.http.get(GROUPS).json()["data"]
        self.assertEqual((line["name"], line["runs"], line["failed"]), (self.bob.user.username, 1, 0))
        self.assertNotIn("Hello", self.alice.http.get(GROUPS).text)
        self.assertEqual(self.bob.http.get(GROUPS).json()["data"], [])
        [line] = self.alice.http.get(GROUPS, params={"by": "group"}).json()["data"]
        self.assertEqual(line["name"], group.name)

    def test_groups_are_asked_for_with_a_period_that_there_is(self) -> None:
        for query in ({"by": "content"}, {"since": "2026-13-01"}, {"since": "2020-01-01"}, {"since": "x"}):
            refused = self.alice.http.get(GROUPS, params=query)
            self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (400, "validation_error"), query)

    def test_days_are_a_number(self) -> None:
        for days in ("0", "367", "-1", "x", "1e3", "٣", "1" * 50):
            self.assertEqual(self.alice.http.get(USAGE, params={"days": days}).status_code, 400, days)
        self.assertEqual(self.alice.http.get(USAGE, params={"days": "366"}).status_code, 200)

    def test_without_a_key_there_is_nothing(self) -> None:
        self.assertEqual(self.guest.get(USAGE).status_code, 401)
