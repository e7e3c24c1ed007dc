"""A criterion in CQL: a define of a library, or an expression in the names of one, compiled to run over a patient with traces.

Finds the library that an expression means (Expression.reference, then the `cqf-library` extensions, then the one library that has such a
define), and says what is wrong in words that its author can act on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import PurePath
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError, Source, Span
from fhir_eligibility.artifacts.libraries import LibraryStore, LibraryText
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.models.differences import family, same_family
from fhir_eligibility.artifacts.records import ExpressionSource, ParameterValue
from fhir_eligibility.compiler.analysis.dates import Clock, date_filters
from fhir_eligibility.compiler.analysis.monotonicity import UNKNOWN, Monotonicity, mixed, moves_one_way
from fhir_eligibility.compiler.analysis.origins import Origin, excerpt
from fhir_eligibility.compiler.analysis.requirements import DataRequirement
from fhir_eligibility.compiler.criteria.cache import caching_compiler
from fhir_eligibility.compiler.criteria.library import Compiled, LoadedLibrary
from fhir_eligibility.compiler.criteria.parameters import GivenParameter, bind_parameters, unknown_names
from fhir_eligibility.compiler.criteria.value_sets import ValueSetUse, required_value_sets
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.types import ListType
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.syntax.cql import parse_expression

CRITERION = "criterion of the artifact"


@dataclass(slots=True, repr=False)
class CqlCode:
    """A define over a patient's data. Pickles; functions load on first use in a process.

    `parameters` are values by library and name, for what a run does not give; `given` tells of them.
    """

    text: str
    define: str
    compiled: Compiled
    boolean: bool
    monotonicity: Monotonicity = field(default_factory=lambda: UNKNOWN)
    by_number: bool = False
    parameters: dict[tuple[str, str], Any] = field(default_factory=dict)
    given: tuple[GivenParameter, ...] = ()
    _loaded: LoadedLibrary | None = None
    _reads: dict[str, DataRequirement] | None = None
    _clauses: dict[tuple[int, int], str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<CqlCode {self.define!r} of {self.compiled.name}>"

    @property
    def python(self) -> str:
        """The emitted Python of the define as text, made anew for readers. Raises ValueError in another process."""
        return self.compiled.python_of(self.define)

    @property
    def monotone(self) -> bool:
        """Whether keeping more of the rows in doubt moves the answer one way only."""
        return moves_one_way(self.monotonicity)

    @property
    def loaded(self) -> LoadedLibrary:
        """The library as functions."""
        if self._loaded is None:
            self._loaded = LoadedLibrary(self.compiled)
        return self._loaded

    def prepare(self) -> None:
        """Make the library callable, so that no evaluation has to."""
        self._loaded = self.loaded

    def run(self, environment: Any, patient: Any) -> Any:
        """The value of the define for the patient of an environment. Raises EvaluationError."""
        loaded = self._loaded or self.loaded
        return loaded.evaluate(self.define, environment.for_cql(self.parameters))

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (
            self.text,
            self.define,
            self.compiled,
            self.boolean,
            self.monotonicity,
            self.by_number,
            self.parameters,
            self.given,
        )
        return CqlCode, fields

    def clause(self, site: int, clause: int) -> str:
        """The author's text of a clause of a filter."""
        if site < 0:
            return "code"
        known = self._clauses.get((site, clause))
        if known is None:
            source, found = self.loaded.sites[site]
            span = found.clauses[clause] if 0 <= clause < len(found.clauses) else found.span
            known = self.text[:120] if span is None else " ".join(source.text[span.start : span.end].split())
            self._clauses[site, clause] = known
        return known

    def inside(self, site: int, doubt_site: int, doubt_clause: int) -> bool:
        """Whether a comparison stands inside a clause of a filter."""
        if doubt_site < 0:
            return False
        (source, inner), (outer_source, outer) = self.loaded.sites[site], self.loaded.sites[doubt_site]
        span = outer.clauses[doubt_clause] if 0 <= doubt_clause < len(outer.clauses) else None
        if span is None or inner.span is None or source is not outer_source:
            return False
        return span.start <= inner.span.start and inner.span.end <= span.end

    def comparison(self, site: int) -> tuple[tuple[Origin, ...], tuple[str, ...]]:
        """The origins of the operands of a comparison, and their texts as the author wrote them."""
        _, found = self.loaded.sites[site]
        return found.origins, tuple(self.excerpt(site, span) for span in found.clauses)

    def excerpt(self, site: int, span: Span | None) -> str:
        """The author's text of a part of a comparison."""
        return "" if span is None else excerpt(self.loaded.sites[site][0].text, span)

    def elements(self, site: int, clause: int) -> tuple[str, ...]:
        """The elements of a row that a clause of a filter reads."""
        found = self.loaded.sites[site][1].elements if site >= 0 else ()
        return found[clause] if 0 <= clause < len(found) else ()

    def where(self, error: EvaluationError) -> str:
        """The place of an error in words, empty where it is not known."""
        if error.source is None or error.span is None:
            return ""
        source, span = error.source, error.span
        shown = " ".join(source.text[span.start : span.end].split())[:80]
        define, where = f" of {error.define!r}" if error.define else "", source.name
        if self.define == CRITERION and source.text.endswith(self.text):
            # the expression stands behind a library, or behind a head that no author wrote
            own = in_own_text(span, len(source.text) - len(self.text))
            if own is not None:
                source, span, define = Source(source.name, self.text), own, " of the expression"
            else:
                where = f"the library {self.compiled.name}"
        line, _ = source.line_column(span.start)
        return f" in `{shown}`, line {line}{define} in {where}"

    def value_sets(self) -> dict[str, list[ValueSetUse]]:
        """The value sets that the define asks for, with all that it refers to, and where."""
        return required_value_sets(self.compiled, [self.define])

    def reads(self) -> dict[str, DataRequirement]:
        """What data the define reads, with all that it refers to."""
        if self._reads is None:
            self._reads = data_requirements(self.compiled, [self.define])
        return self._reads

    def dated_reads(self, run: Run) -> dict[str, DataRequirement]:
        """As `reads`, with the dates that a run asks for."""
        return data_requirements(
            self.compiled, [self.define], clock_of(self.loaded, run.with_parameters(self.parameters))
        )


