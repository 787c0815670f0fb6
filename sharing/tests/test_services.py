"""Links of one user to one branch: who makes, lists and revokes them, and what ends them."""

from __future__ import annotations

import datetime as dt
import threading
import uuid
from collections.abc import Callable
from functools import partial
from unittest import mock

from django.db import connection
from django.test import TestCase, override_settings
from django.utils import timezone

from accounts.callers import Principal
from accounts.models import User
from accounts.personal_data import export_account
from accounts.services import activate_user, deactivate_users, delete_user, guest_user, register_user, stop_user
from chatservice.testing import KeptTablesTestCase
from conversations.models import Conversation, Message
from conversations.services import (
    Busy,
    LimitReached,
    append_message,
    delete_conversation,
    delete_message,
    reset_conversation,
    start_conversation,
    update_conversation,
)
from sharing import services
from sharing.models import SharedLink
from sharing.reading import find_link
from sharing.services import SharingRefused, links_of, prune_links, revoke_link, share_conversation
from sharing.tokens import digest_of, token_of


def principal_of(user: User) -> Principal:
    return Principal(user.pk, user.username)


def answered(owner: User) -> Message:
    """Return the answer to the only question of a new conversation."""
    talk = start_conversation(owner_id=owner.pk, title="The war")
    append_message(conversation=talk, role="user", content="When did it end?")
    return append_message(conversation=talk, role="assistant", content="In 1648.", model="fake/ok")


@override_settings(SHARING=True, SHARE_MAX_DAYS=90)
class SharingTest(TestCase):
    def setUp(self) -> None:
        self.alice, self.bob = register_user(username="alice"), register_user(username="bob")
        self.answer = answered(self.alice)

    def share(self, by: User | None = None, **fields: object) -> SharedLink:
        return share_conversation(
            principal=principal_of(by or self.alice),
            message_id=self.answer.pk,
            **fields,  # type: ignore[arg-type]
        )

    def works(self, link: SharedLink) -> bool:
        return find_link(link.token) is not None

    def test_a_link_works_for_thirty_days_or_as_long_as_was_asked_or_allowed(self) -> None:
        for days, allowed, expected in ((None, 90, 30), (None, 7, 7), (1, 90, 1), (90, 90, 90)):
            with self.subTest(days=days, allowed=allowed), self.settings(SHARE_MAX_DAYS=allowed):
                link = self.share(days=days)
                self.assertEqual(link.expires_at - link.created_at, dt.timedelta(days=expected))
                self.assertTrue(self.works(link))
        for days in (0, -1, 91):
            with self.assertRaises(ValueError):
                self.share(days=days)

    def test_it_has_the_title_of_then_or_another_one(self) -> None:
        link = self.share()
        update_conversation(conversation=self.answer.conversation, title="About my illness")
        link.refresh_from_db()
        self.assertEqual(link.title, "The war")
        self.assertEqual(self.share(title="").title, "")
        self.assertEqual(self.share(title="Peace").title, "Peace")

    def test_the_database_holds_neither_the_token_nor_what_gives_it_away(self) -> None:
        link = self.share()
        token = link.token
        self.assertRegex(token, r"\A[A-Za-z0-9_-]{32}\Z")
        stored = str(SharedLink.objects.filter(pk=link.pk).values().get())
        self.assertNotIn(link.token, stored)
        self.assertEqual(link.digest, digest_of(link.token))
        with self.settings(KEY_PEPPER="another" * 8):
            self.assertNotEqual(token_of(link.pk), token)
            self.assertIsNone(find_link(token))
            self.assertIsNone(find_link(token_of(link.pk)))
        exported = "".join(export_account(self.alice))
        self.assertIn(str(link.pk), exported)
        self.assertNotIn(link.token, exported)
        self.assertNotIn(link.digest, exported)

    def test_the_tokens_of_links_differ_and_none_opens_another_link(self) -> None:
        links = [self.share() for _ in range(20)]
        self.assertEqual(len({link.token for link in links}), 20)
        self.assertEqual([find_link(link.token) for link in links], links)
        almost = links[0].token[:-1] + ("A" if links[0].token[-1] != "A" else "B")
        for token in (
            "",
            almost,
            links[0].token + "A",
            links[0].digest,
            str(links[0].pk),
            links[0].pk.hex,
            "\x00" * 32,
        ):
            self.assertIsNone(find_link(token))

    def test_others_messages_do_not_exist(self) -> None:
        with self.assertRaises(Message.DoesNotExist):
            self.share(by=self.bob)
        link = self.share()
        self.assertEqual(list(links_of(principal_of(self.alice))), [link])
        self.assertEqual(list(links_of(principal_of(self.bob))), [])
        with self.assertRaises(SharedLink.DoesNotExist):
            revoke_link(principal=principal_of(self.bob), link_id=link.pk)
        self.assertTrue(self.works(link))

    def test_guests_and_the_accounts_that_they_made_share_nothing(self) -> None:
        guest = guest_user()
        made = register_user(username="made", guest_made=True)
        for principal in (
            Principal(guest.pk, "guest", is_guest=True),
            Principal(made.pk, "made", guest_made=True),
        ):
            answer = answered(User.objects.get(pk=principal.user_id))
            with self.assertRaises(SharingRefused):
                share_conversation(principal=principal, message_id=answer.pk)
            self.assertFalse(links_of(principal).exists())
        self.assertFalse(SharedLink.objects.exists())

    def test_while_sharing_is_off_nothing_is_shared_and_nothing_is_shown_but_links_can_be_revoked(self) -> None:
        link, other = self.share(), self.share()
        with self.settings(SHARING=False):
            with self.assertRaises(SharingRefused):
                self.share()
            self.assertFalse(self.works(link))
            self.assertEqual(set(links_of(principal_of(self.alice))), {link, other})
            revoke_link(principal=principal_of(self.alice), link_id=other.pk)
        self.assertTrue(self.works(link))
        self.assertFalse(self.works(other))

    def test_an_answer_that_is_being_written_is_not_shared(self) -> None:
        Message.objects.filter(pk=self.answer.pk).update(status=Message.Status.IN_PROGRESS)
        with self.assertRaises(Busy):
            self.share()

    def test_a_revoked_link_is_gone(self) -> None:
        link = self.share()
        revoke_link(principal=principal_of(self.alice), link_id=link.pk)
        self.assertFalse(self.works(link))
        with self.assertRaises(SharedLink.DoesNotExist):
            revoke_link(principal=principal_of(self.alice), link_id=link.pk)

    def test_an_expired_link_shows_nothing_is_not_listed_and_is_pruned(self) -> None:
        link, other = self.share(), self.share()
        SharedLink.objects.filter(pk=link.pk).update(expires_at=timezone.now() - dt.timedelta(seconds=1))
        self.assertFalse(self.works(link))
        self.assertEqual(list(links_of(principal_of(self.alice))), [other])
        self.assertEqual(prune_links(), 1)
        self.assertEqual(list(SharedLink.objects.all()), [other])

    def test_it_goes_with_its_message_its_conversation_and_its_user(self) -> None:
        for go in (
            lambda: delete_message(message=self.answer),
            lambda: reset_conversation(conversation=self.answer.conversation),
            lambda: delete_conversation(conversation=self.answer.conversation),
            lambda: delete_user(user=self.alice),
        ):
            self.answer = answered(self.alice)
            link = self.share()
            go()
            self.assertFalse(self.works(link))
            self.assertFalse(SharedLink.objects.exists())

    def test_it_works_no_longer_once_the_account_is_stopped_and_not_again_once_it_is_reopened(self) -> None:
        kept = share_conversation(principal=principal_of(self.bob), message_id=answered(self.bob).pk)
        for stop in (lambda: stop_user(user=self.alice), lambda: deactivate_users(users=[self.alice])):
            link = self.share()
            stop()
            self.assertFalse(self.works(link))
            activate_user(user=self.alice)
            self.assertFalse(self.works(link))
        self.assertTrue(self.works(kept))

    def test_an_inactive_account_shows_and_shares_nothing_however_it_became_so(self) -> None:
        link = self.share()
        User.objects.filter(pk=self.alice.pk).update(is_active=False)
        self.assertFalse(self.works(link))
        with self.assertRaises(User.DoesNotExist):
            self.share()

    def test_a_link_that_the_version_before_left_behind_opens_nothing(self) -> None:
        """It deletes messages and conversations without knowing of links, which have no constraint."""
        link, other = self.share(), self.share()
        SharedLink.objects.filter(pk=link.pk).update(message=uuid.uuid4())
        SharedLink.objects.filter(pk=other.pk).update(conversation=uuid.uuid4())
        self.assertFalse(self.works(link) or self.works(other))
        self.assertEqual(links_of(principal_of(self.alice)).count(), 2)
        SharedLink.objects.all().delete()

    def test_an_account_has_so_many_links_and_no_more(self) -> None:
        with mock.patch.object(services, "MAX_LINKS", 2):
            first, _ = self.share(), self.share()
            with self.assertRaises(LimitReached):
                self.share()
            revoke_link(principal=principal_of(self.alice), link_id=first.pk)
            self.share()


