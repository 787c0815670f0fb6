"""Every write of shared links: their owners make and revoke them, staff revoke them, and time ends them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.callers import Principal
from accounts.guests import as_id
from accounts.models import User
from conversations.models import Conversation, Message
from conversations.services import Busy, LimitReached
from foundation.ids import uuid7
from sharing.models import SharedLink, SharedLinkQuerySet
from sharing.tokens import digest_of, token_of

DEFAULT_DAYS = 30
MAX_LINKS = 200
"""How many links that have not expired one account has at most."""


class SharingRefused(Exception):
    """Sharing is off, or this caller may not share anything."""


def default_days() -> int:
    """Return for how many days a link works if nobody says."""
    return min(DEFAULT_DAYS, settings.SHARE_MAX_DAYS)


def may_share(principal: Principal) -> bool:
    """Tell whether a caller may make links: guests, and accounts that they made, may not, as nobody answers for them.

    All guests see what any of them wrote; one must not publish what another said.
    """
    return bool(settings.SHARING) and not principal.has_guest_limits


def links_of(principal: Principal, conversation_id: str | None = None) -> SharedLinkQuerySet:
    """Return the caller's own links that have not expired, also while sharing is off; a guest has none.

    With a `conversation_id` those to that one: an invalid id finds nothing, just like somebody else's.
    """
    mine = SharedLink.objects.none() if principal.has_guest_limits else SharedLink.objects.visible_to(principal)
    if conversation_id is not None:
        mine = mine.filter(conversation_id=as_id(conversation_id) or uuid.UUID(int=0))
    return mine.unexpired()


@transaction.atomic
def share_conversation(
    *, principal: Principal, message_id: uuid.UUID, days: int | None = None, title: str | None = None
) -> SharedLink:
    """Make a link to the branch that ends with a message; by default it shows the conversation's present title.

    `days` is 1 to SHARE_MAX_DAYS, else ValueError. Raises SharingRefused, LimitReached, Message.DoesNotExist or
    Conversation.DoesNotExist for what the caller may not see, and Busy while the message is being written.
    """
    mine = Message.objects.visible_to(principal).defer("content", "usage")
    conversation_id = mine.get(pk=message_id).conversation_id
    if not may_share(principal):
        raise SharingRefused(
            "Guests cannot share: sign in first." if settings.SHARING else "Sharing is turned off here (SHARING)."
        )
    days = default_days() if days is None else days
    if not 1 <= days <= settings.SHARE_MAX_DAYS:
        raise ValueError(f"A link works for 1 to {settings.SHARE_MAX_DAYS} days (SHARE_MAX_DAYS).")
    # Two concurrent requests that count the same rows would both be within the limit.
    User.objects.select_for_update(no_key=True).get(pk=principal.user_id, is_active=True)
    if links_of(principal).count() >= MAX_LINKS:
        raise LimitReached(f"An account has at most {MAX_LINKS} shared links. Revoke one first.")
    # The lock of everything that deletes messages, which would otherwise not know of the new row.
    conversation = Conversation.objects.select_for_update().get(pk=conversation_id)
    message = mine.get(pk=message_id)
    if message.status == Message.Status.IN_PROGRESS:
        raise Busy("This answer is still being written.")
    now, pk = timezone.now(), uuid7()
    return SharedLink.objects.create(
        id=pk,
        owner_id=conversation.owner_id,
        conversation=conversation,
        message=message,
        title=conversation.title if title is None else title,
        digest=digest_of(token_of(pk)),
        created_at=now,
        expires_at=now + dt.timedelta(days=days),
    )


@transaction.atomic
def revoke_link(*, principal: Principal, link_id: uuid.UUID) -> None:
    """Delete one of the caller's links; raises SharedLink.DoesNotExist for any other."""
    links_of(principal).get(pk=link_id).delete()


@transaction.atomic
def revoke_links(*, links: Iterable[SharedLink]) -> None:
    """Delete links on behalf of staff."""
    SharedLink.objects.filter(pk__in=[link.pk for link in links]).delete()


@transaction.atomic
def revoke_links_of(*, user_ids: Iterable[uuid.UUID]) -> None:
    """Delete all links of these accounts."""
    SharedLink.objects.filter(owner_id__in=list(user_ids)).delete()


def prune_links() -> int:
    """Delete the links that have expired; returns how many."""
    return SharedLink.objects.filter(expires_at__lte=timezone.now()).delete()[0]
