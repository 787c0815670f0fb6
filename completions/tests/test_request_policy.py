"""Who may ask for what: the syntax of the settings, and the checks' messages about mistakes in them."""

from __future__ import annotations

import uuid
from typing import Any

from asgiref.sync import async_to_sync
from django.test import SimpleTestCase, override_settings

from accounts.callers import Principal
from accounts.principal import principal_of_key
from accounts.services import issue_api_key, register_user
from chatservice.testing import KeptTablesTestCase
from completions.checks import models_allowed_are_understood
from completions.exceptions import InvalidRequest, ModelNotAllowed
from completions.request_policy import check, patterns_for

GUEST = Principal(uuid.uuid4(), "guest", is_guest=True)
ALICE = Principal(uuid.uuid4(), "alice")
CAROL = Principal(uuid.uuid4(), "carol", is_staff=True)


class ModelsAllowedTest(SimpleTestCase):
    def patterns(self, allowed: Any) -> list[Any]:
        with override_settings(MODELS_ALLOWED=allowed):
            return [async_to_sync(patterns_for)(who) for who in (GUEST, ALICE, CAROL)]

    def test_the_closest_entry_decides_and_without_one_everything_is_allowed(self):
        for allowed, expected in (
            ({}, [None, None, None]),
            ({"guest": ["a"]}, [["a"], None, None]),
            ({"*": ["a"]}, [["a"], ["a"], ["a"]]),
            ({"*": ["a"], "staff": ["b"]}, [["a"], ["a"], ["b"]]),
            ({"*": ["a"], "user:alice": ["b"], "user:carol": []}, [["a"], ["b"], []]),
            ({"*": ["a"], "user:guest": ["b"]}, [["a"], ["a"], ["a"]]),
        ):
            self.assertEqual(self.patterns(allowed), expected, allowed)

    @override_settings(MODELS_ALLOWED={"*": ["gpt-4o*", "local/llama3"]})
    def test_patterns_are_of_the_whole_name_and_its_case(self):
        for model, allowed in (
            *(("gpt-4o", True), ("gpt-4o-mini", True), ("local/llama3", True)),
            *(("gpt-4", False), ("GPT-4o", False), ("local/llama31", False), ("x/gpt-4o", False), ("", False)),
        ):
            try:
                async_to_sync(check)(ALICE, model, {})
                self.assertTrue(allowed, model)
            except ModelNotAllowed:
                self.assertFalse(allowed, model)

    def test_mistakes_are_found_before_the_service_starts(self):
        mistakes: tuple[Any, ...] = ([], {"everybody": ["a"]}, {"user:": ["a"]}, {"*": "a"}, {"*": [1]})
        for wrong in mistakes:
            with override_settings(MODELS_ALLOWED=wrong):
                self.assertEqual([error.id for error in models_allowed_are_understood(None)], ["completions.E003"])
        with override_settings(MODELS_ALLOWED={"*": ["*"], "guest": [], "user:a:b": ["x"], "group:Some people": ["y"]}):
            self.assertEqual(models_allowed_are_understood(None), [])


class ChoicesTest(SimpleTestCase):
    def test_n_is_a_whole_number_within_bounds(self):
        wrong: tuple[Any, ...] = (0, -1, 129, True, 1.0, "2", [2])
        for n in wrong:
            with self.assertRaises(InvalidRequest) as refused:
                async_to_sync(check)(ALICE, "echo", {"n": n})
            self.assertEqual((refused.exception.status, refused.exception.param), (400, "n"))
        for right in (None, 1, 128):
            async_to_sync(check)(ALICE, "echo", {"n": right})


class MadeAccountsTest(KeptTablesTestCase):
    def test_an_account_may_ask_what_its_maker_may(self):
        alice = register_user(username=f"alice-{uuid.uuid4().hex[:8]}")
        made = register_user(username=f"made-{uuid.uuid4().hex[:8]}", created_by=alice)
        hers, its = f"user:{alice.username}", f"user:{made.username}"
        _, key = issue_api_key(user=made)
        who = principal_of_key(key)
        for allowed, expected in (
            ({"*": ["*"], hers: ["a"]}, ["a"]),
            ({"*": ["*"], hers: ["a"], its: ["b"]}, ["a"]),
            ({"*": ["c"], its: ["b"]}, ["c"]),
        ):
            with override_settings(MODELS_ALLOWED=allowed):
                self.assertEqual(async_to_sync(patterns_for)(who), expected)
