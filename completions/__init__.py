"""Runs that generate answers: their journal, their readers and the model providers. No DRF, no dialect."""
