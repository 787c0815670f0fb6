"""The second part of the contract: refused callers, refused requests, and failures of the model's server."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Iterator

import httpx2
from django.utils import timezone

from accounts.services import issue_api_key, revoke_api_key
from chatservice.dialects.contract import Call, Capability, DialectAdapter, Ids, LifeContract
from chatservice.dialects.contract_files import FilesContract
from chatservice.dialects.contract_leaving import LeavingContract
from chatservice.docs import schema_of
from chatservice.testing import wait_until, without_request_id
from completions.tests.upstream_wire import KEY_IN_ERROR
from conversations.models import Conversation, Message
from foundation.ids import uuid7

SECRETS = (KEY_IN_ERROR, "sk-upstream-secret-canary", "Traceback")
MALFORMED = ("abc", "0", "-1", "1.5", "18446744073709551616", "%00", "..%2F..", "x" * 1000, "null", "'--")
# Bodies that every API must refuse, because they are not JSON objects or cannot be stored: (name, body, content type).
JSON = "application/json"
BAD_BODIES = (
    ("cut short", b'{"content": "x', JSON),
    ("something after it", b'{"content": "x"} x', JSON),
    ("no object but a list", b"[]", JSON),
    ("no object but a text", b'"content"', JSON),
    ("no object but null", b"null", JSON),
    ("NaN", b'{"content": "x", "temperature": NaN}', JSON),
    ("a number beyond any float", b'{"content": "x", "temperature": 1e999}', JSON),
    ("an integer of 100000 digits", b'{"seed": ' + b"9" * 100_000 + b"}", JSON),
    ("nested 40 deep", b'{"metadata": ' + b'{"a":' * 40 + b"1" + b"}" * 41, JSON),
    ("nested 100000 deep", b'{"content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", JSON),
    ("1001 keys", json.dumps({"metadata": {str(n): n for n in range(1001)}}).encode(), JSON),
    ("more than the body limit", json.dumps({"content": "x" * 4_200_000}).encode(), JSON),
    ("NUL in a value", b'{"content": "a\\u0000b", "title": "a\\u0000b", "model": "a\\u0000"}', JSON),
    ("NUL in a key", b'{"content": "x", "title": "x", "a\\u0000b": 1}', JSON),
    ("half a surrogate pair", b'{"content": "\\ud83d", "title": "\\ud83d"}', JSON),
    ("the other half", b'{"content": "\\udc00 x", "title": "\\udc00 x"}', JSON),
    ("a surrogate in UTF-8", b'{"content": "\xed\xa0\x80", "title": "\xed\xa0\x80"}', JSON),
    ("not UTF-8", b'{"content": "\xff", "title": "\xff"}', JSON),
    ("UTF-16", '{"content": "x"}'.encode("utf-16"), JSON),
    ("another charset", b'{"content": "x"}', "application/json; charset=utf-7"),
    ("a form", b"content=x&title=x", "application/x-www-form-urlencoded"),
    ("XML", b"<content>x</content>", "application/xml"),
)
# Behaviour, status, code: first for failures before the answer begins, then for failures after its first words.
FAILS_AT_ONCE = (
    ("fake/http-500", 502, "upstream_error"),
    ("fake/http-503:60", 502, "upstream_error"),
    ("fake/http-401", 502, "upstream_unauthorized"),
    ("fake/http-429:60", 429, "upstream_rate_limited"),
    ("fake/html-200", 502, "upstream_invalid"),
    ("fake/context-length", 400, "context_length_exceeded"),
    ("fake/body:errfirst.sse", 400, "context_length_exceeded"),
)
FAILS_LATER = (
    ("fake/truncated", 502, "upstream_truncated"),
    ("fake/truncated:cut", 502, "upstream_truncated"),
    ("fake/error-mid-stream", 502, "upstream_error"),
)


class AdmissionContract(DialectAdapter):
    """Refused callers: 401 without a valid key, 404 for somebody else's ids."""

    def test_every_call_needs_a_good_key(self) -> None:
        self.send_call(self.alice, "Mine").by(self.alice.http)
        calls = list(self.every_call())
        stored = self.stored_of(self.alice)
        yesterday = timezone.now() - dt.timedelta(days=1)
        _, expired = issue_api_key(user=self.alice.user, expires_at=yesterday)
        key, revoked = issue_api_key(user=self.alice.user)
        revoke_api_key(key=key)
        self.carol.user.is_active = False
        self.carol.user.save()
        good = self.alice.secret
        wrong = good[:-1] + ("a" if good[-1] != "a" else "b")
        headers = {
            "no key": {},
            "a wrong key": {"Authorization": f"Bearer {wrong}"},
            "an empty key": {"Authorization": "Bearer"},
            "another scheme": {"Authorization": "Basic YTpi"},
            "a key in a header of its own": {"X-Api-Key": good},
            "an expired key": {"Authorization": f"Bearer {expired}"},
            "a revoked key": {"Authorization": f"Bearer {revoked}"},
            "a disabled user's key": {"Authorization": f"Bearer {self.carol.secret}"},
        }
        for name, header in headers.items():
            for call in calls:
                with self.subTest(f"{name}: {call}"):
                    response = call.by(self.guest, **header)
                    self.assert_turned_away(response)
        self.assertEqual(self.stored_of(self.alice), stored)

    def test_a_request_from_somebody_elses_page_is_refused_and_nothing_is_read_or_stored(self) -> None:
        """A page names its user, but the browser's cookie may by now belong to another user, or be gone."""
        self.send_call(self.alice, "Mine").by(self.alice.http)
        calls = list(self.every_call())
        stored = [self.stored_of(api_user) for api_user in (self.alice, self.bob)]
        everything = (Conversation.objects.count(), Message.objects.count())
        her_page = {"X-Page-User": str(self.alice.user.pk)}
        for call in calls:
            with self.subTest(str(call)):
                self.assert_turned_away(call.by(self.bob.http, **her_page), "identity_changed")
                self.assert_turned_away(call.by(self.alice.http, **{"X-Page-User": "guest"}), "identity_changed")
                self.assert_turned_away(call.by(self.guest, **her_page))
        self.assertEqual([self.stored_of(api_user) for api_user in (self.alice, self.bob)], stored)
        self.assertEqual((Conversation.objects.count(), Message.objects.count()), everything)
        for make in (self.send_call, self.stream_call):
            response = make(self.alice, "Mine").by(self.alice.http, **her_page)
            self.assertIn(self.status_of(response), (200, 201), response.text)

    def test_a_key_that_is_revoked_while_in_use_stops_working(self) -> None:
        call = self.send_call(self.alice, "Still me")
        self.assertIn(self.status_of(call.by(self.alice.http)), (200, 201))
        revoke_api_key(key=self.alice.key)
        probe = self.send_call_again(call)
        wait_until(lambda: self.status_of(probe.by(self.alice.http)) == 401, timeout=5, what="the end of the key")

    def test_what_is_somebody_elses_is_as_if_it_were_not(self) -> None:
        self.send_call(self.alice, "Mine alone").by(self.alice.http)
        hers = self.ids_of(self.alice)
        self.send_call(self.bob, "Bob's own").by(self.bob.http)
        stored = self.stored_of(self.alice)
        nobodys = Ids(*(str(uuid7()) for _ in range(3)))
        calls = zip(self.calls_with(hers), self.calls_with(nobodys), strict=True)
        for foreign, unknown in calls:
            with self.subTest(str(foreign)):
                seen, control = foreign.by(self.bob.http), unknown.by(self.bob.http)
                self.assertEqual((self.status_of(seen), self.status_of(control)), (404, 404), seen.text + control.text)
                self.assertEqual(without_request_id(seen.text), without_request_id(control.text))
                self.error_code(seen)
                names = [{name for name in answer.headers if name != "date"} for answer in (seen, control)]
                self.assertEqual(*names)
                self.assertEqual(self.status_of(foreign.by(self.carol.http)), 404, "staff has the admin, not this")
        self.assertEqual(self.stored_of(self.alice), stored)

    def test_what_is_no_id_cannot_be_found(self) -> None:
        for text in MALFORMED:
            for call in self.calls_with(Ids(text, text, text, file=text)):
                if not call.names(text):
                    continue  # in a body it would be a wrong value: see wrong_calls
                with self.subTest(str(call)):
                    response = call.by(self.alice.http)
                    self.assertIn(self.status_of(response), (404, 405), response.text)
                    self.error_code(response)

    def test_no_route_with_an_id_is_forgotten(self) -> None:
        known = self.calls_with(Ids(*(str(uuid.UUID(int=n)) for n in range(3))))
        for path, operations in schema_of(self.dialect)["paths"].items():
            if not re.search(r"\{\w*(id|pk)\}", path):
                continue
            pattern = re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path))
            for method in operations:
                found = [call for call in known if call.method == method.upper() and pattern.fullmatch(call.path)]
                self.assertTrue(found, f"calls_with() knows no {method.upper()} {path}")

    def every_call(self) -> Iterator[Call]:
        """Yield one call of each kind that this API offers."""
        yield self.send_call(self.alice, "Mine")
        yield self.stream_call(self.alice, "Mine")
        if Capability.CREATE not in self.unsupported:
            yield self.create_call("Mine")
        if Capability.LIST not in self.unsupported:
            yield self.list_call(page=1, limit=10)
        yield from self.calls_with(self.ids_of(self.alice))

    def send_call_again(self, call: Call) -> Call:
        return Call(call.method, call.path, {}, call.headers)