def check_version(compiled: Compiled, patients: str, place: str | None = None) -> None:
    """Raises DiagnosticError `fhir-version` where a library is written for another version of FHIR than that of the patients (R4 and R4B count as one)."""
    for library in compiled.closure():
        if library.fhir is not None and not same_family(library.fhir, patients):
            written = load_model(library.fhir)
            message = (
                f"the library {library.name} uses FHIR {written.fhir_version}, and the patients are read as FHIR {family(patients)}: "
                f"elements that have other names there would be missed"
            )
            hint = f"give the version of the data (--fhir {written.version}), or force it (--force-fhir)"
            raise DiagnosticError([Diagnostic("fhir-version", message, location=place, hint=hint)])


def clock_of(loaded: LoadedLibrary, run: Run) -> Clock:
    """What a run of a library knows when it begins."""
    return Clock(run.today, run.now, lambda key: loaded.parameter(key[0], key[1], run))


def data_requirements(
    compiled: Compiled, defines: Iterable[str], clock: Clock | None = None
) -> dict[str, DataRequirement]:
    """Data requirements by FHIR resource type of some defines of a library. Dates are told where there is a clock to tell them by."""
    found: dict[str, DataRequirement] = {}
    for _, uses in compiled.reached(defines):
        for retrieval in uses.retrievals:
            spec = retrieval.spec
            entry = found.setdefault(spec.resource_type, DataRequirement(spec.resource_type))
            path = spec.code_path
            asked = DataRequirement(spec.resource_type)
            if spec.target:
                medication = found.setdefault(spec.target, DataRequirement(spec.target))
                medication.add(DataRequirement(spec.target, {"code"}, unfiltered=True))
            if path is not None:
                asked.paths.add(path)
                if retrieval.value_set is not None and retrieval.value_set.id:
                    asked.value_sets.add((path, retrieval.value_set.id))
                asked.codes |= {(path, code.system or "", code.code or "") for code in retrieval.codes}
            asked.unfiltered = (
                path is None or bool(spec.target) or (retrieval.value_set is None and not retrieval.codes)
            )
            dates = date_filters(retrieval.dates, clock) if clock is not None else ()
            asked.dates = dict.fromkeys(asked.asked(), dates)
            entry.add(asked)
        for resource_type, path in uses.elements:
            found.setdefault(resource_type, DataRequirement(resource_type)).paths.add(path)
        for resource_type in uses.whole - {"*"}:
            found.setdefault(resource_type, DataRequirement(resource_type)).looked_at.add("")
    return found


