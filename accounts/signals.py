"""Signals of this app: those about upcoming changes are sent before or in the transaction, others after it."""

from django.dispatch import Signal

api_key_revoked = Signal()  # key: ApiKey

limits_changed = Signal()  # after the commit: somebody's own limits, or the members of a group, have changed

# All activity of these accounts ends, in every process: answers, streams, sockets. They may be deactivated as well.
accounts_stopping = Signal()  # user_ids: list[UUID]; in the transaction that stores it
accounts_stopped = Signal()  # user_ids: list[UUID]; after the commit

# The stages of deleting an account, in this order:
account_anonymizing = Signal()  # user_id: UUID; outside of any transaction, once: remove names from the admin's log
account_closing = Signal()  # user_id: UUID; outside of any transaction: stop what works for it, and wait
# user_id: UUID, until: monotonic seconds; outside of any transaction: delete large amounts, in slices, until then.
# Receivers return whether something is left.
account_emptying = Signal()
account_deleting = Signal()  # user_id: UUID; in the last transaction, which deletes the rest: lock what may still write
account_deleted = Signal()  # user_id: UUID; after that transaction
