"""The settings of shared links; chatservice/settings.py applies them."""

from __future__ import annotations

from chatservice.environment import Environment

# --- Shared links (docs/sharing.md) --------------------------------------------------------------


def sharing_settings(env: Environment) -> tuple[bool, int]:
    """Return whether users may share conversations, and for how many days at most."""
    # Whether users may make links by which anybody who can reach the service reads a conversation of theirs. While it
    # is off, nobody makes any, and those that were made show nothing.
    is_on = env.bool("SHARING", default=False)
    # For how many days such a link works at most; by default it works for 30.
    days = env.int("SHARE_MAX_DAYS", default=90, minimum=1, maximum=3650)
    return is_on, days
