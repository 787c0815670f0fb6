"""`manage.py runserver`: Daphne with autoreload, for whoever works on the code; production has `serve`.

A command instead of the app `daphne`: that one would load Twisted into every process.
"""

from daphne.management.commands.runserver import Command

__all__ = ["Command"]
