"""The parts of messages that refer to files, and what stands for them in a request to an upstream. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Wire = Mapping[str, Any]


_NESTED: Final = ("file", "image_url", "input_audio")
_FLAT: Final = ("input_file", "input_image")
_IMAGES: Final = ("image_url", "input_image")
AUDIO_FORMATS: Final = {
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mp4": "m4a",
}


class Reference(NamedTuple):
    """A file that a part refers to. `path` is where the part has the id; `name` is what the part calls the file."""

    path: str
    file_id: Any
    name: str


def reference_in(part: Any) -> Reference | None:
    """Return the reference that a part of a message is; None for any other part."""
    kind = part.get("type") if isinstance(part, Mapping) else None
    nested = kind in _NESTED
    fields = part.get(kind) if nested else part if kind in _FLAT else None
    if not isinstance(fields, Mapping) or not (file_id := fields.get("file_id")):
        return None
    name = fields.get("filename")
    return Reference(f"{kind}.file_id" if nested else "file_id", file_id, name if isinstance(name, str) else "")


def with_content(part: Wire, *, base64: str, media_type: str, name: str) -> dict[str, Any]:
    """Return a part that was a reference with the content of the file: a picture, a recording or a document."""
    kind = part["type"]
    is_nested = kind in _NESTED
    fields = {key: value for key, value in (part[kind] if is_nested else part).items() if key != "file_id"}
    url = f"data:{media_type};base64,{base64}"
    if kind in _IMAGES:
        fields["url" if is_nested else "image_url"] = url
    elif kind == "input_audio" or media_type in AUDIO_FORMATS:
        sound = {"data": base64, "format": AUDIO_FORMATS.get(media_type, media_type.partition("/")[2])}
        return {"type": "input_audio", "input_audio": sound}
    else:
        fields = {key: value for key, value in fields.items() if key != "file_url"}
        fields |= {"filename": fields.get("filename") or name, "file_data": url}
    return {**part, kind: fields} if is_nested else fields


def with_text(part: Wire, text: str) -> dict[str, Any]:
    """Return the part of text that stands for a reference."""
    return {"type": "input_text" if part["type"] in _FLAT else "text", "text": text}
