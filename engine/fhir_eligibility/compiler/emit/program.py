"""Emitted text becomes callable Python whose positions are the author's.

The text and its constants pickle: that is what travels to worker processes. Loading compiles it with every statement moved to the
line and column of the expression that it came from, so that a traceback or a profile shows the author's text.
"""

from __future__ import annotations

import ast
import re
import types
from collections.abc import Container, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError, Source, Span
from fhir_eligibility.algebra.operators.registry import OverloadReference
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.emit.guard import ForeignCode, Place, place_and_check, run
from fhir_eligibility.compiler.runtime.runtime import NAMES
from fhir_eligibility.compiler.syntax.nesting import flattened


class Program(Struct):
    """One module of emitted functions. `spans[i]` is the author's span of line `i` (zero-based).

    `codes` are pairs of a placeholder and the code that stands in the text in its place, where programs that differ in their codes alone share
    what Python makes of them; None where they do not.
    """

    source: Source
    text: str
    spans: tuple[Span | None, ...]
    constants: dict[str, Any]
    model: str
    sites: list[dict[str, Any]] = field(default_factory=list)
    codes: tuple[tuple[str, str], ...] | None = None

    def load(self) -> dict[str, Any]:
        """Compile the text and run it in a namespace of its own; returns that namespace. Raises DiagnosticError as `positioned`."""
        constants = {
            name: value.resolve() if value.__class__ is OverloadReference else value
            for name, value in self.constants.items()
        }
        namespace = {**NAMES, **constants, "M": load_model(self.model)}
        if self.codes is None:
            code = positioned(self.text, self.spans, self.source, self.filename, namespace)
        else:
            code = self._shared(namespace)
        run_module(code, namespace, self.source)
        return namespace

    def _shared(self, known: Container[str]) -> types.CodeType:
        """As `positioned`, from the code of a program that is the same but for its codes, where there was one."""
        pairs = self.codes or ()
        placeholders = {code: placeholder for placeholder, code in pairs}
        key = with_quoted(self.text, placeholders), with_quoted(self.source.text, placeholders), self.spans, self.model
        found = _SHARED.get(key)
        if found is None:
            found = positioned(key[0], self.spans, Source("shared", key[1]), "<shared>", known)
            if len(_SHARED) >= _KEPT:
                del _SHARED[next(iter(_SHARED))]
            _SHARED[key] = found
        return _with_constants(found, dict(pairs), self.filename)

    @property
    def filename(self) -> str:
        """The file name that tracebacks show."""
        return file_name(f"<{self.source.name}>")

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


_KEPT = 32
_SHARED: dict[tuple[str, str, tuple[Span | None, ...], str], types.CodeType] = {}


def _with_constants(code: types.CodeType, values: dict[str, str], filename: str) -> types.CodeType:
    """Code with other texts among its constants, and of another file."""

    def constant(value: Any) -> Any:
        kind = value.__class__
        if kind is str:
            return values.get(value, value)
        if kind is types.CodeType:
            return _with_constants(value, values, filename)
        return kind(map(constant, value)) if kind in (tuple, frozenset) else value

    return code.replace(co_consts=tuple(map(constant, code.co_consts)), co_filename=filename)


def with_quoted(text: str, values: dict[str, str]) -> str:
    """A text with other values between single quotation marks; all at once, so that none is replaced twice."""
    return _quoted(tuple(values)).sub(lambda found: f"'{values[found[1]]}'", text) if values else text


@lru_cache(maxsize=64)
def _quoted(values: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("'(" + "|".join(map(re.escape, values)) + ")'")


def file_name(name: str) -> str:
    """The name of a text as a file name that tracebacks show: what no file name can hold is written out."""
    return name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def positioned(
    text: str, spans: Sequence[Span | None], source: Source, filename: str, known: Container[str]
) -> types.CodeType:
    """Python code of a text whose statements stand at the lines and columns of the author's: `spans[i]` is that of line `i`.

    `known` are the names that the module is given. Raises DiagnosticError `too-deep` for what is nested more deeply than Python allows, and
    `foreign-code` for what no emitter writes.
    """
    places: list[Place] = []
    found: dict[Span, Place] = {}
    for span in spans:
        if span is None:
            places.append((1, 0, 1, 0))
            continue
        place = found.get(span)
        if place is None:
            line, column = source.line_column(span.start)
            end_line, end_column = source.line_column(span.end)
            place = found[span] = (line, column - 1, end_line, end_column - 1)
        places.append(place)
    try:
        tree = ast.parse(text)
        place_and_check(tree, places, known)
        try:
            return compile(tree, filename, "exec")
        except SyntaxError:
            return compile(flattened(tree), filename, "exec")
    except ForeignCode as error:
        raise foreign_code(error, source) from None
    except (SyntaxError, RecursionError, MemoryError) as error:
        message = f"this is nested more deeply than Python can run ({error.__class__.__name__}: {error})"
        hint = "give parts of it names of their own"
        raise DiagnosticError([Diagnostic("too-deep", message, source=source, hint=hint)]) from None


def run_module(code: types.CodeType, namespace: dict[str, Any], source: Source) -> None:
    """Run the code of a module in its namespace. Raises DiagnosticError `foreign-code` for what no emitter writes."""
    try:
        run(code, namespace)
    except ForeignCode as error:
        raise foreign_code(error, source) from None


def foreign_code(error: ForeignCode, source: Source) -> DiagnosticError:
    """That a module is not run. No text should bring this about: it is a fault of the compiler, or of the file that holds the module."""
    message = f"the code made of this text has {error}, which the compiler never writes; it is not run"
    hint = "this is a fault of the program, not of the text: please report it with the text"
    return DiagnosticError([Diagnostic("foreign-code", message, source=source, hint=hint)])


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
