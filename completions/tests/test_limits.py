"""Limits hold to the unit, whichever process is asked."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx2
from django.db import connection

from accounts import throttling
from chatservice.testing import Person, Service, ServiceTestCase, make_person, wait_until
from completions.models import Run
from completions.services import request_cancel
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

    def count_starts(self, person: Person, amount: int) -> None:
        wait_until(lambda: throttling.seconds_left() > 5, what="a minute with time left")
        with connection.cursor() as cursor:
            throttling.count(cursor, f"runs:{person.user.pk.hex}", amount=amount)

    def test_of_forty_starts_on_two_processes_exactly_four_are_admitted(self):
        wait_until(lambda: throttling.seconds_left() > 10, what="a minute with time left")
        alice, bob = self.alice, make_person("bob", url=self.services[0].url)

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
        # Somebody else is not in the way, and a place that is free again can be taken.
        self.assertEqual(bob.http.post(URL, json=body_of("echo")).status_code, 200)
        request_cancel(next(iter(Run.objects.running().filter(user=self.alice.user))).pk)
        wait_until(lambda: Run.objects.running().filter(user=self.alice.user).count() == 3, what="a free place")
        again = self.alice.http.post(self.services[1].url + URL, json=body_of("echo"))
        self.assertEqual(again.status_code, 200)
        # The thirty-six that were told to come again in a second took nothing from the minute (or it is over).
        self.assertIn(again.headers["x-ratelimit-remaining-requests"], ("195", "199"))
        for run in Run.objects.running().filter(user=self.alice.user):
            request_cancel(run.pk)
        for response in admitted:
            response.close()
        wait_until(lambda: not Run.objects.running().filter(user=self.alice.user).exists(), what="the end")
        self.assertEqual(invariants([self.alice.user, bob.user]), [])
        bob.http.close()

    def test_the_last_start_of_a_minute_passes_and_one_more_does_not(self):
        self.count_starts(self.alice, 198)
        keyed = {"Idempotency-Key": "once"}
        first, again, last, one_more, also_not = (
            self.alice.http.post(self.services[at % 2].url + URL, json=body_of("echo"), headers=headers)
            for at, headers in enumerate((keyed, keyed, {}, {}, {}))
        )
        self.assertEqual(again.status_code, 200)  # the same request, no start
        self.assertEqual([first.status_code, last.status_code], [200, 200])
        self.assertEqual(first.headers["x-ratelimit-limit-requests"], "200")
        self.assertEqual([each.headers["x-ratelimit-remaining-requests"] for each in (first, last)], ["1", "0"])
        self.assertRegex(first.headers["x-ratelimit-reset-requests"], r"\A[0-9]+s\Z")
        for response in (one_more, also_not):
            self.assert_refused(response)
            self.assertTrue(int(response.headers["retry-after"]) <= throttling.seconds_left() + 2)
        self.assertEqual(Run.objects.filter(user=self.alice.user).count(), 2)
        self.assertEqual(self.bob.http.post(self.services[0].url + URL, json=body_of("echo")).status_code, 200)


class AddressLimitTest(ServiceTestCase):
    def test_accounts_do_not_multiply_what_an_address_may_do(self):
        """Two hundred starts by twenty people, at once, on two processes: four are admitted."""
        services = [Service(env={"LIMIT_RUNS_PER_IP": "4"}) for _ in range(2)]
        for service in services:
            self.addCleanup(service.stop)
            service.start()
        people = [self.person(f"person{n}") for n in range(20)]

        def start(number: int) -> httpx2.Response:
            person = people[number % 20]
            url = services[number % 2 ^ number // 20 % 2].url + URL
            headers = {"X-Forwarded-For": f"10.0.0.{number}"}
            body = body_of("fake/stall:2", stream=True)
            return person.http.send(person.http.build_request("POST", url, json=body, headers=headers), stream=True)

        with ThreadPoolExecutor(50) as threads:
            responses = list(threads.map(start, range(200)))
        told = Counter(response.status_code for response in responses)
        users = [person.user for person in people]
        running = Run.objects.running().filter(user__in=users)
        admitted = running.count()
        for run in running.all():
            request_cancel(run.pk)
        for response in responses:
            response.close()
        wait_until(lambda: not running.all().exists(), what="the end")
        self.assertEqual((admitted, told), (4, {200: 4, 429: 196}))