@override_settings(SHARING=True)
class AtOnceTest(KeptTablesTestCase):
    def setUp(self) -> None:
        self.alice = register_user(username=f"alice-{uuid.uuid4().hex[:8]}")
        self.addCleanup(delete_user, user=self.alice)

    def at_once(self, *works: Callable[[], object]) -> list[Exception]:
        """Run these at the same time; return what they raised."""
        start, raised = threading.Barrier(len(works)), []

        def run(work: Callable[[], object]) -> None:
            start.wait()
            try:
                work()
            except Exception as error:
                raised.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return raised

    def sharing(self, answer: Message) -> Callable[[], object]:
        return partial(share_conversation, principal=principal_of(self.alice), message_id=answer.pk)

    def test_what_is_deleted_meanwhile_is_not_found_and_no_link_to_it_is_left(self) -> None:
        for number in range(6):
            answer = answered(self.alice)
            talk = Conversation.objects.get(pk=answer.conversation_id)
            deletion = (
                partial(delete_message, message=answer),
                partial(delete_conversation, conversation=talk),
                partial(reset_conversation, conversation=talk),
            )[number % 3]
            for error in self.at_once(deletion, self.sharing(answer)):
                self.assertIsInstance(error, (Message.DoesNotExist, Conversation.DoesNotExist), repr(error))
            self.assertFalse(SharedLink.objects.filter(owner=self.alice).exists())

    def test_no_link_is_left_of_an_account_that_is_stopped_meanwhile(self) -> None:
        for _ in range(4):
            answer = answered(self.alice)
            stopping = partial(deactivate_users, users=[self.alice])
            for error in self.at_once(stopping, self.sharing(answer), self.sharing(answer)):
                self.assertIsInstance(error, User.DoesNotExist, repr(error))
            self.assertFalse(SharedLink.objects.filter(owner=self.alice).exists())
            activate_user(user=self.alice)

    def test_the_limit_on_links_holds_for_those_that_are_made_at_once(self) -> None:
        answer = answered(self.alice)
        with mock.patch.object(services, "MAX_LINKS", 2):
            raised = self.at_once(*(self.sharing(answer) for _ in range(5)))
        self.assertEqual([type(error) for error in raised], [LimitReached] * 3)
        self.assertEqual(SharedLink.objects.filter(owner=self.alice).count(), 2)
