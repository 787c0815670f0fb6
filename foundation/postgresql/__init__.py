"""Django's PostgreSQL backend: every wait ends, and session settings hold through a pooler such as PgBouncer."""
