"""News of this app, sent after the commit."""

from django.dispatch import Signal

api_key_revoked = Signal()  # key: ApiKey
