"""What every app builds on: databases and their outages, threads, ids, admin lists, hooks. Imports no app."""
