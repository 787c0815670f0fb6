"""Runs that try to lose an answer: processes killed, lines cut, floods; `python -m tests.chaos --help`.

One scenario a file. What is random in one comes from its seed alone. Nothing here is imported by the service.
"""
