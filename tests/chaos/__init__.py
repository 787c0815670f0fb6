"""Tests that try to lose an answer, by killed processes, cut connections and floods: `python -m tests.chaos --help`.

One scenario per file. Random choices in a scenario depend on its seed alone. The service imports nothing from here.
"""
