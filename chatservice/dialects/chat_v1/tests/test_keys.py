"""The caller's own keys: list, create, revoke."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx2
from django.utils import timezone

from accounts.models import ApiKey
from accounts.services import issue_api_key
from chatservice.testing import ServiceTestCase, running_service, tried_once

KEYS = "/v1/chat/me/keys"


@tried_once
class KeysTest(ServiceTestCase):
    def make(self, **fields: object) -> dict[str, str]:
        response = self.alice.http.post(KEYS, json=fields)
        self.assertEqual(response.status_code, 201, response.text)
        self.assertEqual(response.headers["cache-control"], "no-store")
        return response.json()["data"]

    def with_key(self, key: str) -> httpx2.Response:
        return self.guest.get(KEYS, headers={"Authorization": f"Bearer {key}"})

    def test_a_new_key_opens_what_its_owner_may_open_and_is_shown_once(self) -> None:
        made = self.make(name="laptop")
        self.assertEqual(self.with_key(made["key"]).status_code, 200)
        listed = self.alice.http.get(KEYS)
        self.assertEqual(listed.json()["data"][0]["name"], "laptop")
        self.assertTrue(made["key"].startswith(listed.json()["data"][0]["prefix"]))
        self.assertEqual(listed.json()["meta"]["total"], 2)
        secret, digest = made["key"][12:], ApiKey.objects.get(pk=made["id"]).digest
        self.assertNotIn(secret, listed.text)
        self.assertNotIn(digest, listed.text)

    def test_a_revoked_key_is_useless_at_once(self) -> None:
        made = self.make()
        revoked = self.alice.http.delete(f"{KEYS}/{made['id']}")
        self.assertIsNotNone(revoked.json()["data"]["revoked_at"])
        self.assertEqual(self.with_key(made["key"]).status_code, 401)
        self.assertEqual(self.alice.http.delete(f"{KEYS}/{made['id']}").status_code, 200)

    def test_somebody_elses_key_is_not_there(self) -> None:
        for key_id in (self.bob.key.pk, "nonsense", "01900000-0000-7000-8000-000000000000"):
            self.assertEqual(self.alice.http.delete(f"{KEYS}/{key_id}").status_code, 404)
            self.assertEqual(self.alice.http.post(f"{KEYS}/{key_id}/rotate").status_code, 404)
        self.assertEqual(self.bob.http.get(KEYS).status_code, 200)

    def test_a_key_that_ends_makes_none_that_outlive_it(self) -> None:
        ends = timezone.now() + dt.timedelta(hours=1)
        _, text = issue_api_key(user=self.alice.user, expires_at=ends)
        for wanted in (None, (ends + dt.timedelta(days=9)).isoformat()):
            made = self.guest.post(KEYS, json={"expires_at": wanted}, headers={"Authorization": f"Bearer {text}"})
            self.assertEqual(ApiKey.objects.get(pk=made.json()["data"]["id"]).expires_at, ends)

    def test_a_key_is_made_with_less_and_says_so(self) -> None:
        made = self.make(scopes=["search", "read"], networks=["127.0.0.0/8", "::1"])
        listed = self.alice.http.get(KEYS).json()["data"]
        self.assertEqual((listed[0]["scopes"], listed[0]["networks"]), (["read", "search"], ["127.0.0.0/8", "::1/128"]))
        self.assertEqual((listed[1]["scopes"], listed[1]["networks"]), (None, None))
        self.assertEqual([use["network"] for use in listed[1]["uses"]], ["127.0.0.0/24"])
        self.assertEqual(listed[0]["uses"], [])
        self.assertEqual(self.with_key(made["key"]).status_code, 200)
        refused = self.guest.post(KEYS, json={}, headers={"Authorization": f"Bearer {made['key']}"})
        self.assertEqual((refused.status_code, refused.json()["error"]["code"]), (403, "insufficient_scope"))

    def test_a_key_from_elsewhere_is_refused_and_told_why(self) -> None:
        made = self.make(networks=["192.0.2.0/24"])
        answer = self.with_key(made["key"])
        self.assertEqual((answer.status_code, answer.json()["error"]["code"]), (401, "network_not_allowed"))
        self.assertIn("127.0.0.1 is in none of them", answer.json()["message"])

    def test_a_key_is_rotated(self) -> None:
        old = self.make(name="laptop", scopes=["read", "account"])
        path = f"{KEYS}/{old['id']}/rotate"
        rotated = self.alice.http.post(path)
        self.assertEqual(rotated.status_code, 201, rotated.text)
        self.assertEqual(rotated.headers["cache-control"], "no-store")
        new = rotated.json()["data"]
        self.assertEqual((new["name"], new["scopes"], new["replaces"]), ("laptop", ["read", "account"], old["id"]))
        for key in (old, new):
            self.assertEqual(self.with_key(key["key"]).status_code, 200)
        again = self.alice.http.post(path)
        self.assertEqual((again.status_code, again.json()["error"]["code"]), (409, "key_not_rotatable"))
        ends = ApiKey.objects.get(pk=old["id"]).expires_at
        assert ends is not None
        self.assertAlmostEqual(ends, timezone.now() + dt.timedelta(hours=24), delta=dt.timedelta(minutes=1))

    def test_of_many_rotations_at_once_one_succeeds(self) -> None:
        path = f"{KEYS}/{self.make()['id']}/rotate"
        with ThreadPoolExecutor(8) as pool:
            statuses = Counter(pool.map(lambda _: self.alice.http.post(path).status_code, range(8)))
        self.assertEqual(statuses, {201: 1, 409: 7})

    def test_a_rotation_without_an_overlap_ends_the_old_key_at_once(self) -> None:
        old = self.make()
        self.assertEqual(self.with_key(old["key"]).status_code, 200)
        new = self.alice.http.post(f"{KEYS}/{old['id']}/rotate", json={"overlap_hours": 0}).json()["data"]
        self.assertEqual([self.with_key(key["key"]).status_code for key in (old, new)], [401, 200])

    def test_bad_input_is_named(self) -> None:
        for body, field in (
            ({"name": "x" * 101}, "name"),
            ({"name": 5}, "name"),
            ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
            ({"expires_at": "tomorrow"}, "expires_at"),
            ({"scopes": ["everything"]}, "scopes"),
            ({"scopes": []}, "scopes"),
            ({"scopes": "read"}, "scopes"),
            ({"networks": ["192.0.2.1/24"]}, "networks"),
            ({"networks": ["10.0.0.0/8"] * 51}, "networks"),
        ):
            response = self.alice.http.post(KEYS, json=body)
            self.assertEqual(response.status_code, 400, body)
            self.assertIn(field, response.json()["error"]["details"])
        key_id = self.make()["id"]
        for hours in (-1, 169, "a day", None, 1.5):
            response = self.alice.http.post(f"{KEYS}/{key_id}/rotate", json={"overlap_hours": hours})
            self.assertEqual(response.status_code, 400, hours)

    def test_an_account_has_so_many_keys(self) -> None:
        with running_service(LIMIT_KEYS_PER_USER="2") as service:
            url = f"{service.url}{KEYS}"
            answers = [httpx2.post(url, json={}, headers=self.alice.headers) for _ in range(3)]
        self.assertEqual([answer.status_code for answer in answers], [201, 422, 422])
        self.assertIn("2 keys (LIMIT_KEYS_PER_USER)", answers[-1].json()["message"])

    def test_without_a_key_there_is_nothing(self) -> None:
        self.assertEqual(self.guest.get(KEYS).status_code, 401)
        self.assertEqual(json.loads(self.guest.post(KEYS, json={}).text)["success"], False)
