"""Expressions in CQL one after the other: what `eligibility cql` evaluates, with a library, a patient, and definitions that stay."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError, Source
from engine.artifacts.libraries import LibraryStore
from engine.artifacts.models import load_model
from engine.artifacts.parameters import read_parameters
from engine.artifacts.records import ParameterValue
from engine.compiler.cql.cache import caching_compiler
from engine.compiler.cql.compiled import Compiled, Compiler, Loaded, check_parameters
from engine.compiler.cql.criterion import defaults_of, moved
from engine.compiler.cql.library import Options
from engine.compiler.cql.parameters import bind_parameters, check_names, unknown_names
from engine.compiler.cql.printing import text_of
from engine.compiler.cql.runtime import Run
from engine.compiler.cql.types import Type
from engine.compiler.cql.value_sets import required_value_sets
from engine.compiler.membership import NO_CODES, Codes
from engine.data.compartment import Compartment
from engine.data.reader import read_patients
from engine.data.terminology import Terminology
from engine.data.terminology_check import check_value_sets
from engine.evaluation.cql_patient import CompartmentPatient
from engine.evaluation.time_limit import SECONDS, limited
from engine.runners.screening import evaluation_time

EXPRESSION = "the expression"
# Told of what an expression reaches, too, in whatever library that stands.
_TOLD = ("valueset-version", "incomplete-valueset", "terminology-server")


@dataclass(slots=True)
class Answer:
    """The value of an expression and its type; `warnings` were found while compiling it."""

    value: Any
    type: Type
    warnings: tuple[Diagnostic, ...]
    compiled: Compiled


@dataclass(slots=True)
class Subject:
    """The patient that expressions are about."""

    compartment: Compartment
    version: str


@dataclass(slots=True)
class Session:
    """Holds what expressions may refer to. `definitions` are texts by name, in the order they were given."""

    store: LibraryStore = field(default_factory=LibraryStore)
    library: Source | None = None
    subject: Subject | None = None
    now: dt.datetime | None = None
    timezone: str = "UTC"
    options: Options = field(default_factory=Options)
    parameters: dict[tuple[str, str], Any] = field(default_factory=dict)
    given: tuple[ParameterValue, ...] = ()
    messages: list[str] = field(default_factory=list)
    definitions: dict[str, str] = field(default_factory=dict)
    value_sets: Codes = field(default_factory=lambda: NO_CODES)
    seconds: float = SECONDS

    def head(self) -> str:
        """What stands before an expression: the library, or what gives it a patient, and the definitions."""
        if self.library is not None:
            text = self.library.text.rstrip() + "\n"
            text += "\ncontext Patient\n" if "using " in text else "\n"
        elif self.subject is not None:
            version = load_model(self.subject.version).fhir_version
            text = f"using FHIR version '{version}'\ninclude FHIRHelpers version '{version}'\ncontext Patient\n"
        else:
            text = ""
        return text + "".join(f"{definition}\n" for definition in self.definitions.values())

    def compiler(self) -> Compiler:
        return caching_compiler(self.store.find, self.options, self.store.models)

    def compile(self, text: str) -> Compiled:
        """An expression as the last define of a library. Raises DiagnosticError whose spans are those of the text."""
        head = self.head() + f'define "{EXPRESSION}":\n'
        source, whole = Source("expression", text), Source("expression", head + text)
        try:
            return self.compiler().compile_once(whole)
        except DiagnosticError as error:
            raise DiagnosticError([moved(d, whole, source, len(head)) for d in error.diagnostics]) from None

    def evaluate(self, text: str) -> Answer:
        """The value of an expression. Raises DiagnosticError and EvaluationError."""
        compiled = self.compile(text)
        definition = compiled.defines[EXPRESSION]
        head = len(compiled.source.text) - len(text)
        source = Source("expression", text)
        found = [*compiled.diagnostics, *self.about_value_sets(compiled, [EXPRESSION])]
        warnings = tuple(moved(d, compiled.source, source, head) for d in found)
        try:
            loaded, environment = Loaded(compiled), self.environment(compiled)
            value = limited(self.seconds, "the expression", loaded.evaluate, EXPRESSION, environment)
        except EvaluationError as error:
            if error.source is compiled.source and error.span is not None and error.span.start >= head:
                error.source, error.define = source, None
                error.span = type(error.span)(error.span.start - head, error.span.end - head)
            raise
        return Answer(
            value, definition.type, tuple(w for w in warnings if w.source is source or w.code in _TOLD), compiled
        )

    def about_value_sets(self, compiled: Compiled, defines: Iterable[str]) -> list[Diagnostic]:
        """Findings about the value sets that some defines ask for; that one is missing is told where it is used."""
        if not isinstance(self.value_sets, Terminology):
            return []
        found = check_value_sets(required_value_sets(compiled, defines), self.value_sets, True)
        return [d for d in found if d.code != "missing-valueset"]

    def define(self, text: str) -> str:
        """Keep a definition (`define ...`), in place of an earlier one of the same name; returns the name. Raises DiagnosticError."""
        before = dict(self.definitions)
        compiled = self.compiler().compile_once(Source("definition", f"{text}\n"))
        names = [*compiled.defines, *compiled.symbols.functions]
        name = names[0] if names else text
        self.definitions[name] = text
        try:
            self.compile("null")
        except DiagnosticError:
            self.definitions = before
            raise
        return name

    def message(self, severity: str, code: Any, text: Any, source: Any) -> None:
        """Take a message that an expression gives (CQL: Message); those of the severity Error end the evaluation instead."""
        shown = f"{severity.lower()}: {code}: {text}" if code else f"{severity.lower()}: {text}"
        self.messages.append(f"{shown} ({text_of(source)})")

    def environment(self, compiled: Compiled) -> Run:
        """A fresh environment for a library: the patient where there is one.

        Raises DiagnosticError for a parameter that no library has, and for a value of another type.
        """
        self.check_parameters(compiled)
        run = Run(self.now, self.timezone, self.parameters, self.message, value_sets=self.value_sets)
        problems: list[Diagnostic] = []
        version = self.subject.version if self.subject is not None else "r4"
        listed = (*self.given, *defaults_of(compiled, self.store))
        bound = bind_parameters(compiled, listed, version, "", problems)
        problems += unknown_names(self.given, bound.known, "", "error")
        if problems:
            raise DiagnosticError(problems)
        run = run.with_parameters(bound.values)
        return run if self.subject is None else CompartmentPatient(run, self.subject.compartment)

    def check_parameters(self, compiled: Compiled) -> None:
        """Raises DiagnosticError `unknown-parameter`, `parameter-type` for the values of `--parameter` that do not fit a library."""
        for check, code in ((check_names, "unknown-parameter"), (check_parameters, "parameter-type")):
            try:
                check(compiled, self.parameters)
            except ValueError as error:
                raise DiagnosticError([Diagnostic(code, f"--parameter: {error}")]) from None


def given_parameters(files: Iterable[str]) -> tuple[ParameterValue, ...]:
    """The values in files with Parameters resources, those of the first file first. Raises FileNotFoundError, ValueError."""
    return tuple(value for file in files for value in read_parameters(file))


def parameters_of(texts: Iterable[str], now: str | None, timezone: str) -> dict[tuple[str, str], Any]:
    """Parameters as `Name=value` with the value in CQL, or `Library.Name=value`. Raises ValueError."""
    found: dict[tuple[str, str], Any] = {}
    session = Session(now=evaluation_time(now, timezone), timezone=timezone)
    for text in texts:
        name, equals, expression = text.partition("=")
        if not equals or not name:
            raise ValueError(f"--parameter {text}: write Name=value, the value in CQL")
        library, _, short = name.rpartition(".") if '"' not in name else ("", "", name.strip('"'))
        try:
            found[library, short] = session.evaluate(expression).value
        except (DiagnosticError, EvaluationError) as error:
            raise ValueError(f"--parameter {text}: {error}") from None
    return found


def read_subject(paths: Iterable[str | Path], version: str, patient: str | None = None) -> Subject:
    """The one patient of some files, or the one of an id. Raises ValueError where there is none, or more than one."""
    problems: list[str] = []
    found = list(read_patients(paths, model=load_model(version), on_problem=lambda p: problems.append(str(p))))
    if patient is not None and found:
        named = [one for one in found if patient in (one.reference, one.id)]
        if len(named) != 1:
            held = ", ".join(one.reference for one in found[:12])
            raise ValueError(f"{len(named)} patients of the data are {patient}; it holds {held}")
        found = named
    if len(found) != 1:
        hint = (
            "give the data of one patient, or name one (--patient)"
            if found
            else "; ".join(problems[:3]) or "there is no Patient"
        )
        raise ValueError(f"the data holds {len(found)} patients: {hint}")
    return Subject(found[0], version)
