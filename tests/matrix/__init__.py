"""The authorization matrix: a declared row for every operation, tried by everybody with somebody else's ids."""
