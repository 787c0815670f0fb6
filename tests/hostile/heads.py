"""Hostile request heads: ids in paths, queries, and headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from tests.hostile.inputs import IDS, JSON, Input, encoded
from tests.matrix import operations
from tests.matrix.rows import PARAMETER, Row, filled

QUERIES = (
    *(f"page={value}" for value in ("0", "-1", "1.5", "x", "", "1e9", str(2**63), str(2**64), "9" * 5_000, "%00", "٣")),
    *(f"limit={value}" for value in ("0", "-1", "101", "1000000", "x", str(2**64), "1;2", "%D9%A3", "²")),
    *(f"offset={value}" for value in ("-1", str(2**63), "x")),
    *(f"cursor={value}" for value in ("x", "bzoxMDA%3D", "cD0yMDI0", "%00", "a" * 5_000)),
    *(f"after={value}" for value in ("x", "0.0.0", f"{'f' * 32}.1.1", f"{'f' * 32}.-1.1", "%00", "%FF", "a" * 5_000)),
    "page=1&page=2&limit=1&limit=x",
    "page[]=1&page[$gt]=0",
    "order=password&ordering=-password&sort=api_keys__digest&order_by=owner__password",
    "owner__password__startswith=argon2&user__is_staff=true&id__gt=0",
    "content__regex=(a%2B)%2B%24&title__icontains=a",
    "fields=*&include=owner&expand=owner.api_keys",
    "format=xml&format=api",
    "q=%00", "q=%25", "q=_", "q=%5C", "q=%22", "q=%22unclosed", "q=a%20NEAR%20b", "q=content%3Ax",
    "q=*", "q=a*%20OR%20b",
    "q=a%20%26%20%21b%20%7C%20%28", "q=%27%3A*", "q=%F0%9F%90%BA", "q=%ED%A0%80", "q=" + "x" * 900, "q=" + "x" * 5_000,
    "q=" + "%28" * 900, "q=" + "a%20AND%20" * 90, "q=%2B%2B%2B---", "q=NOT", "q=%7B%7D", "q=e%CC%81",
    "q=a%0Ab", "q=the",
    "metadata=x", "metadata[]=x", "metadata[a]=%00", "metadata[%00]=a", "metadata[a]=" + "x" * 513, "metadata[a[b]]=x",
    "&".join(f"metadata[{n}]=1" for n in range(17)), "metadata[a]=1&metadata[a]=2", "metadata[%FF]=%FE",
    *(f"starting_after={value}&stream=true" for value in ("-1", "x", "", "9" * 5_000, str(2**64), "٣", "1.5", "%00")),
    *(f"include[]={value}" for value in ("x", "", "%00", "%FF", "a" * 5_000, "reasoning.encrypted_content")),
    *(f"include={value}" for value in ("x", "%00", "code_interpreter_call.outputs&include=x")),
    *(f"after={kind}{'f' * 32}{more}" for kind in ("conv_", "msg_", "rs_", "chatcmpl-") for more in ("", "_9", "f")),
    *(f"order={value}" for value in ("x", "", "%00", "ASC", "asc&order=desc")),
    *(f"query={value}" for value in ("", "%20", "%00", "%22", "a*", "x" * 5_000, "%ED%A0%80", "NOT", "%28" * 900)),
    *(f"query=a&{more}" for more in ("mode=x", "role=x", "since=x", "until=9999-12-31", "since=0001-01-01")),
    "query=a&cursor=x",
    *(f"query=a&conversation_id={value}" for value in ("x", "conv_x", "%00", f"conv_{'f' * 32}", "a" * 5_000)),
    "query=a&until=9999-12-31T23:59:59-23:59", "query=a&since=0001-01-01T00:00:00%2B23:59", "stream=%00", "stream=x",
    *(f"message={value}" for value in ("x", "", "%00", "%FF", "a" * 5_000, "x&message=x", "file-" + "f" * 32)),
    "&".join(["message=x"] * 51), "message[]=x",
    "archived=maybe", "archived=", "model=", "model=" + "x" * 201, "model=%00", "model=%0D%0Ax%3A1", "model=../../x",
    "&" * 2_000,
    "&".join(f"a{n}=1" for n in range(2_000)),
    "%", "%ZZ=1", "=", "?" * 100, "a=%FF%FE",
)  # fmt: skip
HEADERS: dict[str, dict[str, str | bytes]] = {
    "64 KB": {"X-Long": "x" * 65_536},
    "12 KB": {"X-Long": "x" * 12_000},
    "no scheme": {"Authorization": "<secret>"},
    "basic": {"Authorization": "Basic YTpi"},
    "bearer without a key": {"Authorization": "Bearer"},
    "two keys": {"Authorization": "Bearer <secret>, Bearer <secret>"},
    "tab": {"Authorization": "Bearer\t<secret>"},
    "no space": {"Authorization": "Bearer<secret>x"},
    "SQL": {"Authorization": "Bearer cb_' OR 1=1; DROP TABLE accounts_apikey; --"},
    "SQL in a key's form": {"Authorization": "Bearer cb_abcdefgh_' UNION SELECT digest FROM accounts_apikey--"},
    "NoSQL": {"Authorization": 'Bearer {"$gt": ""}'},
    "JWT": {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."},
    "long key": {"Authorization": "Bearer cb_" + "x" * 10_000},
    "key of high bytes": {"Authorization": b"Bearer cb_\xff\xfe\xc3\xa9"},
    "key and more": {"Authorization": "Bearer <secret>x"},
    "digits of another alphabet": {"Authorization": "Bearer cb_٣٣٣٣٣٣٣٣_x".encode()},
    "foreign host": {"Host": "evil.example"},
    "host with a port": {"Host": "127.0.0.1:99999"},
    "empty host": {"Host": ""},
    "host with a path": {"Host": "127.0.0.1/../x"},
    "host with a user": {"Host": "evil@127.0.0.1"},
    "forwarded for": {"X-Forwarded-For": "127.0.0.1, ::1, x"},
    "forwarded for 1000": {"X-Forwarded-For": ", ".join(["1.2.3.4"] * 1_000)},
    "forwarded host": {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "X-Forwarded-Port": "0"},
    "forwarded": {"Forwarded": "for=unknown;host=evil.example;proto=gopher"},
    "real ip": {"X-Real-IP": "127.0.0.1", "X-Client-IP": "127.0.0.1", "True-Client-IP": "::1"},
    "root path": {"Daphne-Root-Path": "/admin"},
    "root path of dots": {"Daphne-Root-Path": "/../../", "X-Script-Name": "/admin", "X-Forwarded-Prefix": "/admin"},
    "method override": {"X-HTTP-Method-Override": "DELETE", "X-HTTP-Method": "PUT", "X-Method-Override": "TRACE"},
    "another address": {"X-Original-URL": "/admin/", "X-Rewrite-URL": "/admin/"},
    "last event no cursor": {"Last-Event-ID": "x"},
    "last event negative": {"Last-Event-ID": f"{'0' * 32}.-1.-1"},
    "last event huge": {"Last-Event-ID": f"{'0' * 32}.{2**64}.{2**64}"},
    "last event long": {"Last-Event-ID": "1" * 10_000},
    "last event high": {"Last-Event-ID": b"\xff\xfe"},
    "last event path": {"Last-Event-ID": "../../x"},
    "idempotency 256": {"Idempotency-Key": "x" * 256},
    "idempotency 10 KB": {"Idempotency-Key": "x" * 10_000},
    "idempotency empty": {"Idempotency-Key": ""},
    "idempotency blank": {"Idempotency-Key": "a b"},
    "idempotency high": {"Idempotency-Key": b"caf\xc3\xa9"},
    "idempotency SQL": {"Idempotency-Key": "'||pg_sleep(9)--"},
    "request id": {"X-Request-Id": "x" * 5_000},
    "request id of markup": {"X-Request-Id": "<script>"},
    "accept": {"Accept": "application/xml"},
    "accept nonsense": {"Accept": "x" * 5_000},
    "accept version": {"Accept": "application/json; version=9; indent=99999999"},
    "language": {"Accept-Language": ",".join(["x-" + "y" * 50] * 150)},
    "range": {"Range": "bytes=0-1,2-3,-9999999999"},
    "expect": {"Expect": "200-maybe"},
    "upgrade": {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABk"},
    "cookie": {"Cookie": "chat_session=../../x; csrftoken=" + "x" * 5_000},
    "origin": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    "origin null": {"Origin": "null"},
    "referer": {"Referer": "javascript:alert(1)"},
    "disconnect": {"X-On-Disconnect": "explode"},
    "trace": {"Traceparent": "x", "X-Amzn-Trace-Id": "x"},
}


def id_inputs(own: Mapping[str, str]) -> Iterator[Input]:
    """Yield every hostile id at every path position that takes an id; the bodies are valid."""
    for row in operations.rows():
        if row.kind not in ("GET", "POST", "PUT", "PATCH", "DELETE") or "{" not in row.target:
            continue
        names = PARAMETER.findall(row.target)
        for what, text in IDS.items():
            path = row.target.replace(f"{{{names[-1]}}}", text)
            yield valid(row, f"{names[-1]} is {what}", filled(PARAMETER.sub(r"<own.\1>", path), own), own)


def query_inputs(own: Mapping[str, str]) -> Iterator[Input]:
    """Yield every hostile query string for every read, also as cursors in headers."""
    for row in operations.rows():
        if row.kind == "GET" and row.touches:
            for query in QUERIES:
                yield valid(row, f"query {query[:100]}", f"{filled(row.own_path(), own)}?{query}", own)


def header_inputs(own: Mapping[str, str], secret: str) -> Iterator[Input]:
    """Yield every hostile header for one read and one write of every API."""
    chosen: dict[tuple[str, str], Row] = {}
    for row in operations.rows():
        if row.kind in ("GET", "POST") and row.touches:
            chosen.setdefault((row.kind, "/".join(row.target.split("/")[1:3]) + str(row.target.count("/") > 3)), row)
    for row in chosen.values():
        for name, headers in HEADERS.items():
            given = {
                key: value.replace("<secret>", secret) if isinstance(value, str) else value
                for key, value in headers.items()
            }
            yield valid(row, name, filled(row.own_path(), own), own, given)


def valid(row: Row, name: str, path: str, own: Mapping[str, str], headers: Mapping[str, Any] | None = None) -> Input:
    """Return a row's valid request, with the given `path` and `headers`."""
    body = None if row.body is None else encoded(filled(row.body, own))
    kind = {"Content-Type": JSON} if body is not None else {}
    return Input(name, row.kind, quote(path, safe="/?&=%:;,.*'~!$()+@[]{}<>-_"), {**kind, **(headers or {})}, body)
