"""Emitted text becomes callable Python whose positions are the author's.

The text and its constants pickle: that is what travels to worker processes. Loading compiles it with every statement moved to the
line and column of the expression that it came from, so that a traceback or a profile shows the author's text.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.algebra.diagnostic import EvaluationError, Source, Span
from engine.algebra.operators.registry import OverloadReference
from engine.artifacts.models import load_model
from engine.compiler.runtime import NAMES


@dataclass(slots=True)
class Program:
    """One module of emitted functions. `spans[i]` is the author's span of line `i` (zero-based)."""

    source: Source
    text: str
    spans: tuple[Span | None, ...]
    constants: dict[str, Any]
    model: str
    sites: list[dict[str, Any]] = field(default_factory=list)

    def load(self) -> dict[str, Any]:
        """Compile the text and run it in a namespace of its own; returns that namespace."""
        constants = {
            name: value.resolve() if value.__class__ is OverloadReference else value
            for name, value in self.constants.items()
        }
        namespace = {**NAMES, **constants, "M": load_model(self.model)}
        exec(positioned(self.text, self.spans, self.source, self.filename), namespace)
        return namespace

    @property
    def filename(self) -> str:
        """The file name that tracebacks show."""
        return f"<{self.source.name}>"

    def bind(self, error: BaseException) -> EvaluationError:
        """An error raised while emitted code ran, as an EvaluationError with the author's span."""
        span = self.span_of(error.__traceback__)
        if isinstance(error, EvaluationError):
            if error.span is None:
                error.span = span
            return error
        if isinstance(error, RecursionError):
            return EvaluationError("too-deep", "the data is nested too deeply for this expression", span)
        if isinstance(error, (AttributeError, TypeError, KeyError)):
            return EvaluationError(
                "malformed-data", f"the data does not have the shape its type demands: {error}", span
            )
        return EvaluationError("evaluation", f"{error.__class__.__name__}: {error}", span)

    def span_of(self, traceback: types.TracebackType | None) -> Span | None:
        """The author's span of the innermost emitted statement in a traceback."""
        found = None
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == self.filename:
                found = position_of(traceback) or found
            traceback = traceback.tb_next
        if found is None:
            return None
        return Span(offset_of(self.source, *found[:2]), offset_of(self.source, *found[2:]))


def positioned(text: str, spans: Sequence[Span | None], source: Source, filename: str) -> types.CodeType:
    """Python code of a text whose statements stand at the lines and columns of the author's: `spans[i]` is that of line `i`."""
    tree = ast.parse(text)
    places: list[tuple[int, int, int, int]] = []
    known: dict[Span, tuple[int, int, int, int]] = {}
    for span in spans:
        if span is None:
            places.append((1, 0, 1, 0))
            continue
        place = known.get(span)
        if place is None:
            line, column = source.line_column(span.start)
            end_line, end_column = source.line_column(span.end)
            place = known[span] = (line, column - 1, end_line, end_column - 1)
        places.append(place)
    for node in ast.walk(tree):
        number = getattr(node, "lineno", None)
        if number is not None:
            place = places[number - 1]
            node.lineno, node.col_offset, node.end_lineno, node.end_col_offset = place  # type: ignore[attr-defined]
    return compile(tree, filename, "exec")


def position_of(traceback: types.TracebackType) -> tuple[int, int, int, int] | None:
    """Line and column (one- and zero-based) where a frame of a traceback stands, from its start to its end."""
    line, end_line, column, end_column = list(traceback.tb_frame.f_code.co_positions())[traceback.tb_lasti // 2]
    if line is None or end_line is None or column is None or end_column is None:
        return None
    return line, column, end_line, end_column


def offset_of(source: Source, line: int, column: int) -> int:
    """The character offset of a one-based line and a zero-based column."""
    lines = source.text.split("\n")
    return sum(len(text) + 1 for text in lines[: line - 1]) + column
