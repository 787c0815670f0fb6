"""Makes strings safe for a database and messages safe for a client.

Databases refuse NUL and lone surrogates; other services' error texts may contain keys.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, Final

import msgspec

from conversations.storable import HALVES, storable_text

MESSAGE_CHARS: Final = 500
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_SECRETS = re.compile(
    r"(?i:\bbearer\s+\S+)"
    r"|(?i:(?<![a-z0-9])(?:sk|pk|rk|ak|gsk|xai|hf|ghp|nvapi|pplx|key|token|secret)[-_][\w\-*.+/=]{6,})"
    r"|AIza[\w-]{20,}"
    r"|eyJ[\w.-]{20,}"
    r"|(?<!\w)(?=\w*\d)\w{32,}"
    r"|(?<=://)[^\s/@]{1,200}(?=@)"
    r"|(?i:\b(?:api[_-]?key|password|secret)[\"']?\s{0,3}[=:]\s{0,3}\S+)"
)
# Where a stack trace begins: Python's, then those of Java, JavaScript and .NET, Go and Rust; or a page of HTML.
_TRACE = re.compile(
    r"Traceback \(most recent call last\)|File \"[^\"\n]*\", line \d"
    r"|\bat [\w.$<>/\[\] ]{1,200}\((?:[^()\n]{0,200}:\d+|Native Method|Unknown Source)\)"
    r"|\bat (?:async )?(?:file://)?/\S+:\d+:\d+|\bat [\w.$<>`]{1,200}\([^()\n]{0,200}\) in \S+:line \d"
    r"|goroutine \d+ \[|stack backtrace:|(?i:<(?:!doctype|html|head|body)\b)"
)
_decode = msgspec.json.Decoder().decode


# Bytes that are no UTF-8, as `surrogateescape` decodes them; after a first half, it is the second half of a character.
RAW_BYTES: Final = re.compile(r"(?<![\ud800-\udbff])[\udc80-\udcff]+")
_utf8 = codecs.getincrementaldecoder("utf-8")


def characters(raw: str) -> tuple[str, str]:
    """Return the text of a match of `RAW_BYTES`, and its last bytes if they only begin a character."""
    decoder = _utf8("replace")
    text = decoder.decode(raw.encode("ascii", "surrogateescape"))
    return text, decoder.getstate()[0].decode("ascii", "surrogateescape")


def _replaced(raw: re.Match[str]) -> str:
    text, rest = characters(raw[0])
    return text + "\ufffd" if rest else text


def clean_tree(value: Any) -> Any:
    """Return a copy of decoded JSON in which every string, keys included, is clean."""
    if isinstance(value, str):
        if not value.isascii() and HALVES.search(value):
            value = RAW_BYTES.sub(_replaced, value)
            # Joins the two halves of a character.
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        return storable_text(value)
    if isinstance(value, dict):
        return {storable_text(key): clean_tree(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean_tree(item) for item in value]
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if value - value != 0:  # infinite: no database accepts it
        raise ValueError("number out of range")
    return value


# Decodes the JSON that begins at a position of a text; returns it and where it ends. Raises ValueError, RecursionError.
decode_at = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite).raw_decode


def decode_json(raw: bytes) -> Any:
    """Decode JSON into values a database accepts, tolerating broken UTF-8, surrogates and NUL. Raises ValueError."""
    value, is_clean = decode_halves(raw)
    try:
        return value if is_clean else clean_tree(value)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def decode_halves(raw: bytes) -> tuple[Any, bool]:
    """Decode like `decode_json`, but leave halves of characters; returns whether the value is database-safe."""
    try:
        return _decode(raw), b"\\u0000" not in raw
    except (msgspec.DecodeError, UnicodeDecodeError):
        raw = raw.replace(b"\x00", b"")
        try:
            text = raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            text = raw.decode("utf-8", "surrogateescape")
        try:
            return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite), False
        except RecursionError:
            raise ValueError("nested too deeply") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def encode_json(value: Any) -> bytes:
    """Encode a request body; lone surrogates a client sent become U+FFFD."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(clean_tree(value))


def safe_message(text: object, *secrets: str, limit: int = MESSAGE_CHARS) -> str:
    """Return one line of at most `limit` characters without keys or stack traces; empty if `text` is not a string."""
    if not isinstance(text, str):
        return ""
    text = text[: limit * 8]  # the patterns below must not be run on a megabyte
    if trace := _TRACE.search(text):
        text = text[: trace.start()]
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[redacted]")
    text = _SECRETS.sub("[redacted]", _CONTROLS.sub(" ", storable_text(text))).strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def safe_code(code: object, *secrets: str) -> str:
    """Return an upstream's error code, string or number, as a short token; empty if there is none."""
    if isinstance(code, bool) or not isinstance(code, str | int):
        return ""
    return re.sub(r"[^\w.\-/ ]", "", safe_message(str(code), *secrets, limit=64))
