"""Registers the owners of this app's rows, which are deleted with the account."""

from accounts.personal_data import register
from imports.models import HistoryImport

register(HistoryImport, owner="owner")
