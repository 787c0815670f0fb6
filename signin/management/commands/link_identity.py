"""manage.py link_identity USERNAME SUBJECT"""

from __future__ import annotations

from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import IntegrityError

from accounts.models import User
from signin.identities import link


class Command(BaseCommand):
    help = "Let an identity at the OpenID provider (OIDC_ISSUER) sign in to an account, or no longer."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("subject", nargs="?", help="the provider's id of the person: the claim `sub`")
        parser.add_argument("--unlink", action="store_true", help="remove the account's identities at the provider")

    def handle(self, *arguments: Any, **options: Any) -> None:
        user = User.objects.named(options["username"])
        if user is None or user.guest_made:
            raise CommandError(f"There is no account {options['username']} to sign in to.")
        if not settings.OIDC.is_on:
            raise CommandError("OIDC_ISSUER is not set.")
        if bool(options["subject"]) == options["unlink"]:
            raise CommandError("Give the subject to link, or --unlink.")
        if options["unlink"]:
            gone, _ = SocialAccount.objects.filter(user=user, provider=settings.OIDC.issuer).delete()
            self.stdout.write(f"{gone} identities of {user.username} were unlinked.")
            return
        try:
            link(user=user, subject=options["subject"])
        except IntegrityError as error:
            raise CommandError(f"{error}.") from error
        self.stdout.write(f"{options['subject']} at {settings.OIDC.issuer} signs in to {user.username}.")
