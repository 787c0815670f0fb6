"""A table of every way an upstream can fail, with the expected results; all tests of failures share it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, NamedTuple

from completions.tests.upstream_wire import TEXT, WORDS

HEL = "Hello"


class Case(NamedTuple):
    """The results of a behaviour, streamed and not: (stored code, HTTP status of an answer without text, partial text).

    The name before a slash is the upstream's; without one it is `fake`.
    """

    behaviour: str
    streamed: tuple[str, int, str]
    whole: tuple[str, int]

    @property
    def model(self) -> str:
        return self.behaviour if self.behaviour.partition("/")[0] in NOWHERE else f"fake/{self.behaviour}"


def failing(behaviour: str, code: str, status: int) -> Case:
    """The same failure before any text, streamed or not."""
    return Case(behaviour, (code, status, ""), (code, status))


def streamed(behaviour: str, code: str, text: str = HEL) -> Case:
    """A stream that breaks off, sent whatever was requested."""
    return Case(behaviour, (code, 200, text), (code, 504 if STALLED in code else 502))


def well(behaviour: str, text: str = TEXT) -> Case:
    """An unusual but valid answer, sent as a stream whatever was requested."""
    return Case(behaviour, ("", 200, text), OK)


NOWHERE = ("nameless", "refusing", "untrusted")


def nowhere(untrusted: str) -> dict[str, Any]:
    """Upstreams that accept no request: an unknown name, a closed port, an untrusted certificate."""
    addresses = ("http://nobody.invalid/v1", "http://127.0.0.1:1/v1", untrusted)
    pairs = zip(NOWHERE, addresses, strict=True)
    return {name: {"base_url": base_url, "models": [f"{name}/*"], "strip_prefix": True} for name, base_url in pairs}


SOON = format_datetime(datetime.now(UTC) + timedelta(minutes=30), usegmt=True).replace(":", "=")

OK = ("", 200)
INVALID, TRUNCATED, ERROR = "upstream_invalid", "upstream_truncated", "upstream_error"
UNREACHABLE, STALLED, TIMEOUT = "upstream_unreachable", "upstream_stalled", "upstream_timeout"
LIMIT, UNAUTHORIZED, RATE = "output_limit", "upstream_unauthorized", "upstream_rate_limited"
LATE = ("upstream_timeout deadline_exceeded", 504)

CASES = [
    Case("ok", ("", 200, TEXT), OK),
    # No connection, or one that breaks.
    *(failing(f"{name}/ok", UNREACHABLE, 502) for name in NOWHERE),
    failing("refuse", UNREACHABLE, 502),
    failing("reset", UNREACHABLE, 502),
    streamed("reset:2", TRUNCATED),
    streamed("close-delimited:none", TRUNCATED, TEXT),
    streamed("chunk-overflow:50ms", f"{TRUNCATED} {STALLED}"),
    *(streamed(f"truncated:{how}", TRUNCATED) for how in ("eof", "cut")),
    # Silence.
    Case("no-first-byte", (TIMEOUT, 504, ""), LATE),
    Case("informational", (TIMEOUT, 504, ""), LATE),
    Case("headers-then-hang", (TIMEOUT, 504, ""), LATE),
    Case("comments-forever:0", (TIMEOUT, 504, ""), LATE),
    streamed("stall", STALLED),
    streamed("comments-forever", STALLED),
    streamed("trickle", STALLED),
    # Refusals.
    *(failing(status, UNAUTHORIZED, 502) for status in ("401", "402", "403")),
    *(failing(status, "some_code", int(status)) for status in ("404", "409", "413", "422")),
    failing("408", TIMEOUT, 504),
    *(failing(f"429{wait}", RATE, 429) for wait in ("", ":0", ":1", ":120", ":3600", ":soon", f":{SOON}")),
    *(failing(status, ERROR, 502) for status in ("500", "502", "503", "503:120", "504", "529", "html:500", "html:502")),
    failing("context-length", "context_length_exceeded", 400),
    failing("unheard-of", "model_not_found", 404),
    failing("error-200", ERROR, 502),
    *(failing(f"redirect:{where}", INVALID, 502) for where in ("301", "307", "308", "307:elsewhere")),
    # Not an event stream, or one that was not requested.
    failing("html-200", INVALID, 502),
    failing("gzip-bomb", INVALID, 502),
    failing("huge-body", LIMIT, 502),
    Case("json-200", ("", 200, TEXT), OK),
    well("sse-200"),
    # Strange ends and strange lines of an otherwise proper answer.
    *(well(name) for name in ("finish-then-open", "done-then-open", "done-then-more", "finish-no-done")),
    *(well(name) for name in ("crlf", "crlf:cr", "close-delimited", "usage-missing")),
    well("split", "".join(WORDS[2:5])),
    well("truncated:done", HEL),
    *(well(f"data:{value}", HEL) for value in ("{}", "null", "[]", '"x"', "ping")),
    well('data:{"choices"=[]}', HEL),
    well('data:{"choices"=[{"delta"=null}]}', HEL),
    well("bad-utf8", "Helloa\ufffdb\ufffdcd"),
    Case("negative-usage", ("", 200, TEXT), OK),
    Case("broken-tools", ("", 200, TEXT), OK),
    Case("far-choice", ("", 200, TEXT), OK),
    well("many-tools:2000", ""),
    well('data:{"choices"=[{"index"=0,"delta"={"tool_calls"=[1]}}]}', HEL),
    # Nonsense.
    streamed('data:{"choices"=[{"index"=-1}]}', INVALID),
    *(streamed(name, INVALID) for name in ("malformed", "number-content")),
    *(streamed(name, ERROR) for name in ("error-event", "error-mid-stream", "finish-error")),
    # Too much.
    streamed("huge-line", LIMIT),
    Case("huge-text:300000", (LIMIT, 200, "x" * 262_144), (LIMIT, 502)),
]
HUGE = ("huge-line", "huge-body", "huge-text:16777216", "gzip-bomb", "many-tools", "tiny:1000000")
