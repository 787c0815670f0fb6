"""News of this app. What is about to happen is said before or in its transaction, what happened after the commit."""

from django.dispatch import Signal

api_key_revoked = Signal()  # key: ApiKey

# What runs for accounts is to end in every process: answers, streams, sockets. They may be deactivated as well.
accounts_stopping = Signal()  # user_ids: list[UUID]; in the transaction that stores it
accounts_stopped = Signal()  # user_ids: list[UUID]; after the commit

# An account is being deleted, in this order:
account_closing = Signal()  # user_id: UUID; outside of any transaction: stop what works for it, and wait
account_emptying = Signal()  # user_id: UUID; outside of any transaction: delete what is much, in slices
account_deleting = Signal()  # user_id: UUID; in the last transaction, which deletes the rest: hold what may write
account_deleted = Signal()  # user_id: UUID; after it
