"""A long history is stored like a short one, does not slow others down, and is stored either whole or not at all."""

from __future__ import annotations

import itertools
import random
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, TypeVar
from unittest import TestCase as PureTestCase
from unittest import mock

import httpx2
from django.db import connection, transaction
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from chatservice.testing import ApiUser, KeptTablesTestCase, Service, ServiceTestCase, make_api_user, second_service
from completions import long_histories, staging
from completions.context import fit
from completions.exceptions import HistoryChanged, InvalidRequest, TooManyMessages
from completions.journal import MAX_MESSAGES, _bounded
from completions.models import IdempotencyKey, Run
from completions.prefixes import MAX_SHORT, prepare
from completions.providers.echo import Echo
from completions.rows import INSERT_MESSAGE, INSERT_PART
from completions.run_requests import RunHandle, RunRequest
from completions.tests.asking import accept_one, assistant_says, question, somebody, user_says
from completions.tests.invariants import invariants
from completions.tests.streaming import URL
from completions.types import Wire
from completions.upstream_requests import _history
from conversations import digests, quota
from conversations.branches import branch
from conversations.models import Conversation, Message

T = TypeVar("T")
LONG = 300
UNLIMITED = override_settings(LIMIT_RUNS_PER_USER=0, LIMIT_RUNS_PER_IP=0, LIMIT_RUN_STARTS_PER_MINUTE=0)


def history(count: int, mark: str = "") -> list[Wire]:
    mark = mark or uuid.uuid4().hex
    return [(user_says if at % 2 == 0 else assistant_says)(f"{mark} {at}") for at in range(count - 1)] + [
        user_says(f"{mark} the question")
    ]


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the test's transaction: calls that it would make in other threads run in this one."""

    async def here(function: Callable[..., Any], *arguments: Any, seconds: float = 0) -> Any:
        return function(*arguments)

    async def flush() -> None:
        pass

    with (
        mock.patch("completions.prefixes.in_database_thread", here),
        mock.patch("completions.long_histories.in_database_thread", here),
        mock.patch("completions.long_histories.journal", lambda: mock.Mock(between_commits=here, flush_now=flush)),
    ):
        while True:
            try:
                work.send(None)
            except StopIteration as end:
                return end.value


def answered(conversation_id: Any) -> None:
    """Make the assistant messages that a call brought answers of ours, which calls go on from."""
    said = Message.objects.of(conversation_id).answers().exclude(status=Message.Status.IN_PROGRESS)
    said.update(model="echo", upstream="echo")


def finish_with(handle: RunHandle, text: str) -> Wire:
    """Finish an answer; returns it as the client sends it again."""
    answer = Message.objects.get(run=handle.run_id)
    answer.content, answer.digest = text, digests.follow(handle.digest_before, assistant_says(text))
    answer.status = Message.Status.COMPLETE
    answer.save()
    return assistant_says(text)


def drop_staged() -> None:
    with connection.cursor() as cursor:
        for table in (staging.MESSAGES, staging.PARTS):
            cursor.execute(f"DROP TABLE IF EXISTS {table}")


def accept(ask: RunRequest) -> RunHandle:
    """Accept a question as the service does."""
    ask = drive(prepare(ask))
    if ask.history is None or ask.new_messages <= MAX_SHORT:
        return accept_one(ask)
    ask, rows = drive(long_histories._prepare_rows(ask, ask.history))
    try:
        return drive(long_histories._store(ask, rows))
    finally:
        drop_staged()


