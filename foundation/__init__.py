"""What every app builds on: the database and its backends, outages, threads, ids and admin lists. Imports no app."""
