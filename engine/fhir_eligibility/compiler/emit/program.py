"""Emitted modules become callable Python whose positions are the author's.

Every statement stands at the line and column of the expression that it came from, so that a traceback or a profile shows the author's text.
A program pickles, with its code as Python marshals it: that is what travels to worker processes.
"""

from __future__ import annotations

import ast
import importlib.util
import marshal
import types
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError, Source, Span
from fhir_eligibility.algebra.operators.registry import OverloadReference
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.emit.guard import ForeignCode, run
from fhir_eligibility.compiler.emit.sites import Site
from fhir_eligibility.compiler.runtime.names import NAMES
from fhir_eligibility.compiler.syntax.depth import deep_recursion
from fhir_eligibility.compiler.syntax.nesting import flattened


class Program(Struct):
    """The code of one module of emitted functions, and the constants that it is given."""

    source: Source
    code: types.CodeType
    constants: dict[str, Any]
    model: str
    sites: list[Site] = field(default_factory=list)

    def load(self) -> dict[str, Any]:
        """Run the code in a namespace of its own; returns that namespace. Raises DiagnosticError `foreign-code`."""
        constants = {
            name: value.resolve() if value.__class__ is OverloadReference else value
            for name, value in self.constants.items()
        }
        namespace = {**NAMES, **constants, "M": load_model(self.model)}
        run_module(self.code, namespace, self.source)
        return namespace

    @property
    def filename(self) -> str:
        """The file name that tracebacks show."""
        return file_name(f"<{self.source.name}>")

    def with_constants(self, source: Source, values: dict[str, str], constants: dict[str, Any]) -> Program:
        """The program of a source that is the same but for some texts among its constants."""
        code = _with_constants(self.code, values, file_name(f"<{source.name}>"))
        return Program(source, code, constants, self.model, self.sites)

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
        filename = self.filename
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename == filename:
                found = position_of(traceback) or found
            traceback = traceback.tb_next
        if found is None:
            return None
        return Span(offset_of(self.source, *found[:2]), offset_of(self.source, *found[2:]))

    def __reduce__(self) -> tuple[Any, ...]:
        return _program, (self.source, marshalled(self.code), self.constants, self.model, self.sites)


def _program(source: Source, code: bytes, constants: dict[str, Any], model: str, sites: list[Site]) -> Program:
    return Program(source, unmarshalled(code), constants, model, sites)


def marshalled(code: types.CodeType) -> bytes:
    """Code as bytes, for this version of Python."""
    return importlib.util.MAGIC_NUMBER + marshal.dumps(code)


def unmarshalled(data: bytes) -> types.CodeType:
    """The code that was `marshalled`. Raises ValueError for bytes that another version of Python has written."""
    magic = importlib.util.MAGIC_NUMBER
    if data[: len(magic)] != magic:
        raise ValueError("this was compiled by another version of Python; compile the criteria again with this one")
    code: types.CodeType = marshal.loads(data[len(magic) :])
    return code


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


def file_name(name: str) -> str:
    """The name of a text as a file name that tracebacks show: what no file name can hold is written out."""
    return name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


def placed(source: Source, span: Span | None) -> dict[str, int]:
    """Where a node of a span stands, as Python says it."""
    if span is None:
        return {"lineno": 1, "col_offset": 0, "end_lineno": 1, "end_col_offset": 0}
    line, column = source.line_column(span.start)
    end_line, end_column = source.line_column(span.end)
    return {"lineno": line, "col_offset": column - 1, "end_lineno": end_line, "end_col_offset": end_column - 1}


def compile_module(module: ast.Module, source: Source, filename: str) -> types.CodeType:
    """The code of a module that was made of a source. Raises DiagnosticError `too-deep` for what is nested more deeply than Python allows."""
    try:
        with deep_recursion():
            try:
                return compile(module, filename, "exec")
            except SyntaxError:
                return compile(flattened(module), filename, "exec")
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise too_deep(error, source) from None


def too_deep(error: BaseException, source: Source) -> DiagnosticError:
    """That a text is nested more deeply than Python can run."""
    message = f"this is nested more deeply than Python can run ({error.__class__.__name__}: {error})"
    hint = "give parts of it names of their own"
    return DiagnosticError([Diagnostic("too-deep", message, source=source, hint=hint)])


def run_module(code: types.CodeType, namespace: dict[str, Any], source: Source) -> None:
    """Run the code of a module in its namespace. Raises DiagnosticError `foreign-code` for what no emitter writes."""
    try:
        run(code, namespace)
    except ForeignCode as error:
        message = f"the code made of this text has {error}, which the compiler never writes; it is not run"
        hint = "this is a fault of the program, not of the text: please report it with the text"
        raise DiagnosticError([Diagnostic("foreign-code", message, source=source, hint=hint)]) from None


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
