"""Reads the text of Word documents (.docx): paragraphs, tables and text boxes in their order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import docx
from docx.oxml.ns import qn

PARAGRAPH, BREAK, TAB, TEXT = (qn(name) for name in ("w:p", "w:br", "w:tab", "w:t"))
# Tables are not read through the library: a cell can claim to be a million columns wide.
MARKS = {PARAGRAPH: "\n", BREAK: "\n", TAB: "\t"}


def pieces(source: IO[bytes]) -> Iterator[str]:
    """Yield the text of the document's body; raises errors of the libraries for a broken file."""
    for element in docx.Document(source).element.body.iter(PARAGRAPH, BREAK, TAB, TEXT):
        yield MARKS.get(element.tag) or element.text or ""
