"""Tells the media type of a file from its first bytes, never from what the client says.

Only types that the service or a model does something with are told apart. Whatever else is text is `text/plain`, HTML
and SVG too: nothing may make a browser run what somebody uploaded. Libraries that guess among a thousand types guess
wrong on short texts.
"""

from __future__ import annotations

import codecs
import re

HEAD_BYTES = 8_192
UNKNOWN = "application/octet-stream"
TEXT = "text/plain"
# How files begin, and what that means.
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"\x1f\x8b\x08", "application/gzip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
)
# The sizes of a bitmap's header, which follow the two letters that alone would not be much.
BITMAP_HEADERS = tuple(size.to_bytes(4, "little") for size in (12, 40, 108, 124))
RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
# The brand of an ISO media file (ISO/IEC 14496-12).
BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"M4A ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
OFFICE = "application/vnd.openxmlformats-officedocument"
OFFICE_FOLDERS = {
    b"word/": f"{OFFICE}.wordprocessingml.document",
    b"xl/": f"{OFFICE}.spreadsheetml.sheet",
    b"ppt/": f"{OFFICE}.presentationml.presentation",
}
# What people call them, where that is not the second half of the name.
LABELS = {
    UNKNOWN: "File",
    TEXT: "Text",
    "application/x-ole-storage": "Office",
    "audio/mpeg": "MP3",
    "audio/mp4": "M4A",
    "video/x-msvideo": "AVI",
    OFFICE_FOLDERS[b"word/"]: "Word",
    OFFICE_FOLDERS[b"xl/"]: "Excel",
    OFFICE_FOLDERS[b"ppt/"]: "PowerPoint",
}
MEDIA_TYPE = re.compile(rb"application/[a-z0-9.+-]{1,80}")
ZIP_ENTRY, ZIP_NAME = b"PK\x03\x04", 30
MP3_FRAMES = (0xFB, 0xFA, 0xF3, 0xF2, 0xE3, 0xE2)
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b"))


def label_of(media_type: str) -> str:
    """Return a media type in a word that people know."""
    return LABELS.get(media_type) or media_type.partition("/")[2].upper()


def media_type_of(head: bytes) -> str:
    """Return the media type of a file that begins with `head`, which are its first HEAD_BYTES."""
    for signature, media_type in SIGNATURES:
        if head.startswith(signature):
            return media_type
    if head[:4] == b"RIFF":
        return RIFF.get(head[8:12], UNKNOWN)
    if head[:2] == b"BM" and head[14:18] in BITMAP_HEADERS:
        return "image/bmp"
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "video/mp4")
    if head.startswith(ZIP_ENTRY):
        return _kind_of_zip(head)
    if len(head) > 2 and head[0] == 0xFF and head[1] in MP3_FRAMES:
        return "audio/mpeg"
    return TEXT if _is_text(head) else UNKNOWN


def _kind_of_zip(head: bytes) -> str:
    """Tell office documents and books from other archives by the first names inside."""
    if head.startswith(b"mimetype", ZIP_NAME):  # OpenDocument and EPUB name themselves in the first entry
        name = head[ZIP_NAME + len(b"mimetype") :].partition(b"PK")[0]
        if MEDIA_TYPE.fullmatch(name):
            return name.decode()
    if head.startswith((b"[Content_Types].xml", b"_rels/", b"docProps/", *OFFICE_FOLDERS), ZIP_NAME):
        at = 0
        while (at := head.find(ZIP_ENTRY, at)) >= 0:
            for folder, media_type in OFFICE_FOLDERS.items():
                if head.startswith(folder, at + ZIP_NAME):
                    return media_type
            at += len(ZIP_ENTRY)
    return "application/zip"


def _is_text(head: bytes) -> bool:
    if head.startswith(MARKS):
        return True
    if any(control in head for control in CONTROLS):
        return False
    try:
        # The last character may be cut.
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return False
    return True
