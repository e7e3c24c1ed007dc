"""Where a text came from, a place in it, and what is wrong there.

Every message that a person reads about a criterion is a `Diagnostic`: a stable code, a span in the author's text, a sentence,
and where possible a hint. This module knows nothing of the languages or of FHIR.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from msgspec import Struct

Severity = Literal["error", "warning", "information"]


class Span(Struct, frozen=True):
    """Half-open range of character offsets `[start, end)` in a `Source`."""

    start: int
    end: int

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of `other`."""
        return Span(self.start, other.end)


@lru_cache(maxsize=64)
def _line_starts(text: str) -> list[int]:
    return [0, *(position + 1 for position, character in enumerate(text) if character == "\n")]


@dataclass(frozen=True, slots=True)
class Source:
    """A text with a name (a file, or the element that carries the expression)."""

    name: str
    text: str = field(repr=False)

    def line_column(self, offset: int) -> tuple[int, int]:
        """One-based line and column of a character offset."""
        starts = _line_starts(self.text)
        line = bisect_right(starts, min(max(offset, 0), len(self.text)))
        return line, offset - starts[line - 1] + 1

    def line_text(self, line: int) -> str:
        """The text of a one-based line, without its line end."""
        lines = self.text.split("\n")
        return lines[line - 1].rstrip("\r") if 0 < line <= len(lines) else ""


class Diagnostic(Struct, frozen=True):
    """One finding about a text or an artifact.

    `code` is stable and documented; `location` says where the thing stands when there is no `span`
    (file, resource, element).
    """

    code: str
    message: str
    severity: Severity = "error"
    source: Source | None = None
    span: Span | None = None
    hint: str | None = None
    location: str | None = None

    def render(self) -> str:
        """The finding as lines for a terminal: place, message, the author's line with a caret below, hint."""
        place = self.location or ""
        if self.source is not None and self.span is not None:
            line, column = self.source.line_column(self.span.start)
            where = f"{self.source.name}:{line}:{column}"
            place = f"{place} ({where})" if place else where
        head = f"{self.severity}[{self.code}]: {self.message}"
        out = [f"{place}: {head}" if place else head]
        if self.source is not None and self.span is not None:
            line, column = self.source.line_column(self.span.start)
            text = self.source.line_text(line)
            width = max(1, min(self.span.end - self.span.start, len(text) - column + 1))
            number = str(line)
            lead = "".join("\t" if c == "\t" else " " for c in text[: column - 1])
            out.append(f"  {number} | {text}")
            out.append(f"  {' ' * len(number)} | {lead}{'^' * width}")
        if self.hint:
            out.append(f"  = hint: {self.hint}")
        return "\n".join(out)


class DiagnosticError(Exception):
    """Raised when a text cannot be compiled; carries every diagnostic found, errors first."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...] | list[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(d.render() for d in self.diagnostics))


class EvaluationError(Exception):
    """A run-time error of an expression: a stable code, a sentence, and the span of the node that raised it, if known.

    Where the expression is part of a library, `source` is its text and `define` the definition. `value` is the value of the data that it is about,
    where there is one.
    """

    def __init__(self, code: str, message: str, span: Span | None = None, value: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.span = span
        self.value = value
        self.source: Source | None = None
        self.define: str | None = None
