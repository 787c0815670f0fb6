"""Django's SQLite backend: converts each statement's placeholders once, and keeps triggers when a table is rebuilt."""
