"""What the chat page costs the browser: `python -m benchmarks.page`, about a minute, with Chromium.

Printed are the bytes of the first load, compressed; the time to open a conversation of 500 messages, from the choice to
the frame with its last message; and the longest task of the page's main thread while an answer of 50,000 characters is
written, by the clock and in CPU time, which a busy machine changes less. A guest asks the service itself, on SQLite.
"""

from __future__ import annotations

import gzip
import json
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import httpx2
from playwright.sync_api import Browser, Page, Response, sync_playwright

from benchmarks.processes import HOST, Process, environment, free_port, run
from completions.tests.upstream import FaultyUpstream

CHARACTERS, MESSAGES, ROUNDS = 50_000, 500, 5
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage")
RUN_TASK = "ThreadControllerImpl::RunTask"
GOALS = {"longest task, ms of CPU": 50.0, "opened, ms": 500.0, "first load, KB": 60.0}
SAID = """## A *heading*

A paragraph with **bold**, `code`, a [link](https://a.example) and \\(x^2\\).

- one
- **two**

  with more

```python
def area(r):
    return 3 * r * r
```

| a | b |
|---|--:|
| one | **2** |

> said, and not so

"""
MODEL = f"fake/recited:2ms:40:{CHARACTERS // len(SAID) + 1}"
SEND = """mutation ($content: String!, $id: ID) {
  sendMessage(content: $content, conversationId: $id) { conversation { id } }
}"""
OPENED = """(id) => new Promise((done) => {
  const began = performance.now();
  const end = () => done(performance.now() - began);
  const isShown = () => document.querySelector("#messages article:nth-child(40)");
  const look = () => requestAnimationFrame(isShown() ? end : look);
  location.hash = id;
  look();
})"""
OVER = """() => new Promise((done) => {
  const timer = setInterval(() => {
    if (document.querySelector(".writing, .draft")) return;
    clearInterval(timer);
    done();
  }, 100);
})"""


def first_load(page: Page) -> float:
    """Return the kilobytes that an empty browser loads, as a proxy compresses them."""
    sizes: list[int] = []

    def count(response: Response) -> None:
        sizes.append(len(gzip.compress(response.body())))

    page.on("response", count)
    page.goto("/")
    page.wait_for_selector("body[data-ready]")
    page.remove_listener("response", count)
    return sum(sizes) / 1000


def fill(url: str) -> str:
    """Create a conversation of MESSAGES messages and return its id."""
    talk: str | None = None
    with httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
        for number in range(MESSAGES // 2):
            variables = {"content": f"Question {number}\n\n{SAID}", "id": talk}
            answer = client.post("/graphql", json={"query": SEND, "variables": variables}).raise_for_status().json()
            talk = answer["data"]["sendMessage"]["conversation"]["id"]
    assert talk is not None
    return talk


def opened(page: Page, talk: str) -> float:
    """Return the milliseconds until a conversation is shown, the median of ROUNDS."""
    took = []
    for _ in range(ROUNDS):
        page.goto("/")
        page.reload()
        page.wait_for_selector("body[data-ready]")
        took.append(page.evaluate(OPENED, talk))
    return median(took)


def longest_task(browser: Browser, page: Page, upstream: FaultyUpstream) -> tuple[float, float]:
    """Return the milliseconds of the longest task by the clock, and of CPU."""
    page.add_init_script(f"localStorage.setItem('model', '\"{MODEL}\"')")
    page.goto("/")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.get_by_label("Message", exact=True).fill(f"Well.\n\n⏸{SAID}")
    page.get_by_label("Message", exact=True).press("Enter")
    page.wait_for_selector("article.theirs :text('Well.')")
    browser.start_tracing(page=page, categories=["-*", "toplevel", "devtools.timeline"])
    upstream.posts[-1].released = True
    page.evaluate(OVER)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    shown = page.locator("article.theirs .body").text_content() or ""
    assert len(shown) > CHARACTERS / 2, len(shown)
    return longest_of(events)


def longest_of(events: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the longest task of the thread that lays out most: the page's main thread."""
    laid_out = [(each["pid"], each["tid"]) for each in events if each["name"] == "Layout"]
    main = max(set(laid_out), key=laid_out.count)
    whole = [each for each in events if each["name"] == RUN_TASK and each["ph"] == "X"]
    tasks = [each for each in whole if (each["pid"], each["tid"]) == main]
    return max(each["dur"] for each in tasks) / 1000, max(each.get("tdur", 0) for each in tasks) / 1000


def main() -> int:
    names = (os.environ.get("CHROMIUM", ""), *CHROMIUM)
    path, port = next(filter(None, map(shutil.which, filter(None, names))), None), free_port()
    if path is None:
        print("needs Chromium: apt-get install chromium, or set CHROMIUM", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="chat-page-") as directory, FaultyUpstream() as upstream:
        own = {"base_url": upstream.base_url, "api_key": "sk-page", "models": ["fake/*"], "strip_prefix": True}
        env = environment(
            VAR_DIR=directory,
            ENV_FILE="/dev/null",
            SECRET_KEY=secrets.token_urlsafe(48),
            KEY_PEPPER=secrets.token_urlsafe(48),
            HOST=HOST,
            PORT=str(port),
            ECHO_DELAY="0",
            LOG_LEVEL="WARNING",
            SEARCH_EMBEDDER="hashing",
            UPSTREAMS=json.dumps({"fake": own}),
        )
        run([sys.executable, "manage.py", "migrate", "-v", "0"], env=env)
        command = [sys.executable, "-m", "chatservice.server"]
        service = Process("page", command, port=port, ready="/readyz", env=env, logs=Path(directory))
        try:
            service.wait_ready(120)
            url = f"http://{HOST}:{port}"
            talk = fill(url)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
                page = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800}).new_page()
                weight, wait = first_load(page), opened(page, talk)
                clock, cpu = longest_task(browser, page, upstream)
                browser.close()
        finally:
            service.stop()
    found = {"first load, KB": weight, "opened, ms": wait, "longest task, ms": clock, "longest task, ms of CPU": cpu}
    print("| | measured | goal |\n|---|---|---|")
    for name, value in found.items():
        print(f"| {name} | {value:.0f} | {f'< {GOALS[name]:.0f}' if name in GOALS else ''} |")
    return int(any(found[name] >= goal for name, goal in GOALS.items()))


if __name__ == "__main__":
    sys.exit(main())
