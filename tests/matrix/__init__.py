"""The authorization matrix: a declared row for every operation, which every subject tries with somebody else's ids."""
