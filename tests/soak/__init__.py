"""Half an hour of one fault after the other, on PostgreSQL behind nginx: `python -m tests.soak --help`."""
