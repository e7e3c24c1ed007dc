"""Expressions in CQL one after the other: what `eligibility cql` evaluates, with a library, a patient, and definitions that stay."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError, Source
from fhir_eligibility.artifacts.libraries import LibraryStore
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.parameters import read_parameters
from fhir_eligibility.artifacts.records import ParameterValue
from fhir_eligibility.compiler.criteria.cache import caching_compiler
from fhir_eligibility.compiler.criteria.cql import defaults_of, moved
from fhir_eligibility.compiler.criteria.explained import explain_define
from fhir_eligibility.compiler.criteria.library import Compiled, Compiler, LoadedLibrary
from fhir_eligibility.compiler.criteria.parameters import bind_parameters, check_names, check_parameters, unknown_names
from fhir_eligibility.compiler.criteria.value_sets import required_value_sets
from fhir_eligibility.compiler.elm.types import Type
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.runtime.explaining import ExplainedPart
from fhir_eligibility.compiler.runtime.membership import NO_CODES, Codes
from fhir_eligibility.compiler.runtime.printing import text_of
from fhir_eligibility.compiler.runtime.retrieving import RetrieveSpec
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax.cql import parse_library
from fhir_eligibility.compiler.translate.cql_library import TranslationOptions
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.data.terminology.check import check_value_sets
from fhir_eligibility.data.terminology.value_sets import Terminology
from fhir_eligibility.evaluation.cql_patient import CompartmentPatient
from fhir_eligibility.evaluation.evaluator import Options as ScreeningOptions
from fhir_eligibility.evaluation.time_limit import SECONDS, limited
from fhir_eligibility.evaluation.undecided_defines import Undecided, UndecidedDefines
from fhir_eligibility.runners.screening.screening import evaluation_time

EXPRESSION = "the expression"
OF_LIBRARY = "OfLibrary"
# Told of what an expression reaches, too, in whatever library that stands.
_REPORTED = ("valueset-version", "incomplete-valueset", "terminology-server")


class SessionAnswer(Struct):
    """The value of an expression and its type; `warnings` were found while compiling it, `parts` are told where the session explains."""

    value: Any
    type: Type
    warnings: tuple[Diagnostic, ...]
    compiled: Compiled
    parts: list[ExplainedPart] = field(default_factory=list)


class Subject(Struct):
    """The patient that expressions are about, with what is wrong with the data."""

    compartment: Compartment
    version: str
    problems: tuple[Problem, ...] = ()


class NoPatient(Run):
    """Where no data is given."""

    def retrieve(self, spec: RetrieveSpec, codes: Any = None) -> list[Any]:
        """Raises EvaluationError `no-patient`, which says what to give."""
        message = f"[{spec.resource_type}] asks for the data of a patient, and there is none"
        raise EvaluationError("no-patient", f"{message}: give the record of one patient with --data")


class Session(Struct):
    """Holds what expressions may refer to: a library or a model, a patient, and what was defined since.

    `declarations` are texts of what stands before the defines of a library (`include`, `valueset`, `parameter`, ...), and `definitions` those
    of defines and functions; both by name, in the order they were given. `version` is the FHIR version that expressions are written for where
    neither a library nor the data says it.
    """

    store: LibraryStore = field(default_factory=LibraryStore)
    library: Source | None = None
    subject: Subject | None = None
    now: dt.datetime | None = None
    timezone: str = "UTC"
    options: TranslationOptions = field(default_factory=TranslationOptions)
    parameters: dict[tuple[str, str], Any] = field(default_factory=dict)
    given: tuple[ParameterValue, ...] = ()
    messages: list[str] = field(default_factory=list)
    declarations: dict[str, str] = field(default_factory=dict)
    definitions: dict[str, str] = field(default_factory=dict)
    version: str = "r4"
    with_model: bool = False
    value_sets: Codes = field(default_factory=lambda: NO_CODES)
    seconds: float = SECONDS
    explained: bool = False

    def head(self) -> str:
        """What stands before an expression: the library, or the model that it needs, what was declared, and the definitions."""
        declared = " ".join(self.declarations.values())
        if self.library is not None:
            text = self._library(declared)
        elif self.with_model or self.subject is not None or self.declarations:
            version = load_model(self.subject.version if self.subject is not None else self.version).fhir_version
            text = f"using FHIR version '{version}'\ninclude FHIRHelpers version '{version}'\n{declared}\ncontext Patient\n"
        else:
            text = ""
        return text + "".join(f"{definition}\n" for definition in self.definitions.values())

    def _library(self, declared: str) -> str:
        """The text of the library with what was declared since; ELM JSON is included, and its definitions go by their names."""
        assert self.library is not None
        text = self.library.text
        if text.lstrip().startswith("{"):
            compiled = self.compiler().compile(self.library)
            version = load_model(self.subject.version if self.subject is not None else self.version).fhir_version
            names = [define.name for define in compiled.defines.values() if not define.private]
            defines = "".join(f"define {_quoted(name)}: {OF_LIBRARY}.{_quoted(name)}\n" for name in names)
            using = f"using FHIR version '{version}'\ninclude FHIRHelpers version '{version}'\n"
            return f"{using}include {OF_LIBRARY}\n{declared}\ncontext Patient\n{defines}"
        if declared:
            # before the first define, and in its line, so that the lines of the library keep their numbers
            statements = parse_library(self.library).statements
            at = statements[0].span.start if statements else len(text)
            text = f"{text[:at]}{'' if statements else chr(10)}{declared} {text[at:]}"
        return text.rstrip() + ("\n\ncontext Patient\n" if "using " in text else "\n\n")

    def compiler(self) -> Compiler:
        return caching_compiler(self._find, self.options, self.store.models, explained=self.explained)

    def _find(self, name: str, version: str | None) -> Source | None:
        """A library by name and version; `OfLibrary` names the one of the session where that is ELM JSON, whatever its own name is."""
        return self.library if name == OF_LIBRARY else self.store.find(name, version)

    def compile(self, text: str) -> Compiled:
        """An expression as the last define of a library. Raises DiagnosticError whose spans are those of the text."""
        try:
            return self._compile(text)
        except DiagnosticError:
            if self.with_model or self.library is not None or self.subject is not None:
                raise
        # it may need the model, which costs more to compile with
        self.with_model = True
        try:
            return self._compile(text)
        except DiagnosticError:
            self.with_model = False
            raise

    def _compile(self, text: str) -> Compiled:
        head = self.head() + f'define "{EXPRESSION}":\n'
        source, whole = Source("expression", text), Source("expression", head + text)
        try:
            return self.compiler().compile_once(whole)
        except DiagnosticError as error:
            raise DiagnosticError([moved(d, whole, source, len(head)) for d in error.diagnostics]) from None

    def evaluate(self, text: str) -> SessionAnswer:
        """The value of an expression. Raises DiagnosticError and EvaluationError."""
        compiled = self.compile(text)
        definition = compiled.defines[EXPRESSION]
        head = len(compiled.source.text) - len(text)
        source = Source("expression", text)
        found = [*compiled.diagnostics, *self.about_value_sets(compiled, [EXPRESSION])]
        warnings = tuple(moved(d, compiled.source, source, head) for d in found)
        try:
            value, parts = self.value_of(compiled, EXPRESSION)
        except EvaluationError as error:
            if error.source is compiled.source and error.span is not None and error.span.start >= head:
                error.source, error.define = source, None
                error.span = type(error.span)(error.span.start - head, error.span.end - head)
            raise
        shown = tuple(w for w in warnings if w.source is source or w.code in _REPORTED)
        return SessionAnswer(value, definition.type, shown, compiled, parts)

    def value_of(self, compiled: Compiled, define: str, run: Run | None = None) -> tuple[Any, list[ExplainedPart]]:
        """The value of a define, in a run that others share where one is given; with those of its parts where the session explains.

        The parts are those of the author's text: what stands in included libraries is left out. Raises EvaluationError.
        """
        what = define if define == EXPRESSION else "the define"
        loaded = LoadedLibrary(compiled)
        if not self.explained:
            return limited(self.seconds, what, loaded.evaluate, define, run or self.environment(compiled)), []
        value, parts = limited(self.seconds, what, explain_define, loaded, define, self.environment(compiled))
        return value, [part for part in parts if part.source is compiled.source]

    def about_value_sets(self, compiled: Compiled, defines: Iterable[str]) -> list[Diagnostic]:
        """Findings about the value sets that some defines ask for; that one is missing is told where it is used."""
        if not isinstance(self.value_sets, Terminology):
            return []
        found = check_value_sets(required_value_sets(compiled, defines), self.value_sets, True)
        return [d for d in found if d.code != "missing-valueset"]

    def define(self, text: str) -> str:
        """Keep a definition or a declaration (`define`, `include`, `valueset`, ...), in place of an earlier one of the same name.

        Returns its name. Raises DiagnosticError whose spans are those of the text.
        """
        source = Source("definition", text)
        tree = parse_library(source)
        kind, name = _defined(tree)
        if kind == "using" and name == "FHIR" and self.library is None:
            return self._use(tree.usings[0].version)
        kept = self.definitions if kind == "define" else self.declarations
        key = name if kind == "define" else f"{kind} {name}"
        before, with_model = dict(kept), self.with_model
        kept.pop(key, None)
        kept[key] = text
        try:
            self.compile("null")
        except DiagnosticError as error:
            kept.clear()
            kept.update(before)
            self.with_model = with_model
            raise DiagnosticError([_in_definition(d, text, source) for d in error.diagnostics]) from None
        return name

    def _use(self, version: str | None) -> str:
        """Take the version of FHIR that `using` names. Raises DiagnosticError for one that is not known, or is not that of the data."""
        try:
            wanted = load_model(version or self.version).version
        except ValueError as error:
            raise DiagnosticError([Diagnostic("unknown-version", str(error))]) from None
        if self.subject is not None and self.subject.version != wanted:
            message = f"the data is in FHIR {self.subject.version.upper()}, not in {wanted.upper()}"
            raise DiagnosticError([Diagnostic("other-version", message, hint="--fhir says which version it is")])
        self.version, self.with_model = wanted, True
        return f"FHIR {wanted.upper()}"

    def message(self, severity: str, code: Any, text: Any, source: Any) -> None:
        """Take a message that an expression gives (CQL: Message); those of the severity Error end the evaluation instead."""
        shown = f"{severity.lower()}: {code}: {text}" if code else f"{severity.lower()}: {text}"
        self.messages.append(f"{shown} ({text_of(source)})")

    def environment(self, compiled: Compiled) -> Run:
        """A fresh environment for a library: the patient where there is one.

        Raises DiagnosticError for a parameter that no library has, and for a value of another type.
        """
        run = self._run(compiled)
        return run if self.subject is None else CompartmentPatient(run, self.subject.compartment)

    def _run(self, compiled: Compiled) -> Run:
        self.check_parameters(compiled)
        kind = Run if self.subject is not None else NoPatient
        run = kind(self.now, self.timezone, self.parameters, self.message, value_sets=self.value_sets)
        problems: list[Diagnostic] = []
        version = self.subject.version if self.subject is not None else self.version
        listed = (*self.given, *defaults_of(compiled, self.store))
        bound = bind_parameters(compiled, listed, version, "", problems)
        problems += unknown_names(self.given, bound.known, "", "error")
        if problems:
            raise DiagnosticError(problems)
        return run.with_parameters(bound.values)

    def undecided(self, compiled: Compiled, defines: Iterable[str]) -> list[Undecided]:
        """Defines that CQL answers, and of which a screening of this patient would say that they are undetermined."""
        if self.subject is None:
            return []
        compiler = caching_compiler(self._find, self.options, self.store.models, traced=True)
        run = self._run(compiled)
        options = ScreeningOptions(
            now=run.moment,
            timezone=self.timezone,
            parameters=dict(run.parameters),
            value_sets=self.value_sets,
            criterion_seconds=self.seconds,
        )
        look = UndecidedDefines(compiler.compile_once(compiled.source), defines, self.subject.version, options)
        return look(self.subject.compartment)

    def check_parameters(self, compiled: Compiled) -> None:
        """Raises DiagnosticError `unknown-parameter`, `parameter-type` for the values of `--parameter` that do not fit a library."""
        for check, code in ((check_names, "unknown-parameter"), (check_parameters, "parameter-type")):
            try:
                check(compiled, self.parameters)
            except ValueError as error:
                raise DiagnosticError([Diagnostic(code, f"--parameter: {error}")]) from None


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _defined(tree: c.Library) -> tuple[str, str]:
    """The first word and the name of the one thing that a text defines."""
    if tree.usings:
        return "using", tree.usings[0].name
    if tree.includes:
        return "include", tree.includes[0].alias
    for kind, found in (
        ("codesystem", tree.codesystems),
        ("valueset", tree.valuesets),
        ("code", tree.codes),
        ("concept", tree.concepts),
        ("parameter", tree.parameters),
        ("define", tree.statements),
    ):
        if found:
            return kind, found[0].name
    raise DiagnosticError([Diagnostic("syntax-expected", "expected a definition, such as define Name: ...")])


def _in_definition(found: Diagnostic, text: str, source: Source) -> Diagnostic:
    """A diagnostic in the library of a session, as one in the definition that was typed, where it is in that."""
    if found.source is None or found.span is None:
        return found
    start = found.source.text.rfind(text)
    if start < 0 or not start <= found.span.start <= start + len(text):
        return found
    return moved(found, found.source, source, start)


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
    problems: list[Problem] = []
    found = list(read_patients(paths, model=load_model(version), on_problem=problems.append))
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
            else "; ".join(map(str, problems[:3])) or "there is no Patient"
        )
        raise ValueError(f"the data holds {len(found)} patients: {hint}")
    return Subject(found[0], version, tuple(problems))
