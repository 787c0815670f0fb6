"""The pages in a real browser: Debian's Chromium, driven by Playwright. case.py has the base class."""
