"""The parts of messages that refer to files, and what stands for them in a request to an upstream. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

Wire = Mapping[str, Any]

_NESTED: Final = ("file", "image_url", "input_audio")
_FLAT: Final = ("input_file", "input_image")
_ADDRESSES: Final = ("url", "image_url", "file_url")
HTTP: Final = re.compile(r"https?://(?:[^\s/?#\\@]*@)?([^\s/?#\\@]+)", re.IGNORECASE)
_CONTENTS: Final = {
    "image_url": "url",
    "file": "file_data",
    "input_audio": "data",
    "input_image": "image_url",
    "input_file": "file_data",
}
_IMAGES: Final = ("image_url", "input_image")
_MEDIA_TYPE: Final = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)
AUDIO_FORMATS: Final = {
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mp4": "m4a",
}
_UNSPECIFIC: Final = ("text/plain", "application/octet-stream", "application/zip")


class Embedded(NamedTuple):
    """Content that a part has in itself, as a data URL or as base64: the text of `fields[name]`."""

    fields: Any
    name: str

    @property
    def text(self) -> str:
        found: str = self.fields[self.name]
        return found


class Reference(NamedTuple):
    """A file that a part refers to. `path` is where the part has the id; `name` is what the part calls the file."""

    path: str
    file_id: Any
    name: str


def _fields_of(part: Any) -> tuple[str, Wire]:
    """Return the kind of a picture, recording or document, and the fields that say which; none for any other part.

    Some servers take the address of a picture in place of an object with it.
    """
    kind: Any = part.get("type") if isinstance(part, Mapping) else None
    if kind in _FLAT or (kind == "image_url" and isinstance(part.get(kind), str)):
        return kind, part
    fields = part.get(kind) if kind in _NESTED else None
    return (kind, fields) if isinstance(fields, Mapping) else ("", {})


def reference_in(part: Any) -> Reference | None:
    """Return the reference that a part of a message is; None for any other part."""
    kind, fields = _fields_of(part)
    is_flat = fields is part
    if not (file_id := fields.get("file_id")) or (is_flat and kind not in _FLAT):
        return None
    name = fields.get("filename")
    path = "file_id" if is_flat else f"{kind}.file_id"
    return Reference(path, file_id, name if isinstance(name, str) else "")


def embedded_in(part: Any) -> Embedded | None:
    """Return where a part has its content in itself; None for any other part."""
    kind, fields = _fields_of(part)
    name = "image_url" if kind == "image_url" and fields is part else _CONTENTS.get(kind, "")
    text = fields.get(name)
    is_content = isinstance(text, str) and (kind not in _IMAGES or text.startswith("data:"))
    return Embedded(fields, name) if is_content else None


def as_reference(part: Wire, *, file_id: str, media_type: str) -> dict[str, Any]:
    """Return a part whose content is now a file. What the client called it is kept if `media_type` says little."""
    kind = part["type"]
    embedded = embedded_in(part)
    assert embedded is not None
    fields = {} if isinstance(part.get(kind), str) else embedded.fields
    fields = {name: value for name, value in fields.items() if name != embedded.name} | {"file_id": file_id}
    declared = embedded.text.removeprefix("data:").partition(";")[0].partition(",")[0]
    if media_type in _UNSPECIFIC and declared != media_type and _MEDIA_TYPE.fullmatch(declared):
        fields["media_type"] = declared
    return {**part, kind: fields} if kind in _NESTED else fields


def address_in(part: Any) -> tuple[str, str] | None:
    """Return the address of a part's content at another host, and the host; None for any other part."""
    _, fields = _fields_of(part)
    found = [fields.get(name) for name in _ADDRESSES]
    matches = (HTTP.match(each) for each in found if isinstance(each, str))
    return next(((match.string, match[1]) for match in matches if match), None)


def part_of(file_id: str, media_type: str) -> dict[str, Any]:
    """Return the part of a chat message that refers to a file: as a picture, a recording or a document."""
    kind = "image_url" if media_type.startswith("image/") else "input_audio" if media_type in AUDIO_FORMATS else "file"
    return {"type": kind, kind: {"file_id": file_id}}


def attached_parts(content: Any) -> list[Any]:
    """Return the pictures, recordings and documents in the content of a chat message."""
    parts = content if isinstance(content, list) else ()
    return [part for part in parts if isinstance(part, Mapping) and part.get("type") in (*_NESTED, *_FLAT)]


def content_with(text: str, parts: Sequence[Any]) -> str | list[Any]:
    """Return the content of a chat message that says `text`, if it is not blank, and has these parts after it."""
    if not parts:
        return text
    return [*([{"type": "text", "text": text}] if text.strip() else ()), *parts]


def extras_with(text: str, parts: Sequence[Any]) -> dict[str, Any] | None:
    """Return the extras (see `chat_wire.py`) of such a message; None if it has no parts."""
    return {"content": content_with(text, parts)} if parts else None


def with_content(part: Wire, *, base64: str, media_type: str, name: str) -> dict[str, Any]:
    """Return a part that was a reference with the content of the file: a picture, a recording or a document."""
    kind = part["type"]
    is_nested = kind in _NESTED
    fields = {key: value for key, value in (part[kind] if is_nested else part).items() if key != "file_id"}
    declared = fields.pop("media_type", None)
    media_type = declared if isinstance(declared, str) and _MEDIA_TYPE.fullmatch(declared) else media_type
    url = f"data:{media_type};base64,{base64}"
    if kind in _IMAGES:
        fields["url" if is_nested else "image_url"] = url
    elif kind == "input_audio" or media_type in AUDIO_FORMATS:
        sound = {"data": base64, "format": _format_of(fields, media_type)}
        return {"type": "input_audio", "input_audio": sound}
    else:
        fields = {key: value for key, value in fields.items() if key != "file_url"}
        fields |= {"filename": fields.get("filename") or name, "file_data": url}
    return {**part, kind: fields} if is_nested else fields


def _format_of(fields: Wire, media_type: str) -> str:
    return AUDIO_FORMATS.get(media_type) or str(fields.get("format") or media_type.partition("/")[2])


def with_text(part: Wire, text: str) -> dict[str, Any]:
    """Return the part of text that stands for a reference."""
    return {"type": "input_text" if part["type"] in _FLAT else "text", "text": text}
