"""Tags in the texts of Claude's answers -> documents, and a text without them. Pure.

Artifacts were written in this way before there was a tool for them.
"""

from __future__ import annotations

import re
from collections import Counter
from html import unescape

from conversations.importers import claude_files
from conversations.importers.documents import Documents, Version

_QUOTED = r"""\s*=\s*(?:"[^"]*"|'[^']*')"""
# A tag that is not closed goes on to the end of the text.
_TAG = re.compile(
    rf"<antArtifact(?P<about>(?:\s+[\w-]+{_QUOTED})+)\s*>(?P<body>.*?)(?:</antArtifact\s*>|\Z)"
    r"|<antThinking\s*>.*?(?:</antThinking\s*>|\Z)"
    r"|</ant(?:Artifact|Thinking)\s*>|<ant[AT]\w*(?:\s[^<>]*)?\Z",
    re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_CITE = re.compile(rf"<(?:antml:)?cite\s+index{_QUOTED}\s*>")
_END_OF_CITE = re.compile(r"</(?:antml:)?cite\s*>")


def run(documents: Documents, before: Version | None, words: str, left_out: Counter[str]) -> tuple[str, Version | None]:
    """Return what a text of an answer shows, and the newest version of a document after it."""
    shown: list[str] = []
    at = 0
    for found in _TAG.finditer(words):
        shown.append(_without_cites(words[at : found.start()]).strip())
        at = found.end()
        if found["about"]:
            about = {name.lower(): unescape(one or other) for name, one, other in _ATTRIBUTE.findall(found["about"])}
            given = {
                **about,
                "id": about.get("identifier") or about.get("title", ""),
                "content": found["body"].strip("\r\n"),
            }
            document, before = claude_files.run(documents, before, {"name": "artifacts", "input": given})
            shown.append(document)
        elif found[0].lower().startswith("<antthinking"):
            left_out["reasoning"] += 1
    rest = _without_cites(words[at:])
    return "\n\n".join(filter(None, [*shown, rest.strip()])) if shown else rest, before


def _without_cites(words: str) -> str:
    """Return a text without the tags around what a source supports; other `cite` elements are the text's own."""
    words, cites = _CITE.subn("", words)
    return _END_OF_CITE.sub("", words, count=cites) if cites else words
