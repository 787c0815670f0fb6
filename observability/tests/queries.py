"""What the dashboard and the alert rules ask Prometheus for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml

from chatservice.testing import ROOT

ALERTS, DASHBOARD = ROOT / "deploy/prometheus/alerts.yml", ROOT / "deploy/grafana/chatservice.json"
NAME = re.compile(r"\b(?:chatservice|process)_\w+")
SELECTED = re.compile(r"\b((?:chatservice|process)_\w+)\{([^}]*)\}")
GROUPED = re.compile(r"\bby \(([^)]*)\)")
GIVEN = {"instance", "job", "le"}
"""Labels that Prometheus adds, and that of buckets."""


def expressions() -> Iterator[str]:
    """Yield every PromQL expression, without Grafana's variables."""
    rules = yaml.safe_load(ALERTS.read_text())
    yield from (rule["expr"] for group in rules["groups"] for rule in group["rules"])
    board = json.loads(DASHBOARD.read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")


def names_of(expression: str) -> set[str]:
    return set(NAME.findall(expression))


def labels_of(expression: str) -> set[str]:
    """Return the labels that an expression selects or groups by, without those of Prometheus itself."""
    selected = {pair.partition("=")[0] for _, pairs in SELECTED.findall(expression) for pair in pairs.split(",")}
    grouped = {label for labels in GROUPED.findall(expression) for label in labels.split(",")}
    return {label.strip().rstrip("!~") for label in selected | grouped} - GIVEN - {""}


def as_rules() -> str:
    """Return the expressions of the dashboard and the alerts as a file of rules, which promtool can check."""
    rules = [{"record": f"tested:number_{number}", "expr": each} for number, each in enumerate(expressions())]
    return yaml.safe_dump({"groups": [{"name": "tested", "rules": rules}]})
