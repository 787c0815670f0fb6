"""Real files for tests: PDFs with text, Word documents, and some that were made to do harm."""

from __future__ import annotations

import io
import zipfile
import zlib

import docx
from pypdf import PdfReader, PdfWriter


def pdf(*pages: str) -> bytes:
    """Return a PDF file with these pages, of one line each."""
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for at, text in enumerate(pages):
        shown = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode("latin-1")
        place = f"/Contents {5 + 2 * at} 0 R /Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {place} >>".encode())
        objects.append(b"<< /Length %d >>\nstream\n%b\nendstream" % (len(shown), shown))
    return _pdf_of(objects)


def encrypted_pdf(text: str, password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf(text))))
    writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def pdf_bomb(mebibytes: int) -> bytes:
    """Return a small PDF file with a page whose content is as long as that."""
    packed = zlib.compress(b"BT /F1 12 Tf (" + b"A" * (mebibytes << 20) + b") Tj ET", 9)
    return _pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 5 0 R >>",
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(packed), packed),
        ]
    )


def slow_pdf(text: str, *, repeats: int = 2_000_000) -> bytes:
    """Return a PDF file of two pages: one with this text, and one whose content takes long: a minute by default."""
    page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents {} 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
    packed = zlib.compress(b"BT /F1 12 Tf 72 720 Td " + b"(whale) Tj 1 0 0 1 1 1 Tm " * repeats + b" ET", 9)
    shown = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    return _pdf_of(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [4 0 R 6 0 R] /Count 2 >>",
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
            page.format(5).encode(),
            b"<< /Length %d >>\nstream\n%b\nendstream" % (len(shown), shown),
            page.format(7).encode(),
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(packed), packed),
        ]
    )


def word(*paragraphs: str, table: str = "") -> bytes:
    """Return a Word document with these paragraphs, and a table of one cell if there is text for it."""
    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    if table:
        document.add_table(1, 1).rows[0].cells[0].text = table
    written = io.BytesIO()
    document.save(written)
    return written.getvalue()


def word_bomb(mebibytes: int) -> bytes:
    """Return a small Word document whose text is as long as that."""
    real, bomb = zipfile.ZipFile(io.BytesIO(word("whale"))), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in real.namelist():
            content = real.read(name)
            if name == "word/document.xml":
                content = content.replace(b"whale", b"A" * (mebibytes << 20))
            archive.writestr(name, content)
    return bomb.getvalue()


def _pdf_of(objects: list[bytes]) -> bytes:
    written, offsets = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(written))
        written += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    end = b"xref\n0 %d\n0000000000 65535 f \n%btrailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return written + end % (size, table, size, len(written))
