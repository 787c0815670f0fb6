"""The results as Markdown: the table, the held answers, the machine, and which goals were met."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

PACKAGES = ("django", "granian", "uvicorn", "daphne", "openai", "aiohttp", "uvloop", "psycopg")
RESPONSES_SHARE = 0.8
"""Streamed responses a second should be at least this share of streamed chat completions."""
HELD_HEAD = (
    "| answers at once, 20 ms a token | held | errors | first token p50 / p99 ms | gap p50 / p99 / max ms "
    "| CPU of one core | database | KB a stream | mock late ms |\n|---|---|---|---|---|---|---|---|---|"
)


def machine() -> dict[str, str]:
    """Return what the results depend on: processor, cores, memory, kernel, versions."""
    cpu = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _figure(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _ratio(value: float | None, over: float | None) -> str:
    if not value or not over:
        return "-"
    times = value / over
    return f"{times:.0f}x" if times >= 10 else f"{times:.1f}x"


def table(medians: list[dict[str, Any]], *, command: str) -> str:
    """Return the table of all competitors, followed by the machine and the command."""
    by_name = {one["name"]: one for one in medians}
    peers = [by_name.get("litellm", {}), by_name.get("relay", {})]
    lines = [
        "| competitor | streams/s | over LiteLLM, relay | responses/s | CPU µs a token of them "
        "| plain/s | over LiteLLM, relay | CPU µs a token "
        "| database µs a token | first token added p50 / p95 ms | memory MB (peak) | errors |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in medians:
        ratios = [", ".join(_ratio(one[what], peer.get(what)) for peer in peers) for what in ("streams", "plain")]
        memory = one["memory"]
        first = f"{_figure(one['first_p50'], 1)} / {_figure(one['first_p95'], 1)}"
        resident = f"{memory['now'] / 2**20:.0f} ({memory['peak'] / 2**20:.0f})" if memory["now"] else "-"
        streams = _figure(one["streams"], 1 if (one["streams"] or 0) < 100 else 0)
        share = f" ({one['responses_share']:.2f} of streams)" if one["responses_share"] else ""
        lines.append(
            f"| {one['name']} | {streams} | {ratios[0]} | {_figure(one['responses'])}{share} "
            f"| {_figure(one['responses_cpu_us'], 1)} "
            f"| {_figure(one['plain'])} | {ratios[1]} "
            f"| {_figure(one['cpu_us'], 1)} | {_figure(one['database_us'], 1)} | {first} | {resident} "
            f"| {'**' + str(one['errors']) + '**' if one['errors'] else '0'} |"
        )
    about = machine()
    lines += [
        "",
        f"{about['cpu']}; {about['kernel']}; Python {about['python']}; {about['packages']}.",
        f"`{command}`",
    ]
    worst = max((one["foreign"] for one in medians), default=0.0)
    if worst > 0.15:
        lines.append(f"**Disturbed: processes that take no part used up to {worst:.0%} of a core during a measure.**")
    return "\n".join(lines)


def held_line(result: dict[str, Any]) -> str:
    """Return one table row for HELD_HEAD."""
    gap, first = result.get("gap_ms") or {}, result.get("first_ms") or {}
    share = result.get("cpu_share")
    database = result["cpu"].get("database", 0.0) / result["seconds"]
    kept = "" if result["ok"] else " (missed)"
    return (
        f"| {result['name']} | {result['count']}{kept} | {result['faults'] or 0} "
        f"| {_figure(first.get('p50'), 1)} / {_figure(first.get('p99'), 1)} "
        f"| {_figure(gap.get('p50'), 0)} / {_figure(gap.get('p99'), 0)} / {_figure(gap.get('max'), 0)} "
        f"| {'-' if share is None else f'{share:.0%}'} "
        f"| {f'{database:.0%}' if database else '-'} "
        f"| {result['kilobytes']:.0f} | {result['late_ms']:.0f} |"
    )


def verdict(medians: list[dict[str, Any]], held: list[dict[str, Any]]) -> str:
    """Return each goal, kept or missed, for each measured service."""
    by_name = {one["name"]: one for one in medians}
    promises = (("streams", "litellm", 25), ("streams", "relay", 5), ("plain", "litellm", 6), ("plain", "relay", 1))
    lines = []
    for one in medians:
        if not one["name"].startswith("service-"):
            continue
        said = []
        for what, peer, times in promises:
            if one[what] and by_name.get(peer, {}).get(what):
                is_kept = one[what] >= times * by_name[peer][what]
                said.append(f"{what} {_ratio(one[what], by_name[peer][what])} {peer} ({times}x {_kept(is_kept)})")
        if share := one["responses_share"]:
            is_kept = share >= RESPONSES_SHARE
            said.append(f"responses {share:.2f} of streams ({RESPONSES_SHARE} {_kept(is_kept)})")
        if one["first_p50"] is not None:
            said.append(f"first token +{one['first_p50']:.1f} ms (6 {_kept(one['first_p50'] <= 6)})")
        said += [f"{row['count']} held {_kept(row['ok'])}" for row in held if row["name"] == one["name"]]
        lines.append(f"- {one['name']}: {'; '.join(said)}")
    return "\n".join(lines)


def _kept(is_kept: bool) -> str:
    return "kept" if is_kept else "**missed**"
