"""One Chromium for all tests in this directory; skip if there is none, or fail if CI=true."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from conftest import CI

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--no-pings",
    "--metrics-recording-only",
    "--disable-dev-shm-usage",
    "--font-render-hinting=none",
)


def chromium() -> str | None:
    """Return the path of the system's Chromium, or the value of CHROMIUM."""
    names = (os.environ.get("CHROMIUM", ""), *NAMES)
    return next((found for name in names if name and (found := shutil.which(name))), None)


@pytest.fixture(scope="package")
def browser(django_db_setup: None) -> Iterator[object]:
    path = chromium()
    if path is None and CI:
        pytest.fail("needs Chromium, and CI=true promises one", pytrace=False)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium, or set CHROMIUM")
    from playwright.sync_api import sync_playwright

    # Playwright's loop runs in this thread while the browser lives, so Django would refuse queries by default.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    try:
        with sync_playwright() as playwright:
            running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
            yield running
            running.close()
    finally:
        if before is None:
            del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]
        else:
            os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before


@pytest.fixture(autouse=True)
def use_browser(request: pytest.FixtureRequest, browser: object) -> None:
    if request.instance is not None:
        request.instance.browser = browser
