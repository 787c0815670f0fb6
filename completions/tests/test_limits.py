"""Limits are exact to the unit, whichever process is asked."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import httpx2
from django.db import connection
from django.test import TestCase, override_settings

from accounts import throttling
from chatservice.testing import (
    ApiUser,
    Service,
    ServiceTestCase,
    make_api_user,
    needs_dialect,
    running_service,
    tried_on,
    wait_for_minute,
    wait_until,
)
from chatservice.testing.sockets import Socket
from completions.exceptions import TooManyRuns
from completions.models import Run
from completions.run_requests import RunRequest
from completions.services import request_cancel
from completions.tests.asking import accept_all, accept_one, question, somebody
from completions.tests.invariants import invariants
from completions.tests.streaming import URL, body_of

LIMITS = {
    "LIMIT_RUNS_PER_USER": "4",
    "LIMIT_RUN_STARTS_PER_MINUTE": "200",
    "LIMIT_STREAMS_PER_USER": "6",
}


class LimitTest(ServiceTestCase):
    services: list[Service]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.services = []
        for _ in range(2):
            service = Service(env=LIMITS)
            cls.services.append(service)
            cls.addClassCleanup(service.stop)
            service.start()

    def assert_refused(self, response: httpx2.Response) -> None:
        self.assertEqual(response.status_code, 429)
        self.assertTrue(1 <= int(response.headers["retry-after"]) <= 60)
        error = response.json()["error"]
        self.assertEqual((error["type"], error["code"]), ("rate_limit_error", "rate_limit_exceeded"))
        self.assertEqual(set(error), {"message", "type", "param", "code"})

    def count_starts(self, api_user: ApiUser, amount: int) -> None:
        wait_for_minute()
        with connection.cursor() as cursor:
            throttling.count(cursor, f"runs:{api_user.user.pk.hex}", amount=amount)

    def test_of_forty_starts_on_two_processes_exactly_four_are_admitted(self):
        wait_for_minute()
        alice, bob = self.alice, make_api_user("bob", url=self.services[0].url)

        def start(number: int) -> httpx2.Response:
            body = body_of("fake/stall:2", stream=True)
            url = self.services[number % 2].url + URL
            return alice.http.send(alice.http.build_request("POST", url, json=body), stream=True)

        with ThreadPoolExecutor(40) as threads:
            responses = list(threads.map(start, range(40)))
        admitted = [response for response in responses if response.status_code == 200]
        refused = [response for response in responses if response.status_code != 200]
        self.assertEqual(len(admitted), 4)
        self.assertEqual(Run.objects.running().filter(user=self.alice.user).count(), 4)
        for response in refused:
            response.read()
            self.assert_refused(response)
        # Other users are not affected, and a freed slot can be used again.
        self.assertEqual(bob.http.post(URL, json=body_of("echo")).status_code, 200)
        request_cancel(next(iter(Run.objects.running().filter(user=self.alice.user))).pk)
        wait_until(lambda: Run.objects.running().filter(user=self.alice.user).count() == 3, what="a free place")
        again = self.alice.http.post(self.services[1].url + URL, json=body_of("echo"))
        self.assertEqual(again.status_code, 200)
        # The 36 requests that were told to retry in a second did not count (or the minute has passed).
        self.assertIn(again.headers["x-ratelimit-remaining-requests"], ("195", "199"))
        for run in Run.objects.running().filter(user=self.alice.user):
            request_cancel(run.pk)
        for response in admitted:
            response.close()
        wait_until(lambda: not Run.objects.running().filter(user=self.alice.user).exists(), what="the end")
        self.assertEqual(invariants([self.alice.user, bob.user]), [])
        bob.http.close()

    def test_n_answers_count_as_n_and_a_refusal_says_which_limit_they_pass(self):
        needs_dialect("websocket")
        url = self.services[0].url + URL
        for stream in (False, True):
            refused = self.alice.http.post(url, json=body_of("echo", n=5, stream=stream))
            self.assert_refused(refused)
            message = refused.json()["error"]["message"]
            self.assertIn("At most 4 answers can be written at once (LIMIT_RUNS_PER_USER)", message)
            self.assertIn("5", message)
        admitted = self.alice.http.post(url, json=body_of("echo", n=4))
        self.assertEqual(admitted.status_code, 200)
        self.assertIn(admitted.headers["x-ratelimit-remaining-requests"], ("196", "200"))
        with Socket(self.services[0].websocket_url, additional_headers=self.alice.headers) as socket:
            socket.say(type="send", content="Hi", parameters={"n": 5})
            data = socket.read()["data"]
        self.assertEqual((data["code"], data["retry_after"]), ("rate_limit_exceeded", 1))
        with running_service(LIMIT_RUNS_PER_PROCESS="2") as service:
            told = [self.alice.http.post(service.url + URL, json=body_of("echo", n=n)) for n in (3, 2)]
        self.assertEqual([response.status_code for response in told], [429, 200])
        self.assertIn("At most 2 answers at once in this process (LIMIT_RUNS_PER_PROCESS)", told[0].text)

    def test_the_last_start_of_a_minute_passes_and_one_more_does_not(self):
        self.count_starts(self.alice, 198)
        keyed = {"Idempotency-Key": "once"}
        first, again, last, one_more, also_not = (
            self.alice.http.post(self.services[at % 2].url + URL, json=body_of("echo"), headers=headers)
            for at, headers in enumerate((keyed, keyed, {}, {}, {}))
        )
        self.assertEqual(again.status_code, 200)  # the same request again, which starts no run
        self.assertEqual([first.status_code, last.status_code], [200, 200])
        self.assertEqual(first.headers["x-ratelimit-limit-requests"], "200")
        self.assertEqual([each.headers["x-ratelimit-remaining-requests"] for each in (first, last)], ["1", "0"])
        self.assertRegex(first.headers["x-ratelimit-reset-requests"], r"\A[0-9]+s\Z")
        for response in (one_more, also_not):
            self.assert_refused(response)
            self.assertTrue(int(response.headers["retry-after"]) <= throttling.seconds_left() + 2)
        self.assertEqual(Run.objects.filter(user=self.alice.user).count(), 2)
        self.assertEqual(self.bob.http.post(self.services[0].url + URL, json=body_of("echo")).status_code, 200)


@tried_on("postgresql")
class AddressLimitTest(ServiceTestCase):
    """Many users at one address: the address limits guests, but nobody who has a key."""

    def test_twenty_people_at_one_address_are_limited_each_by_themselves(self):
        """Twenty users make two hundred starts at once, on two processes: four per user are admitted."""
        limits = {"LIMIT_RUNS_PER_IP": "1", "LIMIT_STREAMS_PER_IP": "1", "LIMIT_RUNS_PER_USER": "4"}
        services = [Service(env=limits) for _ in range(2)]
        for service in services:
            self.addCleanup(service.stop)
            service.start()
        api_users = [self.api_user(f"user{n}") for n in range(20)]

        def start(number: int) -> httpx2.Response:
            api_user = api_users[number % 20]
            url = services[number % 2 ^ number // 20 % 2].url + URL
            headers = {"X-Forwarded-For": f"10.0.0.{number}"}
            body = body_of("fake/stall:2", stream=True)
            return api_user.http.send(api_user.http.build_request("POST", url, json=body, headers=headers), stream=True)

        with ThreadPoolExecutor(50) as threads:
            responses = list(threads.map(start, range(200)))
        told = Counter(response.status_code for response in responses)
        running = Run.objects.running().filter(user__in=[api_user.user for api_user in api_users])
        admitted = Counter(running.values_list("user", flat=True))
        for run in running.all():
            request_cancel(run.pk)
        for response in responses:
            response.close()
        wait_until(lambda: not running.all().exists(), what="the end")
        self.assertEqual(admitted, {api_user.user.pk: 4 for api_user in api_users})
        self.assertEqual(told, {200: 80, 429: 120})

    def test_guests_are_limited_by_their_address_whichever_process_is_asked(self):
        limits = {"LIMIT_RUNS_PER_IP": "4", "ANONYMOUS": "on", "TRUSTED_PROXIES": "1"}
        services = [Service(env=limits) for _ in range(2)]
        for service in services:
            self.addCleanup(service.stop)
            service.start()

        def start(number: int) -> int:
            # Requests alternate between two neighbouring /64 networks, which count as two addresses.
            headers = {"X-Forwarded-For": f"2001:db8:0:{number % 2}::{number:x}"}
            body = {"message": "Hi", "model": "fake/stall:2"}
            url = f"{services[number // 2 % 2].url}/conversations/start"
            return httpx2.post(url, json=body, headers=headers, timeout=60, trust_env=False).status_code

        running = Run.objects.running().filter(address__startswith="2001:db8:")
        with ThreadPoolExecutor(40) as threads:
            told = [threads.submit(start, number) for number in range(40)]
            wait_until(lambda: sum(each.done() for each in told) == 32, timeout=60, what="the refusals")
            admitted = Counter(running.values_list("address", flat=True))
            for run in running.all():
                request_cancel(run.pk)
        self.assertEqual(admitted, {"2001:db8::/64": 4, "2001:db8:0:1::/64": 4})
        self.assertEqual(Counter(each.result() for each in told)[429], 32)


class ClockTest(ServiceTestCase):
    def test_processes_whose_clocks_differ_count_in_the_same_minute(self):
        """Four of ten starts are admitted, on alternating machines: one has a correct clock, the other is ahead."""
        ahead = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, ahead)
        (ahead / "sitecustomize.py").write_text("import time\nright = time.time\ntime.time = lambda: right() + 90\n")
        limits = {"LIMIT_RUN_STARTS_PER_MINUTE": "4"}
        services = [Service(env=limits), Service(env={**limits, "PYTHONPATH": str(ahead)})]
        for service in services:
            self.addCleanup(service.stop)
            service.start()
        wait_for_minute(20)
        responses = [self.alice.http.post(services[at % 2].url + URL, json=body_of("echo")) for at in range(10)]
        self.assertEqual([response.status_code for response in responses], [200] * 4 + [429] * 6)
        for response in responses[4:]:
            self.assertTrue(1 <= int(response.headers["retry-after"]) <= throttling.seconds_left() + 10)
        resets = [int(response.headers["x-ratelimit-reset-requests"].removesuffix("s")) for response in responses[:4]]
        self.assertTrue(all(0 <= before - after <= 10 for before, after in pairwise(resets)), resets)


class QuotaTest(TestCase):
    @override_settings(LIMIT_MESSAGES_PER_USER=3)
    def test_an_account_that_somebody_made_uses_up_its_makers(self):
        alice, made = somebody("alice"), somebody("made")
        made.limits_owner = alice
        made.save()
        together = accept_all(*(question(who, "Hi", threaded=True, exclusive=False) for who in (made, alice)))
        later = accept_one(question(made, "Hi again", threaded=True, exclusive=False))
        self.assertEqual([getattr(each, "not_kept", each) for each in (*together, later)], ["", "quota", "quota"])


class ChoicesTest(TestCase):
    """`n` answers to one question count as n in every limit; either all are admitted or none."""

    def setUp(self):
        self.alice = somebody("alice")

    def ask(self, n: int | None) -> RunRequest:
        return question(self.alice, "Hi", parameters={} if n is None else {"n": n}, threaded=True, exclusive=False)

    @override_settings(LIMIT_RUNS_PER_USER=4, LIMIT_RUN_STARTS_PER_MINUTE=0)
    def test_at_once(self):
        for refused in (5, 128):
            message = "At most 4 answers can be written at once (LIMIT_RUNS_PER_USER); this request's n asks for "
            with self.assertRaisesMessage(TooManyRuns, f"{message}{refused}."):
                accept_one(self.ask(refused))
        accept_one(self.ask(3))
        with self.assertRaises(TooManyRuns):
            accept_one(self.ask(2))
        one_batch = accept_all(self.ask(1), self.ask(None))
        self.assertEqual([isinstance(each, TooManyRuns) for each in one_batch], [False, True])
        self.assertEqual(list(Run.objects.order_by("pk").values_list("choices", flat=True)), [3, 1])

    @override_settings(LIMIT_RUNS_PER_USER=0, LIMIT_RUN_STARTS_PER_MINUTE=4)
    def test_in_a_minute_and_what_is_refused_takes_nothing_from_it(self):
        wait_for_minute()
        with self.assertRaisesMessage(TooManyRuns, "At most 4 answers can be started per minute"):
            accept_one(self.ask(5))
        self.assertEqual(accept_one(self.ask(3)).rates[0].used, 3)
        with self.assertRaises(TooManyRuns):
            accept_one(self.ask(2))
        self.assertEqual(accept_one(self.ask(1)).rates[0].used, 4)
