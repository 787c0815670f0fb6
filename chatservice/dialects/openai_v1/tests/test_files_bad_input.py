"""Uploads that are none get a clear error in OpenAI's shape, never a 5xx, and leave nothing."""

from __future__ import annotations

from pathlib import Path

import httpx2
from django.conf import settings

from chatservice.testing import ServiceTestCase, tried_once
from files.models import File
from files.storage import drafts

FORM = "multipart/form-data; boundary=x"
PURPOSE = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nHello\r\n'
END = b"--x--\r\n"


def field(name: str, value: str) -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


@tried_once
class BadUploadTest(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.drafts = set(drafts().iterdir())  # of processes that were killed by other tests

    def send(self, body: bytes, kind: str = FORM) -> httpx2.Response:
        return self.alice.http.post("/v1/files", content=body, headers={"Content-Type": kind})

    def assert_refused(self, response: httpx2.Response, *statuses: int) -> None:
        self.assertIn(response.status_code, statuses or (400,), response.text)
        error = response.json()["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertEqual(File.objects.filter(owner=self.alice.user).count(), 0)
        self.assertFalse((Path(settings.VAR_DIR) / "files" / self.alice.user.pk.hex).exists())
        self.assertEqual(set(drafts().iterdir()) - self.drafts, set())

    def test_a_good_one_is_stored(self) -> None:
        self.assertEqual(self.send(PURPOSE + FILE + END).status_code, 200)

    def test_forms_that_are_none(self) -> None:
        for name, body, kind in (
            ("nothing", b"", FORM),
            ("no boundary", PURPOSE + FILE + END, "multipart/form-data"),
            ("another boundary", PURPOSE + FILE + END, "multipart/form-data; boundary=y"),
            ("a long boundary", PURPOSE + FILE + END, "multipart/form-data; boundary=" + "y" * 300),
            ("a boundary that is no ASCII", PURPOSE + FILE + END, "multipart/form-data; boundary=%FC"),
            ("cut", PURPOSE + FILE[:-10], FORM),
            ("no end", PURPOSE + FILE, FORM),
            ("no file", PURPOSE + END, FORM),
            ("no purpose", FILE + END, FORM),
            ("a file that is a field", PURPOSE + field("file", "Hello") + END, FORM),
            ("a file in another field", PURPOSE + FILE.replace(b'"file"', b'"document"') + END, FORM),
            ("a file without a name", PURPOSE + FILE.replace(b"a.txt", b"") + END, FORM),
            ("an empty file", PURPOSE + FILE.replace(b"Hello", b"") + END, FORM),
            ("two files", PURPOSE + FILE + FILE + END, FORM),
            ("random bytes", bytes(range(256)) * 40, FORM),
            ("2000 fields", PURPOSE + b"".join(field(f"f{n}", "x") for n in range(2_000)) + FILE + END, FORM),
            ("200 files", PURPOSE + FILE.replace(b'"file"', b'"other"') * 200 + FILE + END, FORM),
            ("base64 that is none", PURPOSE + FILE.replace(
                b"\r\n\r\nHello", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!") + END, FORM),
        ):  # fmt: skip
            with self.subTest(name):
                response = self.alice.http.post("/v1/files", content=body, headers={"Content-Type": kind})
                self.assert_refused(response)

    def test_bodies_that_are_no_forms(self) -> None:
        for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", ""):
            self.assert_refused(self.send(b'{"file": "x", "purpose": "batch"}', kind), 415)
        response = self.alice.http.post("/v1/files", data={"purpose": "batch"})
        self.assert_refused(response, 415)

    def test_an_encoded_body_is_limited_like_any_other(self) -> None:
        response = self.alice.http.post(
            "/v1/files", content=b"x" * 5_000_000, headers={"Content-Type": FORM, "Content-Encoding": "gzip"}
        )
        self.assert_refused(response, 413)
        self.assertIn("LIMIT_BODY_BYTES", response.text)

    def test_values_of_the_wrong_kind(self) -> None:
        for purpose in ("", "x", "BATCH", "batch,vision", "assistants_output", "x" * 10_000, "\x00"):
            self.assert_refused(self.send(field("purpose", purpose) + FILE + END))
        anchor, seconds = "expires_after[anchor]", "expires_after[seconds]"
        for fields in (
            {anchor: "created_at"},
            {seconds: "3600"},
            {anchor: "now", seconds: "3600"},
            *({anchor: "created_at", seconds: value} for value in ("", "x", "3599", "2592001", "-1", "1e9", "٣٦٠٠")),
            {anchor: "created_at", seconds: "9" * 5_000},
            {"expires_after": "x"},
            {"expires_after": "[]"},
            {"expires_after": "[" * 100_000},
            {"expires_after": '{"anchor": "created_at", "seconds": [3600]}'},
        ):
            with self.subTest(str(fields)[:100]):
                more = b"".join(field(*each) for each in fields.items())
                response = self.send(PURPOSE + more + FILE + END)
                self.assert_refused(response)
                self.assertEqual(response.json()["error"]["param"], "expires_after")
        good = field("expires_after", '{"anchor": "created_at", "seconds": 3600}')
        self.assertEqual(self.send(PURPOSE + good + FILE + END).status_code, 200)

    def test_lists_that_are_none(self) -> None:
        for query in (
            *(f"limit={value}" for value in ("", "0", "-1", "10001", "x", "1.5", "9" * 5_000, "%00", "%D9%A1")),
            *(f"order={value}" for value in ("", "up", "%00")),
            *(f"purpose={value}" for value in ("", "x", "%00")),
            *(f"after={value}" for value in ("", "x", "file-", "file-" + "g" * 32, "file-" + "0" * 31, "%00")),
        ):
            with self.subTest(query[:50]):
                response = self.alice.http.get(f"/v1/files?{query}")
                self.assertEqual(response.status_code, 400, response.text)
                self.assertEqual(response.json()["error"]["param"], query.partition("=")[0])

    def test_a_key_comes_first(self) -> None:
        for headers in ({}, {"Authorization": "Bearer cb_wrong"}):
            for call in (("POST", "/v1/files"), ("GET", "/v1/files"), ("GET", "/v1/files/file-1/content")):
                self.assertEqual(self.guest.request(*call, headers=headers).status_code, 401)
        large = self.guest.post("/v1/files", content=b"x" * 5_000_000, headers={"Content-Type": FORM})
        self.assertEqual(large.status_code, 401)