class InputContract(DialectAdapter):
    """Refused requests get an error in the dialect's shape, and nothing is stored."""

    def test_bodies_that_are_none_are_refused_and_nothing_is_stored(self) -> None:
        for call in self.calls_with_body():
            stored = self.stored_of(self.alice)
            for name, body, kind in BAD_BODIES:
                with self.subTest(f"{name}: {call.method} {call.path}"):
                    self.assert_refused(self.send_raw(call, body, kind))
            self.assertEqual(self.stored_of(self.alice), stored)

    def test_values_of_the_wrong_kind_are_refused_and_nothing_is_stored(self) -> None:
        calls = self.wrong_calls()
        stored = self.stored_of(self.alice)
        for call in calls:
            with self.subTest(str(call)[:200]):
                self.assert_refused(call.by(self.alice.http))
        self.assertEqual(self.stored_of(self.alice), stored)

    def test_an_idempotency_key_that_is_none_is_refused(self) -> None:
        self.need(Capability.IDEMPOTENCY)
        call = self.send_call(self.alice, "Hello")
        for key in ("", "x" * 256, "a b", "a\tb"):
            with self.subTest(key):
                self.assert_refused(call.by(self.alice.http, **{"Idempotency-Key": key}))

    def calls_with_body(self) -> list[Call]:
        calls = [self.send_call(self.alice, "x"), self.stream_call(self.alice, "x")]
        return calls if Capability.CREATE in self.unsupported else [*calls, self.create_call("x")]

    def assert_refused(self, response: httpx2.Response) -> None:
        self.assertTrue(400 <= self.status_of(response) < 500, f"{self.status_of(response)} {response.text[:500]}")
        self.assertNotIn(self.status_of(response), (401, 404, 408, 409, 429), response.text)
        self.error_code(response)