def defaults_of(compiled: Compiled, store: LibraryStore) -> list[ParameterValue]:
    """The defaults that FHIR Libraries tell for parameters of a library and of what it includes."""
    names = {(library.name, library.version) for library in compiled.closure()}
    return [value for x in store.libraries if (x.name, x.version) in names for value in x.defaults]


class CqlCriteria:
    """Compiles the CQL of artifacts; libraries are compiled once.

    `parameters` are values given for all of them, before those of the artifacts; `known_parameters` are the names that the libraries have.
    A library that is written for another version of FHIR than `fhir_version`, that of the patients, is an error unless `force_fhir`.
    """

    def __init__(
        self,
        store: LibraryStore,
        fhir_version: str = "r4",
        parameters: Sequence[ParameterValue] = (),
        force_fhir: bool = False,
    ) -> None:
        self.store = store
        self.force_fhir = force_fhir
        self.fhir_version = fhir_version
        self.parameters = tuple(parameters)
        self.known_parameters: set[str] = set()
        self._compiler = caching_compiler(store.find, model_infos=store.models, traced=True)
        self._compiled: dict[int, Compiled | DiagnosticError] = {}

    def code(self, expression: ExpressionSource, place: str) -> tuple[CqlCode, tuple[Diagnostic, ...]]:
        """An expression as code. `place` names it in messages. Raises DiagnosticError."""
        text = (expression.text or "").strip()
        if not text:
            raise DiagnosticError([Diagnostic("no-expression", "the expression has no text", location=place)])
        source = Source(place, text)
        found: list[Diagnostic] = []
        identifier = self.identifier(expression, text)
        library = self.library(expression, identifier, place, found)
        if identifier is not None:
            code = self.define(library, identifier, text, place, found)
        else:
            code = self.inline(library, source, found)
        self.bind(code, expression, place, found)
        return code, tuple(found)

    def bind(self, code: CqlCode, expression: ExpressionSource, place: str, found: list[Diagnostic]) -> None:
        """The values of the parameters of a criterion. Raises DiagnosticError where one is not of its type."""
        defaults = defaults_of(code.compiled, self.store)
        problems: list[Diagnostic] = []
        listed = (*self.parameters, *expression.parameters, *defaults)
        bound = bind_parameters(code.compiled, listed, self.fhir_version, place, problems)
        self.known_parameters |= bound.known
        if problems:
            raise DiagnosticError(problems)
        found += unknown_names(expression.parameters, bound.known, place, "warning")
        code.parameters, code.given = bound.values, bound.given

    def identifier(self, expression: ExpressionSource, text: str) -> tuple[str | None, str] | None:
        """Library and define that a text names, where it is no more than a name."""
        if "identifier" in (expression.language or "").lower():
            unquoted = text.strip('"') if text.count('"') in (0, 2) else text
            if '"' not in unquoted and "." not in unquoted:
                return None, unquoted
        try:
            tree = parse_expression(Source("expression", text))
        except DiagnosticError:
            return (None, text.strip('"')) if "identifier" in (expression.language or "").lower() else None
        if isinstance(tree, s.Member):
            if tree.source is None:
                return None, tree.name
            if isinstance(tree.source, s.Member) and tree.source.source is None:
                return tree.source.name, tree.name
        return None

    def library(
        self,
        expression: ExpressionSource,
        identifier: tuple[str | None, str] | None,
        place: str,
        found: list[Diagnostic],
    ) -> LibraryText | None:
        """The library that an expression means, with warnings where that had to be guessed."""
        named = [x for x in (expression.reference, *expression.libraries) if x]
        for canonical in named:
            library = self.store.by_url(canonical)
            if library is not None:
                return library
        if identifier is None:
            if named:
                self.missing(named, place)
            return None
        wanted, define = identifier
        self.broken(named, wanted, define)
        holding = [x for x in self.store.libraries if self.defines(x, define) and wanted in (None, x.name)]
        texts = {x.source.text.strip() for x in holding}
        if len(texts) == 1:
            shown = holding[0].name or holding[0].source.name
            reason = (
                f"the library {named[0]} is not among the files given" if named else "the expression names no library"
            )
            message = f"{reason}; {define!r} is taken from {shown}, the only library that defines it"
            found.append(Diagnostic("library-guessed", message, "warning", location=place))
            return holding[0]
        if named:
            self.missing(named, place)
        if holding:
            names = ", ".join(sorted(str(x.name) for x in holding))
            message = f"several libraries define {define!r}: {names}"
            hint = "name one: Expression.reference, or the extension cqf-library with its canonical url"
            raise DiagnosticError([Diagnostic("library-ambiguous", message, location=place, hint=hint)])
        message = f"no library is named, and none of those given defines {define!r}"
        near = get_close_matches(define, self.known_defines(), n=1, cutoff=0.7)
        hint = "give the folder with the CQL library, and name it: Expression.reference or the extension cqf-library"
        hint = f"did you mean {near[0]!r}?" if near else hint
        raise DiagnosticError([Diagnostic("library-missing", message, location=place, hint=hint)])

    def broken(self, named: list[str], wanted: str | None, define: str) -> None:
        """Raises what is wrong with the library that an expression means, where that does not compile, so that no other one stands in for it."""
        meant = (
            {wanted} if wanted is not None else {canonical.partition("|")[0].rpartition("/")[2] for canonical in named}
        )
        for library in self.store.libraries:
            if meant & {library.name, PurePath(library.source.name).stem} or (not meant and mentions(library, define)):
                self.compiled(library)

    def missing(self, named: list[str], place: str) -> None:
        message = f"the library {named[0]} is not among the files given"
        hint = "give the file or folder that holds it (--libraries)"
        raise DiagnosticError([Diagnostic("library-missing", message, location=place, hint=hint)])

    def defines(self, library: LibraryText, name: str) -> bool:
        """Whether a library that compiles has a define."""
        try:
            return name in self.compiled(library).defines
        except DiagnosticError:
            return False

    def known_defines(self) -> list[str]:
        """What the libraries that compile define, for suggestions."""
        found: set[str] = set()
        for library in self.store.libraries:
            try:
                found.update(self.compiled(library).defines)
            except DiagnosticError:
                continue
        return sorted(found)

    def compiled(self, library: LibraryText) -> Compiled:
        """A library, compiled once. Raises DiagnosticError."""
        key = id(library)
        if key not in self._compiled:
            try:
                self._compiled[key] = self._compiler.compile(library.source)
            except DiagnosticError as error:
                self._compiled[key] = error
        found = self._compiled[key]
        if isinstance(found, DiagnosticError):
            raise found
        return found

    def define(
        self,
        library: LibraryText | None,
        identifier: tuple[str | None, str],
        text: str,
        place: str,
        found: list[Diagnostic],
    ) -> CqlCode:
        """Code for a define of a library."""
        assert library is not None
        compiled = self.compiled(library)
        name = identifier[1]
        definition = compiled.defines.get(name)
        if definition is None:
            message = f"the library {compiled.name} defines no {name!r}"
            near = get_close_matches(name.lower(), {x.lower(): x for x in compiled.defines}, n=1, cutoff=0.7)
            meant = [x for x in compiled.defines if x.lower() in near]
            hint = f"it defines {', '.join(map(repr, sorted(compiled.defines)[:12]))}"
            hint = f"did you mean {meant[0]!r}?" if meant else hint
            raise DiagnosticError([Diagnostic("unknown-name", message, location=place, hint=hint)])
        found += compiled.diagnostics
        return self.made(compiled, name, text, place, found)

    def inline(self, library: LibraryText | None, source: Source, found: list[Diagnostic]) -> CqlCode:
        """Code for an expression: a further define of its library, or of one of its own where it names none."""
        if library is not None:
            head = library.source.text.rstrip() + "\n\ncontext Patient\n"
        else:
            version = load_model(self.fhir_version).fhir_version
            head = f"using FHIR version '{version}'\ninclude FHIRHelpers version '{version}'\ncontext Patient\n"
        head += f'define "{CRITERION}":\n'
        whole = Source(source.name, head + source.text)
        try:
            compiled = self._compiler.compile(whole)
        except DiagnosticError as error:
            problems = [moved(d, whole, source, len(head)) for d in error.diagnostics]
            raise DiagnosticError(problems if library is not None else list(map(_alone, problems))) from None
        found += [moved(d, whole, source, len(head)) for d in compiled.diagnostics]
        return self.made(compiled, CRITERION, source.text, source.name, found)

    def made(self, compiled: Compiled, name: str, text: str, place: str, found: list[Diagnostic]) -> CqlCode:
        if not self.force_fhir:
            check_version(compiled, self.fhir_version, place)
        kind = compiled.defines[name].type
        boolean = kind in (t.BOOLEAN, t.Named("FHIR.boolean"))
        if not boolean:
            if isinstance(kind, ListType):
                message = f"the expression gives a list ({kind}); the criterion counts as met where it is not empty"
            else:
                message = f"the expression gives {kind}, not true or false; the criterion counts as met where there is a value, and is unknown where there is none"
            hint = "write exists (...), or a comparison"
            found.append(Diagnostic("not-boolean", message, "warning", location=place, hint=hint))
        return criterion_code(compiled, name, text)


