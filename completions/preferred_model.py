"""The model with which a user's new chats begin on the page. Requests without a model get the service's default."""

from __future__ import annotations

from accounts.callers import Principal
from accounts.models import User
from accounts.services import set_preferred_model
from completions.exceptions import InvalidRequest
from completions.providers import list_models
from completions.request_policy import allowed_models
from foundation.database import in_database_thread


async def preferred_model(principal: Principal) -> str | None:
    """Return it; None if the user has chosen none, or one that is gone or no longer allowed."""
    if principal.is_guest:
        return None
    chosen = await in_database_thread(
        lambda: User.objects.filter(pk=principal.user_id).values_list("preferred_model", flat=True).first()
    )
    return chosen if chosen is not None and await _may_use(principal, chosen) else None


async def choose_model(principal: Principal, model: str | None) -> None:
    """Store it; None for the service's default. Raises InvalidRequest for a model that this caller is not offered."""
    if model is not None and not await _may_use(principal, model):
        raise InvalidRequest("This model is not among those that you may use.", param="preferred_model")
    await in_database_thread(lambda: set_preferred_model(user_id=principal.user_id, model=model))


async def _may_use(principal: Principal, model: str) -> bool:
    listed = [each for each in await list_models() if each.id == model]
    return bool(await allowed_models(principal, listed))
