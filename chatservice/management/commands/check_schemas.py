"""`manage.py check_schemas`: check that every dialect's OpenAPI document is valid and is generated without warnings."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.validation import validate_schema

from chatservice.docs import documented_dialects, schema_of


class Command(BaseCommand):
    help = "Validate the OpenAPI schema of every dialect, warnings as errors."

    def handle(self, *args: Any, **options: Any) -> None:
        for dialect in documented_dialects():
            schema = schema_of(dialect)
            validate_schema(schema)  # type: ignore[no-untyped-call]  # it has no types
            if GENERATOR_STATS:
                GENERATOR_STATS.emit_summary()
                raise CommandError(f"Generating the schema of {dialect} produced warnings.")
            operations = sum(len(path) for path in schema["paths"].values())
            self.stdout.write(f"{dialect}: {operations} operations, valid")
