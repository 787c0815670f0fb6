"""Signals of this app: those about upcoming changes are sent inside the transaction, the others after the commit."""

from django.dispatch import Signal

conversations_created = Signal()  # conversation_ids: list[UUID]; in the transaction; not those of imports
messages_deleting = Signal()  # conversation_id: UUID
message_deleted = Signal()  # conversation_id: UUID
messages_changed = Signal()  # conversation_id: UUID
conversation_deleted = Signal()  # conversation_id: UUID
import_finished = Signal()  # owner: User, tally: Tally