class UpstreamFailureContract(DialectAdapter):
    """When the model's server fails: the right code, the partial text is kept, one terminal event."""

    def test_a_failure_has_its_code_when_it_is_waited_for(self) -> None:
        for model, status, code in (*FAILS_AT_ONCE, *(FAILS_LATER if self.keeps_partial_of_whole else ())):
            with self.subTest(model):
                response = self.send_call(self.alice, "Well?", model=model).by(self.alice.http)
                self.assertEqual((self.status_of(response), self.error_code(response)), (status, code))
                self.assert_kept(model, response.text)

    def test_a_failure_has_its_code_and_one_end_when_it_is_streamed(self) -> None:
        for model, status, code in (*FAILS_AT_ONCE, *FAILS_LATER):
            with self.subTest(model):
                response = self.stream_call(self.alice, "Well?", model=model).by(self.alice.http)
                if self.status_of(response) == 200:
                    streamed = self.streamed(response.text)
                    self.assertEqual((streamed.ends, streamed.code), (1, code), response.text)
                    self.assertEqual(streamed.text, self.settled(self.alice).content)
                else:
                    self.assertEqual((self.status_of(response), self.error_code(response)), (status, code))
                self.assert_kept(model, response.text)

    def test_a_retry_under_the_same_key_asks_again_unless_it_may_have_been_billed(self) -> None:
        self.need(Capability.IDEMPOTENCY)
        for model, posts in (("fake/http-500", 2), ("fake/http-429:60", 2), ("fake/html-200", 1)):
            for number, make in enumerate((self.send_call, self.stream_call)):
                with self.subTest(model, number=number):
                    text, before = f"{model} {number}", len(self.upstream.posts)
                    call = make(self.alice, text, model=model)
                    for _ in range(2):
                        call.by(self.alice.http, **{"Idempotency-Key": f"retry-{text}".replace(" ", "-")})
                        self.assertEqual(self.settled(self.alice).status, "failed")
                    self.assertEqual(len(self.upstream.posts), before + posts)
                    questions = Message.objects.filter(conversation__owner=self.alice.user, content=text)
                    self.assertEqual(questions.count(), 1)

    def assert_kept(self, model: str, shown: str) -> None:
        answer = self.settled(self.alice)
        self.assertEqual(answer.status, "failed")
        self.assertEqual(bool(answer.content), any(model == name for name, _, _ in FAILS_LATER))
        for secret in SECRETS:
            self.assertNotIn(secret, shown)


class DialectContract(
    LifeContract, LeavingContract, FilesContract, AdmissionContract, InputContract, UpstreamFailureContract
):
    """The whole contract. Import the module, not this class, or pytest would also run this class by itself."""
