"""Where text leaves for a terminal: characters that would steer it are shown instead.

Titles, descriptions, expressions, names, and what servers say are written by strangers. A control character in them could set the title of the
window, clear it, or write over what stands there; one of direction makes text look like another. `visible_output` puts a stream before
standard output and error that shows each (`algebra/visible_text.py`). What steers the terminal on
purpose, such as a line of progress, is written to `plain(stream)`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import TextIOBase
from typing import TextIO, cast

from fhir_eligibility.algebra.visible_text import visible

__all__ = ["VisibleStream", "plain", "visible", "visible_output"]


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
