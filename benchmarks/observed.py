"""What being observed costs: CPU time an answer with metrics, the request log and traces, compared with none of them.

python -m benchmarks.observed [--database sqlite|postgresql] [--before DIRECTORY]

With `--before`, the folder of another version, that one without anything is the measure: this one with everything off
should cost at most 1.03 of it, and with metrics, the request log and one trace in ten 1.10. All alternate in short
slices. Traces go to a collector that reads them and forgets them, in the process of the benchmark.
"""

from __future__ import annotations

import argparse
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

from benchmarks.processes import HOST, free_port
from benchmarks.runner import Runner

DATABASES = {"sqlite": "sqlite", "postgresql": "postgres"}
WORK = (("plain", "flood-1"), ("streams", "flood-200"))
CLIENTS = 8
SECONDS = 2.0


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=DATABASES, default="sqlite")
    parser.add_argument("--before", type=Path, metavar="DIRECTORY", help="a checkout of the version to compare with")
    parser.add_argument("--slices", type=int, default=12)
    given = parser.parse_args()
    collector = ThreadingHTTPServer((HOST, 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{collector.server_port}"}
    tenth = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}
    log = {"REQUEST_LOG": "true"}
    name = f"service-uvicorn-{DATABASES[given.database]}"
    with Runner(extra={"SEARCH_EMBEDDER": "hashing", "LOG_LEVEL": "INFO"}) as runner:
        targets = {}
        if given.before:
            targets["the version before"] = runner.start(name, root=given.before.resolve())
        targets["everything off"] = runner.start(name)
        for what, env in {
            "metrics": {},
            "metrics, request log": log,
            "metrics, request log, one trace in ten": {**log, **traces, **tenth},
            "metrics, request log, every trace": {**log, **traces},
        }.items():
            targets[what] = runner.start(name, env={"METRICS_PORT": str(free_port()), **env})
        runner.warm_up(list(targets.values()), seconds=1.0)
        print(f"{given.database}; the first row is the measure")
        print("| | " + " | ".join(f"{model}: ms of CPU | ratio" for _, model in WORK) + " |")
        print("|---|" + "---|---|" * len(WORK))
        spent: dict[tuple[str, str], list[float]] = {}
        for number in range(given.slices):
            order = list(targets)[:: 1 if number % 2 else -1]
            for what in order:
                for mode, model in WORK:
                    result = runner.measure(targets[what], mode, model, clients=CLIENTS, seconds=SECONDS)
                    if result["faulty"]:
                        raise AssertionError(f"{what}: {result['faults']}")
                    spent.setdefault((what, model), []).append(result["cpu"]["server"] / result["good"] * 1000)
        first = next(iter(targets))
        for what in targets:
            cells = []
            for _, model in WORK:
                pairs = zip(spent[what, model], spent[first, model], strict=True)
                cells.append(f"{median(spent[what, model]):.2f} | {median(this / that for this, that in pairs):.2f}")
            print(f"| {what} | " + " | ".join(cells) + " |", flush=True)
    collector.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
