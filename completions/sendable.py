"""Tells which headers and addresses can be sent to an upstream. The settings import it, so it must not import them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)
HEADER_VALUE = re.compile(r"([!-~]([ -~]*[!-~])?)?")


def is_http_url(text: str) -> bool:
    """Tell whether `text` is an http(s) address that a connection can be made to."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    return bool(parts.hostname and port != 0 and re.fullmatch(r"https?://\S+", text))
