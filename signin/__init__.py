"""Signing in by OpenID Connect, and the second factor of staff: django-allauth, and what is stricter here."""
