"""News of this app. What is about to happen is said inside its transaction, what happened after the commit."""

from django.dispatch import Signal

messages_deleting = Signal()  # conversation_id: UUID
messages_changed = Signal()  # conversation_id: UUID
conversation_deleted = Signal()  # conversation_id: UUID
