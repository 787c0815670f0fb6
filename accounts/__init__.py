"""Who is calling: users, keys, the one reader of credentials, limits. Imports no other app."""
