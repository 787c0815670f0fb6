"""Django's PostgreSQL backend: every wait has a limit, and session settings apply even behind PgBouncer."""
