"""Finding it again: what was said where, among what the caller may see. Knows no dialect and no run."""
