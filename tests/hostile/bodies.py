"""Hostile bodies: not JSON, too large, or with values of the wrong kind in every documented field."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterator, Mapping
from typing import Any

from chatservice.docs import documented_dialects, schema_of
from tests.hostile.inputs import JSON, TEXTS, VALUES, Input, encoded
from tests.matrix import operations
from tests.matrix.rows import Row, anonymous, filled

KINDS = {
    "no type": "",
    "text": "text/plain",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data; boundary=x",
    "multipart without a boundary": "multipart/form-data",
    "XML": "application/xml",
    "octets": "application/octet-stream",
    "HTML": "text/html",
    "utf-16": "application/json; charset=utf-16",
    "utf-7": "application/json; charset=utf-7",
    "bz2": "application/json; charset=bz2_codec",
    "idna": "application/json; charset=idna",
    "unknown charset": "application/json; charset=unknown",
    "NUL in the charset": "application/json; charset=\\x00",
    "two types": "application/json, text/html",
    "a long type": "application/" + "x" * 5_000,
    "star": "*/*",
    "nonsense": "x",
}


@functools.cache  # some take long to make
def structures() -> dict[str, bytes]:
    """Return bodies that every API must refuse."""
    return {
        "nothing": b"",
        "blank": b"  \n",
        "cut": b'{"content": "x',
        "trailing garbage": b'{"content": "x"}}',
        "two values": b'{"content": "x"} {"content": "y"}',
        "trailing comma": b'{"content": "x",}',
        "comment": b'{"content": "x" /* y */}',
        "single quotes": b"{'content': 'x'}",
        "null": b"null",
        "number": b"5",
        "text": b'"x"',
        "list": b'[{"content": "x"}]',
        "NaN": b'{"content": "x", "temperature": NaN}',
        "Infinity": b'{"content": "x", "temperature": -Infinity}',
        "1e999": b'{"content": "x", "temperature": 1e999}',
        "100k digits": b'{"content": "x", "seed": ' + b"9" * 100_000 + b"}",
        "100k digit exponent": b'{"content": "x", "temperature": 1e' + b"9" * 100_000 + b"}",
        "depth 1000": b'{"metadata": ' + b'{"a":' * 1_000 + b"1" + b"}" * 1_001,
        "depth 100000": b'{"content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "depth 500000, unclosed": b"[" * 500_000,
        "objects, unclosed": b'{"a":' * 150_000,
        "50k keys": json.dumps({"content": "x", **{str(n): n for n in range(50_000)}}).encode(),
        "same key 50k times": b'{"content": "x"' + b',"a":1' * 50_000 + b"}",
        "key twice": b'{"content": "x", "content": {"a": 1}, "title": "x", "title": 5}',
        "long key": b'{"content": "x", "' + b"k" * 200_000 + b'": 1}',
        "100k empty lists": b'{"content": "x", "metadata": [' + b"[]," * 100_000 + b"[]]}",
        "900 KB text": b'{"content": "' + b"x" * 900_000 + b'", "title": "x"}',
        "beyond the limit": b'{"content": "' + b"x" * 4_200_000 + b'"}',
        "10 MB password": b'{"username": "x", "password": "' + b"x" * 10_000_000 + b'"}',
        "prototype": b'{"__proto__": {"content": "x"}, "constructor": {"prototype": {"isAdmin": true}}}',
        "BOM": b'\xef\xbb\xbf{"content": "x"}',
        "utf-16": '{"content": "x"}'.encode("utf-16"),
        "utf-16 without BOM": '{"content": "x"}'.encode("utf-16-le"),
        "utf-32": '{"content": "x"}'.encode("utf-32"),
        "utf-7": b"+AHsAIg-content+ACI-: +ACI-x+ACI-+AH0-",
        "not UTF-8": b'{"content": "\xff\xfe"}',
        "overlong": b'{"content": "\xc0\x80"}',
        "surrogate in UTF-8": b'{"content": "\xed\xa0\x80"}',
        "raw NUL": b'{"content": "a\x00b"}',
        "raw newline": b'{"content": "a\nb"}',
        "NUL in a key": b'{"content": "x", "a\\u0000": 1}',
        "surrogate in a key": b'{"content": "x", "\\ud800": 1}',
        "gzip": gzip.compress(b'{"content": "x"}'),
        "random": bytes(range(256)),
    }


def multipart() -> bytes:
    part = b'--x\r\nContent-Disposition: form-data; name="content"; filename="../../etc/passwd"\r\n\r\nx\r\n'
    return part * 5_000 + b"--x--\r\n"


def writes() -> list[Row]:
    return [row for row in operations.rows() if row.body is not None and row.kind in ("POST", "PUT", "PATCH")]


def body_inputs(own: Mapping[str, str]) -> Iterator[Input]:
    """Yield every hostile structure (large ones only for short paths) and every unusual content type for each write."""
    for row in writes():
        path, valid = filled(row.own_path(), own), encoded(filled(row.body, own))
        for name, body in structures().items():
            if len(body) < 300_000 or row.target.count("/") <= 2:
                yield Input(name, row.kind, path, {"Content-Type": JSON}, body)
        for name, kind in KINDS.items():
            body = multipart() if "multipart" in kind else valid
            yield Input(f"sent as {name}", row.kind, path, {"Content-Type": kind}, body)
        for coding in ("gzip", "br", "x" * 1_000):
            headers = {"Content-Type": JSON, "Content-Encoding": coding}
            yield Input(f"encoded as {coding[:5]}", row.kind, path, headers, gzip.compress(valid))


def field_inputs(own: Mapping[str, str]) -> Iterator[Input]:
    """Yield each documented field with each wrong value; wrong texts only once per field name and dialect."""
    rows = {anonymous(row.operation): row for row in writes()}
    for dialect in documented_dialects():
        schema, seen = schema_of(dialect), set()
        for path, operations_ in schema["paths"].items():
            for method, operation in operations_.items():
                row = rows.get(anonymous(f"{method.upper()} {path}"))
                if row is None:
                    continue
                [shape] = {json.dumps(each["schema"]) for each in operation["requestBody"]["content"].values()}
                for name in operations.properties(schema, json.loads(shape)):
                    first = name not in seen
                    seen.add(name)
                    yield from _wrong(row, own, name, {**VALUES, **(TEXTS if first else {})})
    for values in (VALUES, TEXTS):
        yield from nested_inputs(values)


def _wrong(row: Row, own: Mapping[str, str], name: str, values: Mapping[str, Any]) -> Iterator[Input]:
    valid = filled(row.body, own)
    for what, value in values.items():
        body = encoded({**valid, name: value})
        yield Input(f"{name} is {what}", row.kind, filled(row.own_path(), own), {"Content-Type": JSON}, body)


def nested_inputs(values: Mapping[str, Any]) -> Iterator[Input]:
    """Yield requests with each wrong value in the inner fields of the OpenAI wire."""
    if "POST /v1/chat/completions" not in operations.http_operations():
        return
    for what, value in values.items():
        for place in _in_messages(value):
            yield _nested("/v1/chat/completions", place, f"{json.dumps(place)[:60]} with {what}")
        # One name for all of a kind: only one of them is tried, unless all inputs are.
        for place in _in_parameters(value):
            yield _nested("/v1/responses", {"input": "x", **place}, f"parameter of a response with {what}")
        for item in _items(value):
            for path in ("/v1/responses", "/v1/responses/input_tokens", "/v1/responses/compact"):
                yield _nested(path, {"input": [item]}, f"item for {path} with {what}")
            yield _nested("/v1/conversations", {"items": [item]}, f"item of a conversation with {what}")


def _nested(path: str, place: Mapping[str, Any], name: str) -> Input:
    return Input(name, "POST", path, {"Content-Type": JSON}, encoded({"model": "default", **place}))


def _in_messages(value: Any) -> Iterator[dict[str, Any]]:
    asked = {"messages": [{"role": "user", "content": "x"}]}
    yield {"messages": [{"role": value, "content": "x"}]}
    yield {"messages": [{"role": "user", "content": value}]}
    yield {"messages": [{"role": "user", "content": [{"type": "text", "text": value}]}]}
    yield {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": value}}]}]}
    yield {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": value}]}]}
    yield {"messages": [{"role": "user", "content": "x", "name": value}]}
    yield {"messages": [value]}
    yield {**asked, "stop": value, "user": value}
    yield {**asked, "stream": True, "stream_options": {"include_usage": value}}
    yield {**asked, "metadata": {"k": value}, "response_format": value}


def _items(value: Any) -> Iterator[Any]:
    """Yield items of the Responses API with a wrong value somewhere."""
    called = {"call_id": "call_1", "name": "f"}
    yield value
    yield {"type": value, "role": "user", "content": "x"}
    yield {"role": value, "content": "x"}
    yield {"role": "user", "content": value}
    yield {"role": "user", "content": [value]}
    yield {"id": value, "role": "assistant", "content": [{"type": "output_text", "text": value, "annotations": value}]}
    yield {"role": "user", "content": [{"type": "input_image", "image_url": value, "file_id": value, "detail": value}]}
    yield {"role": "user", "content": [{"type": "input_file", "file_id": value, "filename": value}]}
    yield {"role": "user", "content": [{"type": "input_audio", "input_audio": value}]}
    yield {"type": "function_call", **called, "arguments": value}
    yield {"type": "custom_tool_call", "call_id": value, "name": value, "input": value}
    yield {"type": "function_call_output", "call_id": "call_1", "output": value}
    yield {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": value}]}
    yield {"type": "reasoning", "id": value, "summary": [{"type": "summary_text", "text": "x"}], "content": value}
    yield {"type": "reasoning", "id": "rs_1", "summary": value, "encrypted_content": value}
    yield {"type": "item_reference", "id": value}
    yield {"type": "compaction", "encrypted_content": value}
    yield {"type": "web_search_call", "id": value, "status": value, "action": value}


def _in_parameters(value: Any) -> Iterator[dict[str, Any]]:
    """Yield fields of a request for a response with a wrong value inside."""
    function = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    yield {"tools": [value]}
    yield {"tools": [{**function, "name": value}]}
    yield {"tools": [{**function, "parameters": value, "strict": value}]}
    yield {"tools": [{"type": "custom", "name": "c", "format": value}]}
    yield {"tools": [function], "tool_choice": {"type": "function", "name": value}}
    yield {"tools": [function], "tool_choice": {"type": value}}
    yield {"tools": [function], "tool_choice": {"type": "allowed_tools", "mode": value, "tools": [function]}}
    yield {"tools": [function], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": value}}
    yield {"tools": [function], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": value}]}}
    yield {"text": {"format": value, "verbosity": value}}
    yield {"text": {"format": {"type": value}}}
    yield {"text": {"format": {"type": "json_schema", "name": value, "schema": value, "strict": value}}}
    yield {"reasoning": {"effort": value, "summary": value}, "stream": True}
    yield {"metadata": {"k": value}}
    yield {"stream": True, "stream_options": {"include_obfuscation": value}}
    yield {"include": [value]}
    yield {"conversation": {"id": value}}
    yield {"recall": {"limit": value, "mode": value}}
    yield {"background": True, "top_logprobs": value, "store": value}
