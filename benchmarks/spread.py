"""One, two and four processes on one PostgreSQL behind nginx: answers a second, and their CPU time.

python -m benchmarks.spread [--steps 1,2,4] [--rounds 6]

The load generator, the model's server, PostgreSQL and nginx share the machine's cores with the processes: compare the
rates with the CPU time that an answer takes of the processes and of PostgreSQL, which tells what more cores would do.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

from benchmarks import report
from benchmarks.competitors import Running
from benchmarks.processes import HOST, free_port
from benchmarks.runner import Runner
from scripts import procfs
from scripts.nginx import find_nginx, running_nginx

NAME = "service-uvicorn-postgres"
WORK = (("streams", "flood-200"), ("plain", "flood-200"))
CLIENTS = 64
SECONDS = 4.0
# As deploy/nginx has it, without TLS and its limits.
INSIDE = """
    access_log off;
    upstream chat {{ least_conn; {servers} keepalive 64; }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://chat;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_buffering off;
        }}
    }}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="1,2,4", help="how many processes")
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    machine = report.machine()
    print(f"{machine['cpu']}; load average {os.getloadavg()[0]:.1f}")
    print("| processes | answers streamed/s | not streamed/s | ms of CPU: processes | PostgreSQL | first token, p50 |")
    print("|---|---|---|---|---|---|")
    with Runner(extra={"SEARCH_EMBEDDER": "hashing"}) as runner:
        for count in map(int, given.steps.split(",")):
            first = runner.start(NAME)
            processes = [first, *(runner.start_another(first) for _ in range(count - 1))]
            with _nginx(each.port for each in processes) as port:
                print(_row(runner, processes, dataclasses.replace(first, port=port), given.rounds), flush=True)
            for each in processes:
                if each.process:
                    each.process.stop()
    return 0


@contextlib.contextmanager
def _nginx(ports: Iterable[int]) -> Iterator[int]:
    """Run nginx before processes on these ports; yield its port."""
    program = find_nginx()
    if program is None:
        raise SystemExit("this needs nginx: apt-get install nginx")
    port = free_port()
    servers = " ".join(f"server {HOST}:{each};" for each in ports)
    with tempfile.TemporaryDirectory(prefix="nginx-") as directory:
        inside = INSIDE.format(host=HOST, port=port, servers=servers)
        with running_nginx(program, Path(directory), inside, port):
            yield port


def _row(runner: Runner, processes: list[Running], target: Running, rounds: int) -> str:
    runner.warm_up([target], seconds=2.0)
    rates: dict[str, list[float]] = {"streams": [], "plain": []}
    firsts, ours, databases = [], [], []
    for _ in range(rounds):
        for mode, model in WORK:
            pids = [pid for each in processes for pid in procfs.tree(each.pid)]
            before = procfs.cpu_seconds(pids)
            result = runner.measure(target, mode, model, clients=CLIENTS, seconds=SECONDS)
            if result["faulty"]:
                raise AssertionError(f"{result['faults']} {result['example']}")
            rates[mode].append(result["rate"])
            if mode == "streams":
                firsts.append(result["first_ms"]["p50"])
                ours.append((procfs.cpu_seconds(pids) - before) / result["good"] * 1000)
                databases.append(result["cpu"]["database"] / result["good"] * 1000)
    return (
        f"| {len(processes)} | {median(rates['streams']):.0f} | {median(rates['plain']):.0f} "
        f"| {median(ours):.2f} | {median(databases):.2f} | {median(firsts):.0f} ms |"
    )


if __name__ == "__main__":
    sys.exit(main())
