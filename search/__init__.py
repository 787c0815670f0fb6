"""Search in the messages that the caller may see. Knows nothing about dialects or runs."""
