"""Registers the owners of this app's rows, which are deleted with the message and with the account."""

from accounts.personal_data import register
from feedback.models import Feedback

register(Feedback, owner="user")
