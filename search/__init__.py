"""Search in the messages that the caller may see. Knows no dialect and no run."""
