"""Nobody signs in as a service account: not by a password, not by a session, not through the admin."""

from __future__ import annotations

from io import StringIO

from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client, TestCase

from accounts.callers import Principal
from accounts.credential_changes import CredentialsRefused, allow_new_credentials
from accounts.models import User
from accounts.services import issue_api_key, make_service_accounts, register_user, update_user
from accounts.sessions import users_of_sessions

PASSWORD = "correct horse battery staple"


class ServiceAccountTest(TestCase):
    def setUp(self) -> None:
        self.robot = register_user(username="robot", service=True)
        self.carol = register_user(username="carol", password=PASSWORD, superuser=True)

    def test_the_command_makes_one_without_a_password(self) -> None:
        call_command("create_user", "backup", "--service", stdout=StringIO())
        made = User.objects.get(username="backup")
        self.assertEqual((made.is_service, made.has_usable_password(), made.is_staff), (True, False, False))
        for wrong in (("--password", PASSWORD), ("--staff",), ("--from", "-")):
            with self.assertRaises(CommandError):
                call_command("create_user", *(["other"] if wrong[0] != "--from" else []), "--service", *wrong)
        self.assertFalse(User.objects.get(username="carol").is_service)

    def test_it_never_gets_a_password(self) -> None:
        with self.assertRaises(ValidationError):
            self.robot.set_password(PASSWORD)
        with self.assertRaises(ValidationError):
            update_user(user=self.robot, password=PASSWORD)
        with self.assertRaises(ValidationError):
            register_user(username="other", password=PASSWORD, service=True)
        key, _ = issue_api_key(user=self.robot, may_change_credentials=True)
        who = Principal(self.robot.pk, "robot", key_id=key.pk, may_change_credentials=True)
        with self.assertRaises(CredentialsRefused):
            allow_new_credentials(who, self.robot, new_password=True)
        client = Client()
        client.force_login(self.carol)
        address = f"/admin/accounts/user/{self.robot.pk}/password/"
        form = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
        self.assertEqual((client.get(address).status_code, client.post(address, form).status_code), (403, 403))
        self.assertFalse(User.objects.get(pk=self.robot.pk).has_usable_password())

    def test_it_is_not_staff(self) -> None:
        with self.assertRaises(ValidationError):
            register_user(username="other", superuser=True, service=True)
        with self.assertRaises(ValidationError):
            make_service_accounts(users=[self.carol])
        self.assertFalse(User.objects.get(pk=self.carol.pk).is_service)

    def test_a_person_who_becomes_one_is_signed_out_and_stays_so(self) -> None:
        alice = register_user(username="alice", password=PASSWORD)
        client, staff = Client(), Client()
        client.force_login(alice)
        session = str(client.session.session_key)
        self.assertIn(session, users_of_sessions([session]))
        staff.force_login(self.carol)
        chosen = {"action": "make_service", "_selected_action": [str(alice.pk)]}
        page = staff.post("/admin/accounts/user/", chosen, follow=True)
        self.assertContains(page, "1 accounts are service accounts now")
        self.assertEqual(users_of_sessions([session]), {})
        client.force_login(User.objects.get(pk=alice.pk))  # whatever signs somebody in
        self.assertEqual(users_of_sessions([str(client.session.session_key)]), {})
        User.objects.filter(pk=alice.pk).update(password=self.carol.password)  # whatever writes the password
        answer = Client().post("/login", {"username": "alice", "password": PASSWORD})
        self.assertEqual(answer.status_code, 200)
        self.assertContains(answer, "correct username and password")

    def test_only_a_superuser_may_turn_somebody_into_one(self) -> None:
        clerk = register_user(username="clerk", staff=True)
        client = Client()
        client.force_login(clerk)
        client.post("/admin/accounts/user/", {"action": "make_service", "_selected_action": [str(self.carol.pk)]})
        self.assertFalse(User.objects.filter(username__in=("carol", "clerk"), is_service=True).exists())
