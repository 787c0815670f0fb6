"""Imports of history that users start themselves: a job that any process takes, with progress and a report.

Reads and stores as `manage.py import_history` does: `conversations/importers/` and `conversations/imports.py`.
To take it out: this folder, the files `imports.*` of `chat_v1` and the page, and what imports them.
"""
