"""What an embedder costs: time to the first answer, memory of the process, milliseconds a question.

    python -m benchmarks.embedder [--embedder NAME] [--rounds 3]

Each round starts the service as an operator does, in a directory of its own (the first round begins with an empty one,
later ones with its converted model), stores messages, and waits until a search uses the embedder. Then the embedder
alone is timed in a process without the service. Other settings come from the environment. What a model finds is
measured by `manage.py evaluate_search`. Beside other work, compare processor time (`question_cpu_ms`).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx2

from scripts.isolated import own_directory

WAIT_SECONDS = 300
QUESTIONS, PASSAGES = 200, 256
QUESTION = "Where did we want to go in spring, and who wanted to come along?"
MESSAGE = (
    "We could take the night train to the coast, stay with Ann for a week, and walk back along the cliffs in April. "
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedder", default="minilm-int8")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        return _time_embedder()
    with own_directory() as own:
        environment = {**os.environ, **own, "SEARCH_EMBEDDER": given.embedder}
        subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], env=environment, check=True)
        manage = [sys.executable, "manage.py"]
        subprocess.run(
            [*manage, "create_user", "alice", "--service"], env=environment, check=True, stdout=subprocess.DEVNULL
        )
        made = subprocess.run([*manage, "create_api_key", "alice"], env=environment, check=True, stdout=subprocess.PIPE)
        key = made.stdout.decode().split()[-1]
        for number in range(given.rounds):
            _round(environment, key, "first start" if number == 0 else "start")
        inside = [sys.executable, "-m", "benchmarks.embedder", "--inside"]
        return subprocess.run(inside, env=environment).returncode


def _round(environment: Mapping[str, str], key: str, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**environment, "HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "WARNING"}
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "chatservice.server"], env=environment)
    try:
        with httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, trust_env=False
        ) as client:
            ready = _wait(lambda: client.get("/readyz").status_code == 200, began)
            body = {"model": "echo", "messages": [{"role": "user", "content": MESSAGE}]}
            client.post("/v1/chat/completions", json=body).raise_for_status()
            search = {"q": QUESTION}
            meaning = _wait(
                lambda: client.get("/v1/chat/search", params=search).json()["meta"]["mode"] == "hybrid", began
            )
        print(f"{name}: /readyz after {ready:.1f} s, by meaning after {meaning:.1f} s, {_rss(process.pid)}", flush=True)
    finally:
        process.terminate()
        process.wait()


def _wait(done: Callable[[], bool], began: float) -> float:
    while time.perf_counter() - began < WAIT_SECONDS:
        try:
            if done():
                return time.perf_counter() - began
        except httpx2.HTTPError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"nothing after {WAIT_SECONDS} s")


def _rss(pid: int) -> str:
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines())
    kilobytes = {line[0]: int(line[1]) for line in lines if line[0] in ("VmRSS:", "VmHWM:")}
    return f"{kilobytes['VmRSS:'] / 1024:.0f} MB (at most {kilobytes['VmHWM:'] / 1024:.0f})"


def _time_embedder() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chatservice.settings")
    import django

    django.setup()
    from search.embedders import loading

    embedder = loading.current()
    embedder.embed_queries([QUESTION] * 20)
    times, spent = [], time.process_time()
    for number in range(QUESTIONS):
        began = time.perf_counter()
        embedder.embed_queries([f"{QUESTION} {number}"])
        times.append((time.perf_counter() - began) * 1000)
    spent = time.process_time() - spent
    passages = [f"{number}. {MESSAGE * (1 + number % 8)}" for number in range(PASSAGES)]
    began = time.perf_counter()
    embedder.embed_passages(passages)
    rate = PASSAGES / (time.perf_counter() - began)
    result = {
        "embedder": embedder.name,
        "dimensions": embedder.dimensions,
        "question_ms_p50": round(statistics.median(times), 1),
        "question_ms_best": round(min(times), 1),
        "question_cpu_ms": round(spent * 1000 / QUESTIONS, 1),
        "passages_per_s": round(rate),
    }
    print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
