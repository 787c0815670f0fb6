"""Signals of this app: numbers and names, never a query."""

from django.dispatch import Signal

searched = Signal()  # seconds: float; mode: str, how it was answered
