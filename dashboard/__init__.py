"""The dashboard for staff: figures of the last 30 days, drawn by the server. Counts and durations, no message text."""
