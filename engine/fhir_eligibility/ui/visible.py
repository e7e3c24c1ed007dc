"""Where text leaves for a terminal: characters that would steer it are shown instead.

Titles, descriptions, expressions, names, and what servers say are written by strangers. A control character in them could set the title of the
window, clear it, or write over what stands there; one of direction makes text look like another. `visible_output` puts a stream before
standard output and error that shows each as `\\u001b`: a form that JSON and CQL read as the same character. What steers the terminal on
purpose, such as a line of progress, is written to `plain(stream)`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from typing import TextIO, cast

_KEPT = frozenset("\n\t")
_HIDDEN = (
    *range(0x20),  # C0: escape, return, bell, backspace
    *range(0x7F, 0xA0),  # delete and C1, among them one character that begins a sequence
    0x061C, 0x200E, 0x200F,  # marks of direction
    0x2028, 0x2029,  # ends of lines and paragraphs
    *range(0x202A, 0x202F),  # embeddings and overrides of direction
    *range(0x2066, 0x206A),  # isolates of direction
    0xFEFF,  # of no width
    *range(0xD800, 0xE000),  # halves of characters, which no encoding takes
)  # fmt: skip
_SHOWN = {code: f"\\u{code:04x}" for code in _HIDDEN if chr(code) not in _KEPT}


def visible(text: str) -> str:
    """A text in which each character that would steer a terminal is shown as `\\u` and four digits."""
    return text if text.isascii() and text.isprintable() else text.translate(_SHOWN)


class VisibleStream(TextIOBase):
    """A text stream that shows what would steer the terminal behind it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(visible(text))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.stream.errors


def plain(stream: TextIO) -> TextIO:
    """The stream itself, for what this program writes to steer the terminal: no text of anyone else goes there."""
    return stream.stream if isinstance(stream, VisibleStream) else stream


@contextmanager
def visible_output() -> Iterator[None]:
    """Standard output and error that show what would steer a terminal."""
    out, error = cast(TextIO, VisibleStream(plain(sys.stdout))), cast(TextIO, VisibleStream(plain(sys.stderr)))
    with redirect_stdout(out), redirect_stderr(error):
        yield