def criterion_code(compiled: Compiled, name: str, text: str) -> CqlCode:
    """A define of a library as a criterion; `text` is what its author wrote to name it."""
    kind = compiled.defines[name].type
    boolean = kind in (t.BOOLEAN, t.Named("FHIR.boolean"))
    monotonicity = compiled.monotonicity.get(compiled.defines[name].python, UNKNOWN)
    listed = isinstance(kind, ListType) and kind.element not in (t.BOOLEAN, t.Named("FHIR.boolean"))
    return CqlCode(text, name, compiled, boolean, monotonicity if boolean or listed else mixed((monotonicity,)))


def mentions(library: LibraryText, define: str) -> bool:
    """Whether a text, which may have errors, looks as if it defines a name."""
    name = re.escape(define)
    pattern = rf"""\bdefine\s+(?:(?:public|private)\s+)?(?:"{name}"|`{name}`|{name})\s*:"""
    return re.search(pattern, library.source.text) is not None


def _alone(found: Diagnostic) -> Diagnostic:
    """What is said of an expression that names no library: where the names that it lacks could come from."""
    if found.code != "unknown-name" or found.hint is not None:
        return found
    hint = "an expression alone knows no value sets, codes and definitions: name the library that has them (Expression.reference)"
    return replace(found, hint=hint)


def in_own_text(span: Span, offset: int) -> Span | None:
    """A place in a text with a head of so many characters before it, as one in the text alone; None for one in the head."""
    return None if span.start < offset else Span(span.start - offset, span.end - offset)


def moved(found: Diagnostic, whole: Source, source: Source, offset: int) -> Diagnostic:
    """A diagnostic in the text with a head before it, as one in the author's text."""
    span = in_own_text(found.span, offset) if found.source is whole and found.span is not None else None
    if span is None:
        return found
    return Diagnostic(found.code, found.message, found.severity, source, span, found.hint, found.location)
