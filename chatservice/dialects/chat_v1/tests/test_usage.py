"""The caller's usage, by day and model."""

from __future__ import annotations

from django.utils import timezone

from chatservice.testing import ServiceTestCase

USAGE = "/v1/chat/me/usage"


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

    def test_days_are_a_number(self) -> None:
        for days in ("0", "367", "-1", "x", "1e3", "٣", "1" * 50):
            self.assertEqual(self.alice.http.get(USAGE, params={"days": days}).status_code, 400, days)
        self.assertEqual(self.alice.http.get(USAGE, params={"days": "366"}).status_code, 200)

    def test_without_a_key_there_is_nothing(self) -> None:
        self.assertEqual(self.guest.get(USAGE).status_code, 401)
