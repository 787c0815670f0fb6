"""A database of the version before, what every API said of it then, and how both were recorded."""
