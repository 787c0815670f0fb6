"""`manage.py openai_coverage`: tell how much of OpenAI's document this service's own document has."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from chatservice.dialects import DIALECTS
from chatservice.docs import schema_of
from chatservice.openapi_coverage import Coverage, compare, not_served, score

DIALECT = "openai_v1"
PREFIX = "/v1"


class Command(BaseCommand):
    help = "Compare the OpenAPI document of /v1/ with OpenAI's: the score in total, by operation, and each difference."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--min", type=float, default=0.0, metavar="PERCENT", help="exit with 1 below this score")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if DIALECT not in DIALECTS:
            raise CommandError("This service has no OpenAI-compatible API.")
        # Imported here, because a dialect can be deleted alone.
        from chatservice.dialects.openai_v1.reference.source import document, reason_of

        reference, ours = document(), schema_of(DIALECT)
        coverages = list(compare(reference, ours, prefix=PREFIX))
        report = {
            "reference": f"{reference['info']['title']} {reference['info']['version']}",
            "score": round(score(coverages), 2),
            "properties": sum(each.properties for each in coverages),
            "differences": sum(len(each.differences) for each in coverages),
            "operations": [_described(each, reason_of) for each in coverages],
            "not_served": not_served(reference, ours, prefix=PREFIX),
        }
        self.stdout.write(json.dumps(report, indent=2) if options["json"] else _as_text(report))
        if score(coverages) < options["min"]:
            raise CommandError(f"The score is below {options['min']:g} %.", returncode=1)


def _described(coverage: Coverage, reason_of: Any) -> dict[str, Any]:
    return {
        "operation": coverage.operation,
        "score": round(coverage.score, 2),
        "properties": coverage.properties,
        "differences": [
            {**dataclasses.asdict(each), "reason": reason_of(each.schema, each.property)}
            for each in coverage.differences
        ],
    }


def _as_text(report: dict[str, Any]) -> str:
    same = report["properties"] - report["differences"]
    lines = [f"{report['reference']}: {report['score']:.2f} % ({same} of {report['properties']} properties)"]
    for operation in report["operations"]:
        lines.append(f"{operation['score']:7.2f} %  {operation['operation']}  ({operation['properties']} properties)")
        for each in operation["differences"]:
            why = f"on purpose: {each['reason']}" if each["reason"] else "not on purpose"
            lines.append(f"             {each['where']}: {each['what']} ({why})")
    lines += [f"not served:  {operation}" for operation in report["not_served"]]
    return "\n".join(lines)
