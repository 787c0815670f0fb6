"""Signals of this app."""

from django.dispatch import Signal

budget_warned = Signal()  # use: BudgetUse, threshold: int (percent); in the transaction of the process that reports it
