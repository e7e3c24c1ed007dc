"""Emitted text becomes callable Python whose positions are the author's.

The text and its constants pickle: that is what travels to worker processes. Loading compiles it with every statement moved to the
line and column of the expression that it came from, so that a traceback or a profile shows the author's text.
"""

from __future__ import annotations

import ast
import types
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
        tree = ast.parse(self.text)
        places: list[tuple[int, int, int, int] | None] = []
        for span in self.spans:
            if span is None:
                places.append(None)
            else:
                places.append((*self.source.line_column(span.start), *self.source.line_column(span.end)))
        for node in ast.walk(tree):
            number = getattr(node, "lineno", None)
            if number is None:
                continue
            place = places[number - 1]
            line, column, end_line, end_column = place if place is not None else (1, 1, 1, 1)
            node.lineno, node.col_offset = line, column - 1  # type: ignore[attr-defined]
            node.end_lineno, node.end_col_offset = end_line, end_column - 1  # type: ignore[attr-defined]
        constants = {
            name: value.resolve() if value.__class__ is OverloadReference else value
            for name, value in self.constants.items()
        }
        namespace = {**NAMES, **constants, "M": load_model(self.model)}
        exec(compile(tree, self.filename, "exec"), namespace)
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
            code = traceback.tb_frame.f_code
            if code.co_filename == self.filename:
                positions = list(code.co_positions())
                place = positions[traceback.tb_lasti // 2]
                if None not in place:
                    found = place
            traceback = traceback.tb_next
        if found is None:
            return None
        line, end_line, column, end_column = found
        assert line is not None and end_line is not None and column is not None and end_column is not None
        return Span(self._offset(line, column), self._offset(end_line, end_column))

    def _offset(self, line: int, column: int) -> int:
        lines = self.source.text.split("\n")
        return sum(len(text) + 1 for text in lines[: line - 1]) + column
