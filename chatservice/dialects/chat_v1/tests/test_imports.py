"""Imports by `/imports`: started from an uploaded file, followed to their end, cancelled; only by their owner."""

from __future__ import annotations

import json
from typing import Any

from accounts.scopes import Scope
from accounts.services import issue_api_key
from chatservice.testing import ApiUser, ServiceTestCase, wait_until
from conversations.models import Conversation
from conversations.tests.exports import chat, node
from imports.models import HistoryImport

BASE = "/v1/chat/imports"


class ImportsTest(ServiceTestCase):
    def uploaded(self, content: Any, *, by: ApiUser) -> str:
        data = {"purpose": "user_data"}
        files = {"file": ("conversations.json", json.dumps(content).encode())}
        return str(by.http.post("/v1/files", data=data, files=files).raise_for_status().json()["id"])

    def talks(self, count: int = 2) -> list[dict[str, Any]]:
        return [chat(f"talk{at}", node("q", None), node("a", "q", "assistant")) for at in range(count)]

    def started(self, content: Any) -> str:
        file_id = self.uploaded(content, by=self.alice)
        response = self.alice.http.post(BASE, json={"file_id": file_id})
        self.assertEqual(response.status_code, 201, response.text)
        return f"{BASE}/{response.json()['data']['id']}"

    def ended(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def is_over() -> bool:
            found.update(self.alice.http.get(path).json()["data"])
            return found["state"] not in ("waiting", "running")

        wait_until(is_over, what="the end of the import")
        return found

    def test_a_file_is_imported_and_the_report_tells_what_became_of_it(self):
        path = self.started([*self.talks(), {"title": "Empty", "id": "x"}])
        told = self.ended(path)
        self.assertEqual((told["state"], told["created"], told["skipped"], told["error"]), ("finished", 2, 1, None))
        self.assertEqual((told["read"], told["messages"]), (told["size"], 4))
        self.assertEqual([each["name"] for each in told["not_imported"]], ['"Empty" (x)'])
        self.assertEqual(Conversation.objects.filter(owner=self.alice.user).count(), 2)
        self.assertEqual(self.alice.http.get(BASE).json()["data"], [told])
        self.assertEqual(self.ended(self.started(self.talks()))["unchanged"], 2)

    def test_what_is_no_export_fails_with_a_sentence(self):
        told = self.ended(self.started({"not": "an export"}))
        self.assertEqual(told["state"], "finished")
        self.assertEqual((told["created"], told["skipped"]), (0, 1))

    def test_one_at_a_time(self):
        HistoryImport.objects.create(owner=self.alice.user, file_id=self.alice.user.pk, file_name="a", state="running")
        HistoryImport.objects.filter(owner=self.alice.user).update(claimed_until="2999-01-01T00:00:00Z")
        file_id = self.uploaded(self.talks(), by=self.alice)
        response = self.alice.http.post(BASE, json={"file_id": file_id})
        self.assertEqual((response.status_code, response.json()["error"]["code"]), (409, "import_pending"))
        row = HistoryImport.objects.get(owner=self.alice.user)
        self.assertEqual(self.alice.http.post(f"{BASE}/{row.pk}/cancel").json()["data"]["state"], "running")
        row.refresh_from_db()
        self.assertTrue(row.is_cancelling)

    def test_one_on_which_nobody_works_is_cancelled_at_once_and_one_that_is_over_stays(self):
        row = HistoryImport.objects.create(owner=self.alice.user, file_id=self.alice.user.pk, file_name="a")
        HistoryImport.objects.filter(pk=row.pk).update(state="finished")
        self.assertEqual(self.alice.http.post(f"{BASE}/{row.pk}/cancel").json()["data"]["state"], "finished")

    def test_nobody_else_sees_starts_or_cancels_it(self):
        path = self.started(self.talks())
        for caller in (self.bob, self.carol):
            self.assertEqual(caller.http.get(path).status_code, 404)
            self.assertEqual(caller.http.post(f"{path}/cancel").status_code, 404)
            self.assertEqual(caller.http.get(BASE).json()["data"], [])
            file_id = self.uploaded("mine", by=self.alice)
            response = caller.http.post(BASE, json={"file_id": file_id})
            self.assertEqual((response.status_code, response.json()["error"]["code"]), (400, "file_not_found"))
        self.assertEqual(self.guest.get(BASE).status_code, 401)
        self.assertEqual(self.guest.post(BASE, json={"file_id": "file-x"}).status_code, 401)
        self.assertEqual(self.alice.http.get(f"{BASE}/nonsense").status_code, 404)
        self.assertEqual(self.alice.http.post(BASE, json={"file_id": "nonsense"}).status_code, 400)
        _, reading = issue_api_key(user=self.alice.user, scopes=[Scope.READ])
        headers = {"Authorization": f"Bearer {reading}"}
        self.assertEqual(self.guest.get(BASE, headers=headers).status_code, 200)
        self.assertEqual(self.guest.post(BASE, headers=headers, json={"file_id": "file-x"}).status_code, 403)
