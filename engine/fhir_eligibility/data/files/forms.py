"""How resources stand in a text: one a line (NDJSON), one document, or values one behind the other, however they are laid out.

What a file holds decides, and its name only where both would be right. Pretty-printed resources one behind the other, JSON text sequences (RFC 7464), and
resources with commas between them are values; so is what a program writes who never heard of line feeds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import BinaryIO

from fhir_eligibility.data.files.json_text import BAD_JSON, end_of_value
from fhir_eligibility.data.files.kinds import BOM
from fhir_eligibility.data.files.opening import MOST_DOCUMENT, without_packing

LINES_NAMES = (".ndjson", ".jsonl")
"""What names of files end in that should hold one resource a line."""
_BLANK = re.compile(rb"(?:[\s\x1e]|\xef\xbb\xbf)*")
_BETWEEN = re.compile(rb"(?:[\s,\x1e]|\xef\xbb\xbf)*")
_AGAIN = re.compile(rb"\x1e|\n(?=[{\x1e])")
RESOURCE_LINE = re.compile(rb'^\{\s*"resourceType"\s*:[^\n]*\}[\s,]*$', re.MULTILINE)
"""A line that looks like a whole resource."""
_OPENING = (b"{", b"[")
_READ = 1 << 20
_NEAR_THE_END = 8
"""A number or a word that is cut off is told as malformed, so many bytes before the end at most."""
_LOOKED_AT = 50


class TextForm(Enum):
    """How resources stand in a text."""

    LINES = "one a line"
    DOCUMENT = "one document"
    VALUES = "one behind the other"


def named_lines(path: str) -> bool:
    """Whether a file should hold one resource a line, by its name."""
    return without_packing(path.lower()).endswith(LINES_NAMES)


def form_of(head: bytes, whole: bool, by_lines: bool) -> TextForm:
    """The form of a text that begins so, which is all of it where `whole`; `by_lines` tells that its name says one resource a line.

    A line that is damaged does not make a text anything else than lines.
    """
    start = _match_end(_BLANK, head, 0)
    if head.find(b"\x1e", 0, start + 1) >= 0:
        return TextForm.VALUES
    end = head.find(b"\n", start)
    alone = whole and (end < 0 or _match_end(_BLANK, head, end) == len(head))
    if not by_lines and (alone or end < 0 or not head[max(start, end - 9) : end].rstrip(b" \t\r,").endswith(b"}")):
        return TextForm.DOCUMENT
    if end < 0 and not whole:
        return TextForm.LINES
    first = head[start : end if end >= 0 else None].rstrip()
    try:
        stop = end_of_value(first) if first[:1] in _OPENING else 0
    except BAD_JSON:
        return _over_lines(head, start, whole) if by_lines else TextForm.DOCUMENT
    if not stop:
        return TextForm.LINES if _resource_lines(head) else TextForm.VALUES
    if _match_end(_BETWEEN, first, stop) < len(first):
        return TextForm.VALUES
    return TextForm.LINES


def form_of_damaged(text: bytes, error: Exception) -> TextForm:
    """The form of a text that was taken for one document, and is none because of an error."""
    if "trailing" in str(error):
        return TextForm.VALUES
    return TextForm.LINES if _resource_lines(text[:_READ]) else TextForm.DOCUMENT


def _over_lines(head: bytes, start: int, whole: bool) -> TextForm:
    """The form of a text that should be lines, and whose first line is no whole value: that goes on over further lines, or the line is damaged."""
    try:
        stop = end_of_value(head, start)
    except BAD_JSON:
        return TextForm.LINES if _resource_lines(head) else TextForm.VALUES
    return TextForm.DOCUMENT if whole and _match_end(_BETWEEN, head, stop) == len(head) else TextForm.VALUES


def _resource_lines(head: bytes) -> bool:
    """Whether some line is a whole resource, which begins in its first column."""
    for count, match in enumerate(RESOURCE_LINE.finditer(head)):
        if count == _LOOKED_AT:
            break
        line = match[0]
        try:
            if _match_end(_BETWEEN, line, end_of_value(line)) == len(line):
                return True
        except BAD_JSON:
            continue
    return False


def is_cut(error: Exception, text: bytes, start: int) -> bool:
    """Whether a value that begins at `start` of a text is no value because the text ends too early."""
    words = str(error)
    at = re.search(r"\(byte (\d+)\)", words)
    return "truncated" in words or at is not None and start + int(at[1]) >= len(text) - _NEAR_THE_END


def _match_end(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match is not None else at


def line_text(line: bytes) -> bytes:
    """A line without what may stand around a resource there: blanks, a byte order mark (of a file that was appended), a record separator, a comma behind it."""
    text = line.strip()
    if text.startswith((BOM, b"\x1e", b",")):
        text = text[_match_end(_BETWEEN, text, 0) :]
    return text[:-1].rstrip() if text.endswith(b",") else text


def has_comma(line: bytes) -> bool:
    """Whether a comma stands before or behind what is in a line."""
    text = line.strip()
    return text.endswith(b",") or text.startswith(b",")


class Values:
    """The values of a text, one behind the other: iterating gives where each begins, in bytes and as the number of a line, and its text.

    The text of one that is damaged goes on to where another may begin. Of one that is longer than `most` bytes the text is None.
    """

    def __init__(self, head: bytes, stream: BinaryIO | None = None, offset: int = 0, most: int | None = None) -> None:
        """`head` stands at an offset of the file, and `stream` behind it."""
        self._text = head
        self._base = offset
        self._stream = stream
        self._most = MOST_DOCUMENT if most is None else most
        self._line, self._counted = 1, 0
        self.commas = False
        """Whether commas stood between values."""

    def __iter__(self) -> Iterator[tuple[int, int, bytes | None]]:
        at = 0
        while True:
            start = _match_end(_BETWEEN, self._text, at)
            self.commas = self.commas or self._text.find(b",", at, start) >= 0
            if start == len(self._text):
                if not self._more(start):
                    return
                at = 0
                continue
            place = self._base + start, self._line_at(start)
            text = self._text
            try:
                at = end_of_value(text, start)
            except BAD_JSON as error:
                if self._stream is not None and is_cut(error, text, start):
                    if len(text) - start <= self._most:
                        self._more(start)
                        at = 0
                        continue
                    yield *place, None
                    at = self._skip(start)
                    continue
                start = self._again(start)
                match = _AGAIN.search(self._text, start + 1)
                at = match.start() if match is not None else len(self._text)
            yield *place, self._text[start:at].rstrip()

    def _line_at(self, at: int) -> int:
        """The number of the line of a place in the text that is held; places come in order."""
        self._line += self._text.count(b"\n", self._counted, at)
        self._counted = at
        return self._line

    def _more(self, start: int) -> bool:
        """Read more; what stands before `start` is dropped. False at the end."""
        self._line_at(start)
        rest = self._text[start:]
        more = self._stream.read(max(_READ, len(rest))) if self._stream is not None else b""
        if not more:
            self._stream = None
        self._text = rest + (more or b"")
        self._base += start
        self._counted = 0
        return bool(more)

    def _again(self, start: int) -> int:
        """Read on until another value may begin behind the damaged one at `start`, or the text ends; gives where it stands now."""
        while (
            self._stream is not None
            and _AGAIN.search(self._text, start + 1) is None
            and len(self._text) - start <= self._most
        ):
            self._more(start)
            start = 0
        return start

    def _skip(self, start: int) -> int:
        """Drop a value that is too long; gives where another may begin."""
        start += 1
        while (match := _AGAIN.search(self._text, start)) is None:
            if not self._more(max(start, len(self._text) - 1)):
                return len(self._text)
            start = 0
        return match.start()