@UNLIMITED
class AcceptedTest(TestCase):
    """The stored result, with and without staging."""

    def setUp(self) -> None:
        self.alice, self.bob = somebody("alice"), somebody("bob")

    def ask(self, messages: list[Wire], **fields) -> RunRequest:
        return question(self.alice, *messages, threaded=True, exclusive=False, **fields)

    def shown(self, handle: RunHandle) -> list[Any]:
        assert handle.conversation_id is not None
        return [message.as_wire() for message in branch(handle.conversation_id, handle.message_id)][:-1]

    def rows(self, handle: RunHandle) -> list[Message]:
        assert handle.conversation_id is not None
        return list(Message.objects.of(handle.conversation_id).oldest_first())

    def test_a_long_history_is_stored_as_if_it_had_been_accepted_at_once(self):
        said = [
            {"role": "system", "content": "Be brief"},
            *history(LONG),
            assistant_says("", tool_calls=[{"id": "1", "type": "function", "function": {"name": "f"}}]),
            {"role": "tool", "tool_call_id": "1", "content": "[]"},
            user_says("", name="Zoë"),
            {"role": "critic", "content": [{"type": "text", "text": "é\U0001f600"}, {"type": "text", "text": "b"}]},
        ]
        whole = accept(self.ask(said))
        at_once = accept_one(question(self.bob, *said, threaded=True, exclusive=False))
        self.assertEqual(self.shown(whole), self.shown(at_once))
        rows, others = self.rows(whole), self.rows(at_once)
        self.assertEqual([row.position for row in rows], list(range(1, len(said) + 2)))
        self.assertEqual([row.parent_id for row in rows], [None, *(row.pk for row in rows[:-1])])
        self.assertEqual([row.digest for row in rows[:-1]], digests.chain(digests.root(self.alice.pk), said))
        self.assertEqual(sorted(rows, key=lambda row: row.pk), rows)
        self.assertEqual({row.created_at for row in rows}, {whole.created_at})
        own = ("id", "conversation", "parent", "digest", "created_at")
        fields = [field.attname for field in Message._meta.concrete_fields if field.name not in own]
        self.assertEqual(*([[getattr(row, name) for name in fields] for row in each] for each in (rows, others)))
        talk = Conversation.objects.get(runs=whole.run_id)
        self.assertEqual((talk.head_id, talk.next_position), (whole.message_id, len(said) + 2))
        self.assertEqual(whole.question_id, rows[-2].pk)
        self.assertEqual(list(quota.drifts()), [])

    def test_what_was_stored_is_not_stored_again_and_a_changed_past_is_a_branch(self):
        said = history(LONG)
        first = accept(self.ask(said))
        answered(first.conversation_id)
        more = accept(self.ask([*said, assistant_says("Yes"), user_says("And?")]))
        self.assertEqual(more.conversation_id, first.conversation_id)
        self.assertEqual(len(self.rows(more)), LONG + 1 + 3)
        changed = accept(self.ask([*said[:100], *history(LONG)]))
        self.assertEqual(changed.conversation_id, first.conversation_id)
        self.assertEqual(self.shown(changed)[:100], said[:100])
        self.assertEqual(len(self.shown(changed)), 100 + LONG)
        self.assertEqual(self.shown(first), said)
        rows = self.rows(first)
        self.assertEqual([row.position for row in rows], list(range(1, len(rows) + 1)))
        self.assertEqual(rows[LONG + 4].parent_id, rows[99].pk)

    def test_somebody_elses_equal_history_is_none_of_ours(self):
        said = history(LONG)
        mine = accept(self.ask(said))
        others = accept(question(self.bob, *said, threaded=True, exclusive=False))
        self.assertNotEqual(mine.conversation_id, others.conversation_id)
        self.assertEqual(Conversation.objects.get(runs=others.run_id).owner_id, self.bob.pk)

    def test_what_no_run_of_ours_answered_is_a_conversation_of_its_own(self):
        said = history(LONG)
        handles = [accept(self.ask(said)) for _ in range(3)]
        self.assertEqual(len({handle.conversation_id for handle in handles}), 3)
        for handle in handles:
            self.assertEqual(self.shown(handle), said)

    def test_what_another_call_stored_meanwhile_takes_nothing_from_it(self):
        said = history(LONG)
        ask = _prepared(self.ask(said))
        for stored in (LONG, 40):  # meanwhile all of it, or its beginning, has been stored
            with self.subTest(stored=stored), transaction.atomic():
                answered(accept(self.ask(said[:stored])).conversation_id)
                with staged(ask) as ready:
                    handle = accept_one(ready)
                self.assertEqual(self.shown(handle), said)
                self.assertEqual(len(self.rows(handle)), LONG + 1)
                transaction.set_rollback(True)

    def test_a_conversation_that_an_earlier_version_stored_goes_on(self):
        for count in (5, LONG):
            said = history(count)
            first = accept(self.ask(said))
            finish_with(first, "Yes")
            rows = self.rows(first)
            before = digests.chain(digests.untagged(self.alice.pk), [row.as_wire() for row in rows])
            for row, digest in zip(rows, before, strict=True):
                Message.objects.filter(pk=row.pk).update(digest=digest)
            said = [row.as_wire() for row in rows]
            for _ in range(3):
                said = [*said, user_says("And?")]
                more = accept(self.ask(said))
                self.assertEqual((more.conversation_id, self.shown(more)), (first.conversation_id, said))
                self.assertEqual(len(self.rows(more)), len(said) + 1)
                said = [*said, finish_with(more, "Yes")]

    def test_what_was_deleted_meanwhile_is_asked_again(self):
        said = history(LONG)
        first = accept(self.ask(said))
        said += [finish_with(first, "Yes"), user_says("And?")]
        ask = _prepared(self.ask(said))
        self.assertEqual(ask.new_messages, 1)
        Conversation.objects.filter(runs=first.run_id).update(head=None)
        Message.objects.filter(conversation=first.conversation_id).delete()
        with self.assertRaises(HistoryChanged):
            accept_one(ask)
        again = accept(self.ask(said))
        self.assertEqual(len(self.shown(again)), LONG + 2)

    @override_settings(LIMIT_MESSAGES_PER_CONVERSATION=LONG + 4, LIMIT_NEW_MESSAGES_PER_REQUEST=LONG)
    def test_where_a_conversation_is_full_a_new_one_begins_with_all_of_it(self):
        said = history(LONG)
        first = accept(self.ask(said))
        said += [finish_with(first, "Yes"), user_says("And?")]
        meanwhile = _prepared(self.ask([*said, user_says("Or?")]))
        second = accept(self.ask(said))
        self.assertEqual(second.conversation_id, first.conversation_id)
        # It had room when it was looked up.
        with self.assertRaises(HistoryChanged):
            accept_one(meanwhile)
        # All of it is new there, which is more than a request may bring.
        said += [finish_with(second, "No"), user_says("Why?")]
        third = accept(self.ask(said))
        self.assertNotEqual(third.conversation_id, first.conversation_id)
        self.assertEqual(self.shown(third), said)
        self.assertEqual([row.position for row in self.rows(third)], list(range(1, LONG + 6)))
        # What was sent before goes on there: the history is not stored again with each question.
        said += [finish_with(third, "So"), user_says("Well?")]
        fourth = accept(self.ask(said))
        self.assertEqual((fourth.conversation_id, self.shown(fourth)), (third.conversation_id, said))
        self.assertEqual(list(quota.drifts()), [])

    @override_settings(LIMIT_MESSAGES_PER_CONVERSATION=LONG // 2)
    def test_a_call_longer_than_a_conversation_is_kept_too(self):
        said = history(LONG)
        handle = accept(self.ask(said))
        self.assertEqual(self.shown(handle), said)
        more = accept(self.ask([*said, finish_with(handle, "Yes"), user_says("And?")]))
        self.assertEqual(more.conversation_id, handle.conversation_id)

    def test_the_same_key_is_the_same_run_and_stores_nothing_more(self):
        said = history(LONG)
        ask = self.ask(said, idempotency_key="once", fingerprint="f")
        first, again = accept(ask), accept(ask)
        self.assertEqual((again.run_id, again.attached), (first.run_id, True))
        with staged(_prepared(self.ask(history(LONG), idempotency_key="once", fingerprint="f"))) as late:
            self.assertTrue(accept_one(late).attached)
        self.assertEqual(Message.objects.filter(conversation__owner=self.alice).count(), LONG + 1)

    def test_of_a_long_branch_no_more_is_read_than_fits_and_what_is_sent_is_the_same(self):
        system = {"role": "system", "content": "Be brief"}
        said = [system, *history(LONG), {"role": "developer", "content": "Be kind"}, *history(LONG)]
        handle = accept(self.ask(said))
        assert handle.conversation_id is not None
        assert handle.question_id is not None
        place = (handle.conversation_id, handle.question_id)
        for tokens in (1, 50, 700, 5_000, 10**6):
            with self.subTest(tokens=tokens), CaptureQueriesContext(connection) as queries:
                found = _history(*place, tokens, Echo())
            self.assertEqual(fit(found, tokens=tokens), fit(said, tokens=tokens))
            if tokens < 1_000:
                self.assertLessEqual(len(found), 202)
                self.assertLessEqual(len(queries), 5)

    def test_a_refusal_leaves_nothing(self):
        with override_settings(LIMIT_NEW_MESSAGES_PER_REQUEST=LONG - 1), self.assertRaises(InvalidRequest):
            accept(self.ask(history(LONG)))
        self.assertFalse(Conversation.objects.filter(owner=self.alice).exists())
        self.assertEqual(Message.objects.filter(conversation__owner=self.alice).count(), 0)

    @override_settings(LIMIT_NEW_MESSAGES_PER_REQUEST=200)
    def test_a_request_brings_so_many_new_messages_and_no_more(self):
        said = history(200)
        said.append(finish_with(accept(self.ask(said)), "Yes"))
        with self.assertRaisesRegex(InvalidRequest, r"200 messages.*LIMIT_NEW_MESSAGES_PER_REQUEST.*201") as refused:
            accept(self.ask(history(201)))
        self.assertEqual(refused.exception.param, "messages")
        # Messages that are already stored do not count, however many they are.
        more = accept(self.ask([*said, *history(200)]))
        self.assertEqual(len(self.shown(more)), 401)

    @override_settings(LIMIT_NEW_MESSAGES_PER_REQUEST=200)
    def test_no_more_is_looked_up_than_a_request_may_leave_unstored(self):
        with CaptureQueriesContext(connection) as queries:
            _prepared(self.ask(history(10 * LONG)))
        self.assertLessEqual(len(queries), 6)  # three batches of look-ups for each chain

    @override_settings(LIMIT_NEW_MESSAGES_PER_REQUEST=5)
    def test_short_calls_are_held_to_it_too(self):
        accept(self.ask(history(5)))
        with self.assertRaisesRegex(InvalidRequest, "LIMIT_NEW_MESSAGES_PER_REQUEST"):
            accept(self.ask(history(6)))

    @override_settings(LIMIT_ROWS_PER_MINUTE=2 * LONG)
    def test_rows_a_minute_are_counted_where_they_are_stored(self):
        said = history(LONG)
        answered(accept(self.ask(said)).conversation_id)
        # Refused or already stored messages do not count.
        for _ in range(3):
            with self.assertRaisesRegex(TooManyMessages, rf"{2 * LONG} messages.*LIMIT_ROWS_PER_MINUTE") as refused:
                accept(self.ask(history(LONG)))
            self.assertIn(refused.exception.retry_after, range(1, 61))
            accept(self.ask(said, store=False))
        accept(self.ask([*said[:200], *history(LONG - 4)]))  # 297 rows in addition to the 301
        accept(self.ask(said))
        with self.assertRaises(TooManyMessages):
            accept(self.ask(history(2)))
        accept(question(self.bob, *history(LONG), threaded=True, exclusive=False))


def _prepared(ask: RunRequest) -> RunRequest:
    return drive(prepare(ask))


@contextmanager
def staged(ask: RunRequest) -> Iterator[RunRequest]:
    """Inside the block, the staging table of this connection contains the new messages of a prepared question."""
    assert ask.history is not None
    ready, rows = drive(long_histories._prepare_rows(ask, ask.history))
    drop_staged()
    with connection.cursor() as cursor:
        staging.create(cursor, INSERT_MESSAGE, INSERT_PART)
        staging.write(cursor, INSERT_MESSAGE, INSERT_PART, rows)
    yield ready
    drop_staged()


class CommitTest(PureTestCase):
    def test_one_commit_takes_few_messages(self):
        user = mock.Mock(pk=uuid.uuid4(), guest_made=False)
        nobody: Any = None
        run_requests = [(question(user, *history(MAX_SHORT)), nobody, nobody) for _ in range(10)]
        taken = []
        rest = run_requests
        while rest:
            now, rest = _bounded(rest)
            self.assertLessEqual(sum(ask.new_messages + 1 for ask, _, _ in now), MAX_MESSAGES)
            taken += now
        self.assertEqual(taken, run_requests)
        # A single question is accepted whatever its size, because no other question waits for it.
        self.assertEqual(len(_bounded([(question(user, *history(LONG)), nobody, nobody)])[0]), 1)


class Died(Exception):
    pass


class StagedTest(KeptTablesTestCase):
    def test_what_is_staged_is_seen_by_no_other_connection_and_goes_with_its_own(self):
        alice = somebody("alice")
        said = history(LONG)
        ready = staged(_prepared(question(alice, *said, threaded=True, exclusive=False)))
        before = Message.objects.count()
        counts: list[Any] = []
        with suppress(Died), transaction.atomic() if connection.vendor == "postgresql" else nullcontext(), ready:
            with ThreadPoolExecutor(1) as elsewhere:
                counts.append(elsewhere.submit(_elsewhere, said).result())
            raise Died
        connection.close()  # as a process that dies would
        self.assertEqual(counts, [(before, False)])
        with connection.cursor() as cursor:
            self.assertFalse({staging.MESSAGES, staging.PARTS} & set(connection.introspection.table_names(cursor)))
        self.assertEqual(Message.objects.count(), before)


def _elsewhere(said: list[Wire]) -> tuple[int, bool]:
    try:
        found = Message.objects.filter(content=said[0]["content"]).exists()
        return Message.objects.count(), found
    finally:
        connection.close()


class ServedTest(ServiceTestCase):
    def post(self, api_user: ApiUser, messages: list[Wire], url: str = "", **headers: str) -> httpx2.Response:
        return api_user.http.post(url + URL, json={"model": "echo", "messages": messages}, headers=headers)

    def assert_whole(self, conversation_id: Any) -> None:
        """Every branch leads from a first message to an answer without a gap."""
        rows = list(Message.objects.of(conversation_id).oldest_first())
        self.assertEqual([row.position for row in rows], list(range(1, len(rows) + 1)))
        ids = {row.pk for row in rows}
        self.assertTrue(all(row.parent_id is None or row.parent_id in ids for row in rows))
        parents = {row.parent_id for row in rows}
        leaves = [row for row in rows if row.pk not in parents]
        self.assertTrue(all(row.role == "assistant" and hasattr(row, "run") for row in leaves))

    def test_equal_histories_at_once_are_each_stored_as_a_whole(self):
        alice = self.alice
        said = history(LONG)
        with ThreadPoolExecutor(6) as threads:
            urls = itertools.cycle([self.service.url, second_service().url])
            answers = list(threads.map(lambda url: self.post(alice, said, url), itertools.islice(urls, 6)))
        self.assertEqual([answer.status_code for answer in answers], [200] * 6)
        talks = {answer.headers["x-conversation-id"] for answer in answers}
        for talk in talks:
            self.assert_whole(talk)
        self.assertEqual(len(talks), 6)
        self.assertEqual(Message.objects.filter(conversation__owner=self.alice.user).count(), 6 * (LONG + 1))

    def test_a_long_conversation_goes_on_from_two_processes_at_once(self):
        said = history(LONG)
        with ThreadPoolExecutor(6) as threads:
            first = self.post(self.alice, said)
            said += [first.json()["choices"][0]["message"], user_says("And?")]
            urls = itertools.cycle([self.service.url, second_service().url])
            answers = list(threads.map(lambda url: self.post(self.alice, said, url), itertools.islice(urls, 6)))
        self.assertEqual([answer.status_code for answer in answers], [200] * 6)
        [talk] = {answer.headers["x-conversation-id"] for answer in (first, *answers)}
        self.assert_whole(talk)
        rows = Message.objects.of(uuid.UUID(talk))
        self.assertEqual(rows.answers().filter(parent__content="And?").count(), 6)
        self.assertLessEqual(rows.count(), LONG + 1 + 6 * 2)

    def test_equal_keys_at_once_are_one_run(self):
        alice = self.alice
        said = history(LONG)
        key = {"Idempotency-Key": uuid.uuid4().hex}
        with ThreadPoolExecutor(6) as threads:
            urls = itertools.cycle([self.service.url, second_service().url])
            answers = list(threads.map(lambda url: self.post(alice, said, url, **key), itertools.islice(urls, 6)))
        self.assertEqual({answer.status_code for answer in answers}, {200})
        self.assertEqual(len({answer.headers["x-run-id"] for answer in answers}), 1)
        self.assertEqual(Message.objects.filter(conversation__owner=self.alice.user).count(), LONG + 1)

    def test_branches_into_one_conversation_at_once_get_positions_of_their_own(self):
        said = history(LONG)
        answered(self.post(self.alice, said).headers["x-conversation-id"])
        calls = [[*said[:50], *history(LONG)] for _ in range(3)] + [[*said[:50], user_says(f"{n}")] for n in range(6)]
        with ThreadPoolExecutor(len(calls)) as threads:
            answers = list(threads.map(lambda messages: self.post(self.alice, messages), calls))
        self.assertEqual({answer.status_code for answer in answers}, {200})
        [talk] = {answer.headers["x-conversation-id"] for answer in answers}
        self.assert_whole(talk)
        self.assertEqual(Message.objects.of(uuid.UUID(talk)).count(), LONG + 1 + 3 * (LONG + 1) + 6 * 2)

    def test_a_process_that_dies_leaves_all_of_it_or_nothing(self):
        rng = random.Random(0)
        api_user = make_api_user("killed", url=self.service.url)
        service = Service().start()
        self.addCleanup(lambda: service.process and service.stop())
        keys = [uuid.uuid4().hex for _ in range(12)]
        said = {key: history(1_500) for key in keys}
        for start in range(0, len(keys), 4):
            threads = [
                threading.Thread(target=self._try, args=(api_user, service.url, key, said[key]))
                for key in keys[start : start + 4]
            ]
            for thread in threads:
                thread.start()
            threading.Event().wait(rng.uniform(0.05, 0.6))  # whatever the service is doing
            service.kill()
            for thread in threads:
                thread.join()
            stored, accepted = self._stored(api_user)
            self.assertEqual(stored, accepted * 1_501)
            service.start()
        for key in keys:  # after a repetition, everything is stored once
            answer = self.post(api_user, said[key], service.url, **{"Idempotency-Key": key})
            self.assertIn(answer.status_code, (200, 409, 502), answer.text)
        self.assertEqual(Message.objects.filter(conversation__owner=api_user.user).count(), len(keys) * 1_501)
        for talk in Conversation.objects.filter(owner=api_user.user).values_list("pk", flat=True):
            self.assert_whole(talk)
        self.assertEqual(Run.objects.filter(user=api_user.user).count(), len(keys))
        self.assertEqual(invariants([api_user.user]), [])
        api_user.http.close()

    def _stored(self, api_user: ApiUser) -> tuple[int, int]:
        """Return the number of messages and of keys, in one statement, because PostgreSQL may still finish a commit."""
        messages = Message.objects.filter(conversation__owner=OuterRef("pk")).order_by().values("conversation__owner")
        keys = IdempotencyKey.objects.filter(user=OuterRef("pk")).order_by().values("user")
        counts = (Coalesce(Subquery(each.annotate(n=Count("pk")).values("n")), 0) for each in (messages, keys))
        return User.objects.filter(pk=api_user.user.pk).values_list(*counts).get()

    def _try(self, api_user: ApiUser, url: str, key: str, messages: list[Wire]) -> None:
        try:
            httpx2.post(
                url + URL,
                json={"model": "echo", "messages": messages},
                headers={**api_user.headers, "Idempotency-Key": key},
                timeout=30,
                trust_env=False,
            )
        except httpx2.HTTPError:
            pass
