"""The instructions and parameters that a user's new conversations begin with, unless they get some of their own.

They are copied into a conversation when it begins. What it keeps is then its own: it is shown with it and can be
removed from it, and who changes the default changes no answer of a conversation that is there already. Only this
service's own APIs and pages begin conversations with it. A client of OpenAI's APIs sends all that the model is to be
told: what somebody writes into their profile must not change what their programs get.
"""

from __future__ import annotations

import uuid
from typing import Any

from accounts.models import User
from conversations.generation import readable_generation


def default_generation(user_id: uuid.UUID) -> dict[str, Any] | None:
    """Return it, as a conversation keeps it; None without any."""
    stored = User.objects.filter(pk=user_id).values_list("default_generation", flat=True).first()
    return readable_generation(stored)
