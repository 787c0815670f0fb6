"""Registers the owners of this app's rows, and deletes what is left of a user whose account is erased.

The ledger's rows stay, without the user: what a group or everybody used must not become less.
"""

from __future__ import annotations

import uuid
from typing import Any

from django.dispatch import receiver

from accounts.personal_data import register
from accounts.signals import account_emptying
from usage.models import Budget, BudgetUse, DailyUsage

register(DailyUsage, owner="user")
register(Budget, owner="user")


@receiver(account_emptying)
def delete_budget_uses(sender: Any, user_id: uuid.UUID, **kwargs: Any) -> None:
    BudgetUse.objects.filter(member__startswith=user_id.hex).delete()
