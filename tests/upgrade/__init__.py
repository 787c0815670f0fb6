"""A database of the previous version, the answers of every API at that time, and the code that recorded both."""
