"""One hostile input over HTTP, and the values and texts that inputs are made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Input:
    """A request. `path` is sent unchanged; `content` is the body, or None without a body."""

    name: str
    method: str
    path: str
    headers: Mapping[str, str | bytes] = field(default_factory=dict)
    content: bytes | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.method} {self.path[:120]}"


# Texts that attackers hope are executed or interpreted.
TEXTS: dict[str, str] = {
    "NUL": "a\x00b",
    "lone surrogate": "a\ud800b",
    "low surrogate": "\udc00",
    "right to left": "\u202egnp.exe",
    "combining": "e" + "\u0301" * 10_000,
    "joined": "\u200d".join("👩👩👧👦" * 50),
    "astral": "𝒳" * 500,
    "noncharacter": "\ufffe\uffff",
    "CRLF header": "x\r\nSet-Cookie: evil=1\r\n\r\n",
    "SSE fields": "x\n\nevent: evil\nid: evil\nretry: 1\ndata: evil\n\n",
    "SSE by CR": "x\r\revent: evil\rid: evil\rdata: evil\r\r",
    "SSE end": "data: [DONE]\n\n",
    "ANSI": "\x1b[2J\x1b]0;evil\x07",
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "SQL": "x'; DROP TABLE accounts_user; --",
    "template": "{{7*7}}${7*7}%(x)s{0.__class__}",
    "path": "../../../../etc/passwd",
    "URL": "http://169.254.169.254/latest/meta-data/",
    "blank": " \u00a0\u2003\n",
    "300000 characters": "x" * 300_000,
    "one over": "x" * 262_145,
}
# Values to try in place of a value of any other type.
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "fraction": 1.5,
    "2^63": 2**63,
    "2^64": 2**64,
    "1e308": 1e308,
    "10^400": 10**400,
    "empty text": "",
    "list": [],
    "object": {},
    "texts": ["x", "y"],
    "nulls": [None],
    "nested": {"a": [{"b": {"c": [[]]}}]},
    "lookup": {"id__gt": 0},
    "numeric text": "1",
    "boolean text": "true",
}
IDS: dict[str, str] = {
    "zero": "0",
    "minus one": "-1",
    "2^63": str(2**63),
    "2^64": str(2**64),
    "2^31": str(2**31),
    "fraction": "1.0",
    "exponent": "1e3",
    "infinity": "Infinity",
    "NaN": "NaN",
    "null": "null",
    "undefined": "undefined",
    "nil uuid": "00000000-0000-0000-0000-000000000000",
    "max uuid": "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "braces": "%7B01890a5d-ac96-774b-bcce-b302099a8057%7D",
    "urn": "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
    "short uuid": "01890a5d-ac96-774b-bcce-b302099a805",
    "odd dashes": "01890a5dac96-774b-bcceb302099a-8057",
    "wide digits": "%EF%BC%90%EF%BC%91",
    "superscript": "%C2%B2",
    "arabic digits": "%D9%A1",
    "NUL": "%00",
    "uuid and NUL": "01890a5d-ac96-774b-bcce-b302099a8057%00",
    "not UTF-8": "%FF%FE",
    "surrogate": "%ED%A0%80",
    "dots": "..",
    "parent": "..%2F..%2Fetc%2Fpasswd",
    "double encoded": "%252e%252e%252f",
    "newline": "1%0D%0ASet-Cookie:%20evil=1",
    "quote": "1'%20OR%20'1'='1",
    "asterisk": "*",
    "percent": "%25",
    "10 KB": "x" * 10_240,
    "20 KB of zeros": "0" * 20_480,
    "list": "%5B%22x%22%5D",
    "path parameter": ";jsessionid=1",
    "emoji": "%F0%9F%90%BA",
}


def encoded(value: Any) -> bytes:
    """Return JSON as a careless client writes it: lone surrogates and NUL as escapes."""
    return json.dumps(value).encode()
