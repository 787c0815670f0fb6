"""Files by the official client: uploaded, listed, read in parts, deleted; and what is left on the disk."""

from __future__ import annotations

import asyncio
import io
import os
import time
from pathlib import Path
from typing import Any

import openai
from django.conf import settings

from chatservice.testing import ServiceTestCase, running_service, tried_once, wait_until
from files.models import ContentChange, File
from files.services import prune_expired
from files.storage import drafts
from files.tests.documents import encrypted_pdf
from scripts.procfs import resident_bytes, tree

MEBIBYTE = 1_048_576


class FilesCase(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.openai = self.client_of(self.service.url)
        self.left_before = set(drafts().iterdir())

    def client_of(self, url: str) -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=self.alice.secret, max_retries=0)
        self.addCleanup(client.close)
        return client

    def upload(self, content: bytes, name: str = "a.txt", purpose: Any = "user_data", **more: Any) -> Any:
        return self.openai.files.create(file=(name, content), purpose=purpose, **more)

    def folder(self) -> Path:
        return Path(settings.VAR_DIR) / "files" / self.alice.user.pk.hex

    def on_disk(self) -> list[str]:
        return sorted(os.listdir(self.folder())) if self.folder().exists() else []

    def drafts(self) -> set[Path]:
        """Return what is arriving, or was left by this test; processes that other tests killed leave some, too."""
        return set(drafts().iterdir()) - self.left_before


@tried_once
class ClientTest(FilesCase):
    def test_a_file_is_uploaded_read_and_deleted(self) -> None:
        before = int(time.time())
        file = self.upload("Größe: 5 m".encode(), "größe.txt")
        self.assertRegex(file.id, r"^file-[0-9a-f]{32}$")
        self.assertEqual((file.object, file.bytes, file.filename), ("file", 12, "größe.txt"))
        self.assertEqual((file.purpose, file.status, file.expires_at), ("user_data", "uploaded", None))
        self.assertLessEqual(before, file.created_at)
        read = self.openai.files.wait_for_processing(file.id, poll_interval=0.05)
        self.assertEqual(read, file.model_copy(update={"status": "processed"}))
        self.assertEqual(self.openai.files.content(file.id).text, "Größe: 5 m")
        gone = self.openai.files.delete(file.id)
        self.assertEqual((gone.id, gone.object, gone.deleted), (file.id, "file", True))
        for call in (self.openai.files.retrieve, self.openai.files.content, self.openai.files.delete):
            with self.assertRaises(openai.NotFoundError):
                call(file.id)
        self.assertEqual(self.on_disk(), [])

    def test_a_file_that_cannot_be_read_says_so(self) -> None:
        file = self.upload(encrypted_pdf("secret", "pass"), "a.pdf")
        read = self.openai.files.wait_for_processing(file.id, poll_interval=0.05)
        self.assertEqual(read.status, "error")
        self.assertEqual(read.status_details, "The text of this file is protected by a password.")
        self.assertEqual([each.status for each in self.openai.files.list()], ["error"])

    def test_the_async_client_is_served_as_well(self) -> None:
        async def upload() -> tuple[str, bytes]:
            url = f"{self.service.url}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key=self.alice.secret, max_retries=0) as client:
                file = await client.files.create(file=("a.bin", b"\x00\x01"), purpose="batch")
                return file.id, (await client.files.content(file.id)).content

        pk, content = asyncio.run(upload())
        self.assertEqual(content, b"\x00\x01")
        self.assertEqual(self.openai.files.retrieve(pk).purpose, "batch")

    def test_lists_are_paged_filtered_and_nobody_elses(self) -> None:
        made = [self.upload(b"%d" % n, purpose="vision" if n % 2 else "batch").id for n in range(5)]
        others = openai.OpenAI(base_url=f"{self.service.url}/v1", api_key=self.bob.secret, max_retries=0)
        self.addCleanup(others.close)
        empty = others.files.list()
        self.assertEqual((empty.data, empty.has_more, empty.to_dict()["first_id"]), ([], False, ""))
        self.assertEqual([file.id for file in self.openai.files.list()], made[::-1])
        self.assertEqual([file.id for file in self.openai.files.list(limit=2)], made[::-1])  # it turns the pages
        page = self.openai.files.list(limit=2, order="asc", after=made[1])
        self.assertEqual(([file.id for file in page.data], page.has_more), (made[2:4], True))
        raw = page.to_dict()
        self.assertEqual((raw["object"], raw["first_id"], raw["last_id"]), ("list", made[2], made[3]))
        self.assertEqual([file.id for file in self.openai.files.list(purpose="vision")], [made[3], made[1]])

    def test_a_file_expires(self) -> None:
        file = self.upload(b"soon", expires_after={"anchor": "created_at", "seconds": 3_600})
        self.assertEqual(file.expires_at, file.created_at + 3_600)
        stored = File.objects.get(owner=self.alice.user)
        assert stored.expires_at is not None
        File.objects.filter(pk=stored.pk).update(expires_at=stored.created_at)
        self.assertEqual(self.openai.files.list().data, [])
        with self.assertRaises(openai.NotFoundError):
            self.openai.files.content(file.id)
        prune_expired()
        self.assertEqual(self.on_disk(), [])

    def test_the_same_bytes_twice_are_stored_once(self) -> None:
        first, second = (self.upload(b"same" * 1_000, name) for name in ("a", "b"))
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(len(self.on_disk()), 1)
        self.openai.files.delete(first.id)
        self.assertEqual(self.openai.files.content(second.id).content, b"same" * 1_000)

    def test_the_type_is_told_from_the_bytes_and_no_browser_runs_it(self) -> None:
        page = b"<script>alert(1)</script>"
        for name, content, claimed, told in (
            ("a.html", page, "text/html", "text/plain; charset=utf-8"),
            ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "text/plain; charset=utf-8"),
            ("a.png", b"\x89PNG\r\n\x1a\n" + page, "text/html", "image/png"),
            ("a.bin", b"\x00" + page, "text/html", "application/octet-stream"),
        ):
            file = self.openai.files.create(file=(name, content, claimed), purpose="vision")
            response = self.alice.http.get(f"/v1/files/{file.id}/content")
            self.assertEqual(response.headers["content-type"], told)
            self.assertEqual(response.headers["x-content-type-options"], "nosniff")
            self.assertEqual(response.headers["content-security-policy"], "sandbox; default-src 'none'")
            self.assertEqual(response.headers["content-disposition"], f'attachment; filename="{name}"')

    def test_a_name_cannot_leave_its_header_or_its_folder(self) -> None:
        for name in (
            "../../../etc/passwd",
            'a"; filename="b.html',
            "a\r\nSet-Cookie: evil=1",
            "größe 🐺.txt",
            "x" * 700,
        ):
            with self.subTest(name):
                file = self.upload(b"x", name)
                self.assertLessEqual(len(file.filename), 255)
                response = self.alice.http.get(f"/v1/files/{file.id}/content")
                self.assertEqual((response.status_code, response.content), (200, b"x"))
                self.assertNotIn("set-cookie", response.headers)
                self.assertTrue(response.headers["content-disposition"].startswith("attachment; "))
        self.assertEqual(len(self.on_disk()), 1)


