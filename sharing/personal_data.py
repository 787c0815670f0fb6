"""Registers the owners of the links, which end with the message, the conversation and the account's activity."""

import uuid
from typing import Any

from django.dispatch import receiver

from accounts.models import User
from accounts.personal_data import register
from accounts.signals import accounts_stopping
from sharing.models import SharedLink
from sharing.services import revoke_links_of

register(SharedLink, owner="owner", secret=("digest",))


@receiver(accounts_stopping)
def end_links(sender: type[User], user_ids: list[uuid.UUID], **kwargs: Any) -> None:
    """Revoke what stopped accounts share, for good: whoever reopens an account does not publish again with it."""
    revoke_links_of(user_ids=user_ids)
