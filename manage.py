#!/usr/bin/env python
"""Runs every command of the service."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatservice.settings")
    from django.core.management import execute_from_command_line

    from chatservice import findings, startup

    command = sys.argv[1:2]
    try:
        startup.load_settings(warn=command not in (["serve"], ["doctor"]))  # the server that it starts prints them
        if command != ["restore"]:  # which brings the secrets
            startup.prepare_first_run()
    except startup.Refusal as refusal:
        if command != ["doctor"]:
            raise
        sys.exit(findings.report(findings.failures(refusal.sentences), as_json="--json" in sys.argv))
    with startup.refusing_configuration_errors():
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