@tried_once
class RangeTest(FilesCase):
    def test_every_kind_of_range(self) -> None:
        content = bytes(range(256)) * 4
        file = self.upload(content, "a.bin")
        size = len(content)
        etag = self.alice.http.get(f"/v1/files/{file.id}/content").headers["etag"]
        for asked, part, extra in (
            ("bytes=0-0", (0, 1), {}),
            ("bytes=10-19", (10, 20), {}),
            ("bytes=1000-", (1000, size), {}),
            ("bytes=1000-9999999", (1000, size), {}),
            ("bytes=-24", (size - 24, size), {}),
            ("bytes=-9999", (0, size), {}),
            ("bytes=5-9", (5, 10), {"If-Range": etag}),
            ("bytes=5-9", None, {"If-Range": '"another"'}),
            ("bytes=9-5", None, {}),
            ("bytes=-", None, {}),
            ("bytes=0-1,5-6", None, {}),
            ("bytes=x-y", None, {}),
            ("lines=1-2", None, {}),
            ("bytes=" + "9" * 400 + "-", None, {}),
        ):
            with self.subTest(asked, **extra):
                response = self.alice.http.get(f"/v1/files/{file.id}/content", headers={"Range": asked, **extra})
                start, stop = part or (0, size)
                self.assertEqual(response.content, content[start:stop])
                self.assertEqual(response.headers["content-length"], str(stop - start))
                self.assertEqual(response.status_code, 206 if part else 200)
                told = response.headers.get("content-range")
                self.assertEqual(told, f"bytes {start}-{stop - 1}/{size}" if part else None)
        for asked in (f"bytes={size}-", f"bytes={size}-{size + 9}", "bytes=-0"):
            response = self.alice.http.get(f"/v1/files/{file.id}/content", headers={"Range": asked})
            self.assertEqual((response.status_code, response.headers["content-range"]), (416, f"bytes */{size}"))
            self.assertEqual(response.json()["error"]["code"], "range_not_satisfiable")


