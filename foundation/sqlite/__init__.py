"""Django's SQLite backend: each statement's placeholders are converted once, and a rebuilt table keeps its triggers."""
