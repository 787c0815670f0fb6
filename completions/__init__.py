"""Saying the next thing: runs, their journal, their readers and the providers. No DRF, no dialect."""