@tried_once
class LargeFileTest(FilesCase):
    """Large files go through the disk and through no memory."""

    def test_a_large_file_takes_no_memory_on_its_way_in_and_out(self) -> None:
        assert self.service.process is not None
        self.upload(os.urandom(2 * MEBIBYTE))
        content = os.urandom(80 * MEBIBYTE)
        before = resident_bytes(tree(self.service.process.pid))
        peak = before
        file = self.upload(content, "large.bin")
        peak = max(peak, resident_bytes(tree(self.service.process.pid)))
        with self.alice.http.stream("GET", f"/v1/files/{file.id}/content") as response:
            at = 0
            for piece in response.iter_bytes(MEBIBYTE):
                self.assertEqual(piece, content[at : at + len(piece)])
                at += len(piece)
                if at == 40 * MEBIBYTE:
                    peak = max(peak, resident_bytes(tree(self.service.process.pid)))
        self.assertEqual(at, len(content))
        self.assertLess(peak - before, 24 * MEBIBYTE)
        self.assertEqual(self.drafts(), set())

    def test_a_file_without_a_length_arrives_in_chunks(self) -> None:
        text = os.urandom(3 * MEBIBYTE)
        mark, part = os.urandom(16).hex(), "Content-Disposition: form-data; name="
        head = f'--{mark}\r\n{part}"purpose"\r\n\r\nbatch\r\n--{mark}\r\n{part}"file"; filename="a.bin"\r\n\r\n'
        middle = (text[at : at + 50_000] for at in range(0, len(text), 50_000))
        response = self.alice.http.post(
            "/v1/files",
            content=iter((head.encode(), *middle, f"\r\n--{mark}--\r\n".encode())),
            headers={"Content-Type": f"multipart/form-data; boundary={mark}"},
        )
        self.assertEqual((response.status_code, response.json().get("bytes")), (200, len(text)), response.text)
        self.assertEqual(self.openai.files.content(response.json()["id"]).content, text)

    def test_an_upload_that_is_cut_off_leaves_nothing(self) -> None:
        def broken() -> Any:
            yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
            for _ in range(60):
                yield os.urandom(50_000)
            raise ConnectionAbortedError

        with self.assertRaises(ConnectionAbortedError):
            self.alice.http.post(
                "/v1/files",
                content=broken(),
                headers={"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "9000000"},
            )
        self.assertEqual(self.alice.http.get("/v1/files").json()["data"], [])
        wait_until(lambda: not self.drafts(), what="no drafts")
        self.assertEqual(self.on_disk(), [])
        self.assertFalse(ContentChange.objects.filter(owner_id=self.alice.user.pk).exists())

    def test_limits_are_named(self) -> None:
        limits = {"LIMIT_FILE_BYTES": "3000000", "LIMIT_FILES_PER_USER_BYTES": "5000000"}
        with running_service(**limits) as service:
            client = self.client_of(service.url)
            # The last one is refused while it arrives: it is larger than anything a form needs around a file.
            for size in (3_000_001, 3_900_000, 9_000_000):
                with self.subTest(size), self.assertRaises(openai.APIStatusError) as caught:
                    client.files.create(file=io.BytesIO(b"x" * size), purpose="batch")
                self.assertEqual(caught.exception.status_code, 413)
                self.assertIn("3000000 bytes (LIMIT_FILE_BYTES)", caught.exception.message)
            client.files.create(file=("a", b"a" * 3_000_000), purpose="batch")
            with self.assertRaises(openai.PermissionDeniedError) as full:
                client.files.create(file=("b", b"b" * 3_000_000), purpose="batch")
            self.assertEqual(full.exception.code, "storage_full")
            self.assertIn("LIMIT_FILES_PER_USER_BYTES", full.exception.message)
        self.assertEqual(len(self.on_disk()), 1)
        self.assertEqual(self.drafts(), set())

    def test_bodies_on_disk_are_bounded_in_total(self) -> None:
        with running_service(MAX_SPOOLED_BYTES="2000000", MAX_ARRIVING_BYTES="3000000") as service:
            client = self.client_of(service.url)
            with self.assertRaises(openai.InternalServerError) as caught:
                client.files.create(file=("a", b"a" * 9_000_000), purpose="batch")
            self.assertEqual(caught.exception.status_code, 503)
            self.assertEqual(client.files.create(file=("a", b"a" * 1_900_000), purpose="batch").bytes, 1_900_000)

    def test_no_other_route_takes_as_much(self) -> None:
        response = self.alice.http.post("/v1/chat/completions", content=b" " * 5_000_000)
        self.assertEqual(response.status_code, 413)
        self.assertIn("LIMIT_BODY_BYTES", response.text)
        response = self.alice.http.post("/v1/files/file-1", content=b" " * 5_000_000)
        self.assertIn(response.status_code, (405, 413))
