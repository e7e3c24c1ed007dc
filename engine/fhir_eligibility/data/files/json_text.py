"""From bytes to JSON values, in one place: what counts as whole, well-formed text (RFC 8259), and how numbers are read.

A text that is passed over unparsed could hide what is asked for, if it is damaged: it may only be passed over after it was proved to be whole.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import msgspec
import stringzilla as sz

BAD_JSON: tuple[type[Exception], ...] = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading raises where a text is not JSON, or not in UTF-8."""
LARGEST_EXPONENT, MOST_DIGITS = 1000, 400
"""What a decimal may be; FHIR's own rule of thumb is 18 significant digits, CQL's limit 28 digits before and 8 behind the point."""
_SHOWN = 40
_MOST_DECODED = 4300
_NUMBER = re.compile(r"-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?")

_MARKS = ((b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_WIDTHS = ((4, "UTF-32"), (2, "UTF-16"))
_lines = msgspec.json.Decoder(msgspec.Raw).decode_lines
_raw = msgspec.json.Decoder(msgspec.Raw).decode


def number(text: str) -> Decimal | str:
    """A JSON number with a point or an exponent; one that is out of all bounds stays a text, which no decimal is, so that it is an error where it is read."""
    if len(text) < _SHOWN and "e" not in text and "E" not in text:
        return Decimal(text)
    match = _NUMBER.fullmatch(text)
    exponent = (match[3] or "0").lstrip("+-").lstrip("0") if match is not None else ""
    if match is None or len(text) > MOST_DIGITS or len(exponent) > 4 or int(exponent or "0") > LARGEST_EXPONENT:
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return Decimal(text)


_BYTE = re.compile(r"\(byte (\d+)\)")
_decoder = msgspec.json.Decoder(float_hook=number)


def whole(text: bytes | memoryview) -> Any:
    """JSON, all of it, numbers as `number` reads them. Raises BAD_JSON."""
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError:  # an integer is longer than any that is decoded
        return _with_long_integers(bytes(text))


def _with_long_integers(text: bytes) -> Any:
    """The same of a text that holds integers of thousands of digits, which stay texts. Raises BAD_JSON."""
    _raw(text)  # what is written in another way than JSON has it is told as anywhere else
    try:
        return json.loads(text.decode(), parse_int=_integer, parse_float=number, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from None


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= _MOST_DECODED else f"{text[:_SHOWN]}..."


def _no_number(text: str) -> Any:
    raise ValueError(f"JSON has no number {text}")


def syntax_message(error: Exception, text: bytes | memoryview = b"") -> str:
    """What is wrong with a text that is not JSON, with the place in it: line and column, the column alone where it is one line."""
    if isinstance(error, UnicodeDecodeError):
        return f"not valid JSON: byte {error.start} is not UTF-8 (0x{error.object[error.start]:02X})"
    message = f"not valid JSON: {error or 'nested too deeply'}"
    match = _BYTE.search(message)
    if match is None or not text:
        return message
    before = bytes(text[: int(match[1])])
    column = len(before) - (before.rfind(b"\n") + 1) + 1
    line = f"line {before.count(10) + 1}, " if b"\n" in bytes(text).rstrip() else ""
    return message.replace(match[0], f"({line}column {column})")


def hint_for(error: Exception) -> str | None:
    """What to do about a text that is not JSON, where that is known."""
    if isinstance(error, UnicodeDecodeError) or "utf-8" in str(error):
        return "FHIR's JSON is UTF-8; where this was written in another encoding (such as Latin-1), convert the file"
    return None


def check_encoding(text: bytes) -> None:
    """Raises UnicodeDecodeError where a text is not UTF-8: decoders do not look into strings that nothing reads."""
    if not text.isascii():
        text.decode()


def wide_encoding(beginning: bytes) -> str | None:
    """UTF-16 or UTF-32 by how a file of JSON begins, with or without a byte order mark; None for anything else.

    Without a mark, several characters in a row must tell: one zero byte may be damage.
    """
    for mark, name in _MARKS:
        if beginning.startswith(mark):
            return name
    for width, name in _WIDTHS:
        start = beginning[: 4 * width]
        for at in (0, width - 1):
            letters = start[at::width]
            if len(start) == 4 * width and 0 not in letters and letters.isascii() and start.count(0) == 4 * (width - 1):
                return name if letters.lstrip()[:1] in (b"{", b"[", b"<") else None
    return None


def is_utf_8(text: bytes) -> bool:
    """Whether a text is UTF-8."""
    try:
        check_encoding(text)
    except UnicodeDecodeError:
        return False
    return True


def check_whole(text: bytes) -> None:
    """Nothing where a text is one JSON value and nothing else. Raises BAD_JSON."""
    _raw(text)


_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")


def end_of_value(text: bytes, start: int = 0) -> int:
    """Where the JSON value ends that begins at a place of a text (blanks behind it may count to it). Raises BAD_JSON where there is no whole value."""
    view = memoryview(text)[start:]
    try:
        _raw(view)
    except msgspec.DecodeError as error:
        at = _TRAILING.search(str(error))
        if at is None:
            raise
        # of what stands behind the value, the place is told, or the one behind it
        try:
            end = int(at[1]) - 1
            _raw(view[:end])
        except msgspec.DecodeError:
            end += 1
            _raw(view[:end])
        return start + end
    return len(text)


def lines_end_in_braces(text: bytes, lines: int) -> bool:
    """Whether each line of a text, which are so many and end with a line feed, ends in a brace."""
    found: int = sz.count(text, b"}\n")
    return found == lines or found + int(sz.count(text, b"}\r\n")) == lines


def lines_are_whole(text: bytes, lines: int) -> bool:
    """Whether each line of a text, all of which begin with a brace and end with a line feed, is one JSON object in UTF-8, and nothing else.

    Where a line ends in a brace and the next begins with one, no value can go on over both. So each line holds at least one value, and as many values as
    lines are one each.
    """
    if not lines_end_in_braces(text, lines):
        return False
    try:
        check_encoding(text)
        return len(_lines(text)) == lines
    except BAD_JSON:
        return False
