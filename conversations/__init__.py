"""The stored history: conversations and messages. Reads are querysets, writes are in services.py."""
