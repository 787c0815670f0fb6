"""Signals of this app: sent inside the transaction for what is about to happen, after the commit otherwise."""

from django.dispatch import Signal

messages_deleting = Signal()  # conversation_id: UUID
messages_changed = Signal()  # conversation_id: UUID
conversation_deleted = Signal()  # conversation_id: UUID
