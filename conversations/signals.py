"""News of this app, sent after the commit; whoever derives something from messages listens here."""

from django.dispatch import Signal

messages_changed = Signal()  # conversation_id: UUID
conversation_deleted = Signal()  # conversation_id: UUID
