"""Uploaded files: rows with an owner, content in Django's storage. Reads are querysets, writes are in services.py."""
