"""Accounts are deactivated together despite concurrent changes; one check serves all open streams."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

from django.db import connection
from django.test import Client, TestCase, TransactionTestCase
from django.utils import timezone

from accounts.callers import NotAdmitted, Principal
from accounts.credential_watch import ACCOUNT_GONE, KEY_GONE, STOPPED, find_refused
from accounts.models import ApiKey, User
from accounts.principal import clear_cache, principal_of_key
from accounts.services import MakerInactive, deactivate_users, issue_api_key, register_user, revoke_api_key, stop_user

ROUNDS = 8


class AtOnceTest(TransactionTestCase):
    def test_an_account_made_while_its_maker_is_deactivated_is_closed_or_is_not_made(self):
        for number in range(ROUNDS):
            maker = register_user(username=f"maker{number}")
            child = register_user(username=f"child{number}", created_by=maker)
            begin = threading.Barrier(3)
            refused: list[Exception] = []

            def make(name: str, by: User, begin=begin, refused=refused) -> None:
                try:
                    begin.wait()
                    register_user(username=name, created_by=by)
                except MakerInactive as error:
                    refused.append(error)
                finally:
                    connection.close()

            threads = [threading.Thread(target=make, args=(f"by-{by.username}", by)) for by in (maker, child)]
            for thread in threads:
                thread.start()
            begin.wait()
            deactivate_users(users=[maker])
            for thread in threads:
                thread.join(30)
            made = User.objects.filter(created_by__in=[maker, child])
            self.assertEqual(made.count() + len(refused), 3)
            self.assertFalse(made.filter(is_active=True).exists())

    def test_a_key_made_while_its_maker_is_revoked_is_revoked_or_is_not_made(self):
        from accounts.own_keys import issue_own_key

        user = register_user(username="alice")
        for _ in range(ROUNDS):
            key, text = issue_api_key(user=user)
            clear_cache()
            principal = principal_of_key(text)
            begin = threading.Barrier(2)

            def make(principal: Principal = principal, begin=begin) -> None:
                try:
                    begin.wait()
                    issue_own_key(principal=principal, name="", expires_at=None)
                except NotAdmitted:
                    pass
                finally:
                    connection.close()

            thread = threading.Thread(target=make)
            thread.start()
            begin.wait()
            revoke_api_key(key=key)
            thread.join(30)
        self.assertFalse(ApiKey.objects.usable().filter(user=user).exists())


class LookTest(TestCase):
    def setUp(self):
        clear_cache()
        self.addCleanup(clear_cache)

    def listener(self, name: str, **fields: Any) -> tuple[User, ApiKey, Principal]:
        user = register_user(username=name)
        key, text = issue_api_key(user=user, **fields)
        return user, key, principal_of_key(text)

    def test_each_reason_to_end_is_found_and_others_stay(self):
        alice, _, deactivated = self.listener("alice")
        bob, _, stopped = self.listener("bob")
        _, revoked_key, revoked = self.listener("carol")
        _, expiring, expired = self.listener("dan", expires_at=timezone.now() + dt.timedelta(hours=1))
        erin, _, erased = self.listener("erin")
        _, _, stays = self.listener("frank")
        everybody = [deactivated, stopped, revoked, expired, erased, stays]
        self.assertEqual(find_refused(everybody), {})
        deactivate_users(users=[alice])
        stop_user(user=bob)
        revoke_api_key(key=revoked_key)
        ApiKey.objects.filter(pk=expiring.pk).update(expires_at=timezone.now() - dt.timedelta(seconds=1))
        erin.delete()
        expected = {
            deactivated: ACCOUNT_GONE,
            stopped: STOPPED,
            revoked: KEY_GONE,
            expired: KEY_GONE,
            erased: ACCOUNT_GONE,
        }
        self.assertEqual(find_refused(everybody), expected)

    def test_who_came_after_everything_was_stopped_stays(self):
        user, _, _ = self.listener("alice")
        stop_user(user=user)
        _, text = issue_api_key(user=user)
        clear_cache()
        self.assertEqual(find_refused([principal_of_key(text)]), {})

    def test_it_costs_the_same_few_statements_for_many(self):
        some = [self.listener(f"user{n}")[2] for n in range(40)]
        with self.assertNumQueries(2):
            find_refused(some, False)

    def test_sessions_are_ended_with_the_account_and_others_stay(self):
        alice, bob = register_user(username="alice"), register_user(username="bob")
        browsers = []
        for user in (alice, bob):
            browsers.append(Client())
            browsers[-1].force_login(user)
        deactivate_users(users=[alice])
        User.objects.filter(pk=alice.pk).update(is_active=True)
        stores = [browser.session.session_key or "" for browser in browsers]
        self.assertFalse(browsers[0].session.exists(stores[0]))
        self.assertTrue(browsers[1].session.exists(stores[1]))
