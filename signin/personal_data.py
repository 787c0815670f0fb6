"""Says whose the rows of django-allauth are. Only two of its tables are used; all of them can refer to an account."""

from __future__ import annotations

from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialToken

from accounts.personal_data import register

register(SocialAccount, owner="user")
register(Authenticator, owner="user", secret=("data",))
register(EmailAddress, owner="user")
register(EmailConfirmation, owner="email_address__user", secret=("key",))
register(SocialToken, owner="account__user", secret=("token", "token_secret"))
