"""Hooks that use private parts of other software, for speed or for a limit.

Each module says what it uses and what that gains, measured, with the command or the place where the measure
stands. Its test in `foundation/tests/` tells at an upgrade when the private part has gone or does nothing any more.
"""
