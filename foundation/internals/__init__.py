"""Hooks into private parts of other software, for speed or for a limit.

Each module says what it uses and what that gains, with the measurement and the command or document it comes from. Its
test in `foundation/tests/` shows at an upgrade whether the private part is gone or has lost its effect.
"""
