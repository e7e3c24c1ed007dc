"""Evaluate a measure over a cohort: the library it names, its period and parameters, a report a patient, and totals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import Diagnostic, EvaluationError
from fhir_eligibility.algebra.temporal import DateTime
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.artifacts.libraries import LibraryStore, LibraryText, load_libraries
from fhir_eligibility.artifacts.measures import Group, Measure, Population, read_measure
from fhir_eligibility.artifacts.mistaken_files import mistaken, not_json
from fhir_eligibility.artifacts.records import ParameterValue
from fhir_eligibility.compiler.criteria.cache import caching_compiler
from fhir_eligibility.compiler.criteria.cql import check_version, defaults_of
from fhir_eligibility.compiler.criteria.library import Compiled, LoadedLibrary
from fhir_eligibility.compiler.criteria.parameters import (
    NO_PARAMETERS,
    BoundParameters,
    bind_parameters,
    check_given,
    unknown_names,
)
from fhir_eligibility.compiler.criteria.reading import ReadPlan, measure_plan
from fhir_eligibility.compiler.criteria.value_sets import required_value_sets
from fhir_eligibility.compiler.elm.types import BOOLEAN
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.runtime.membership import Codes
from fhir_eligibility.data.bulk.reading import read_export
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.terminology.check import check_value_sets
from fhir_eligibility.data.terminology.files import TerminologyOptions, open_terminology
from fhir_eligibility.data.terminology.value_sets import Terminology
from fhir_eligibility.evaluation.cql_patient import CompartmentPatient
from fhir_eligibility.evaluation.evaluator import Options
from fhir_eligibility.evaluation.measures import OBSERVATION, MeasureEvaluator, MeasureResult
from fhir_eligibility.evaluation.time_limit import SECONDS
from fhir_eligibility.evaluation.undecided_defines import UndecidedDefines
from fhir_eligibility.runners.screening.criteria import PathLike

PERIOD = "Measurement Period"


class LoadedMeasure(Struct):
    """A measure with its compiled library and the value sets at hand."""

    measure: Measure
    compiled: Compiled
    terminology: Terminology
    diagnostics: tuple[Diagnostic, ...] = ()
    parameters: BoundParameters = NO_PARAMETERS
    refused: tuple[Diagnostic, ...] = ()
    """Why populations, stratifiers and supplemental data are not evaluated; they are among the diagnostics. The others are evaluated."""
    traced: Callable[[], Compiled] | None = None
    """Compiles the library with traces, to tell which rows an answer hangs on."""

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that are errors of the whole measure."""
        return tuple(d for d in self.diagnostics if d.severity == "error" and d not in self.refused)


class MeasureOptions(Struct, frozen=True, kw_only=True):
    """What results depend on besides measure and data. `period` are two dates; it becomes the parameter "Measurement Period"."""

    now: dt.datetime
    timezone: str = "UTC"
    parameters: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    period: tuple[str, str] | None = None
    ignore_profiles: bool = False
    criterion_seconds: float = SECONDS


def load_measure(
    path: PathLike,
    *,
    libraries: Iterable[PathLike] = (),
    valuesets: Iterable[PathLike] = (),
    allow_missing_valuesets: bool = False,
    terminology_options: TerminologyOptions | None = None,
    parameters: Sequence[ParameterValue] = (),
    fhir_version: str = "r4",
    force_fhir: bool = False,
) -> LoadedMeasure:
    """A Measure or a Library from a file, compiled; terminology as in `load_criteria`. Raises FileNotFoundError, ValueError, and DiagnosticError for its CQL."""
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if file.is_dir():
        raise ValueError(f"{path} is a folder: give the file in it that holds the Measure, or a CQL library")
    store = load_libraries([*libraries, file.parent])
    measure, found = _measure(file)
    library = _library(file, measure, store)
    compiled = caching_compiler(store.find, model_infos=store.models).compile(library.source)
    if not force_fhir:
        check_version(compiled, fhir_version, str(file))
    if measure is None:
        measure = screening_log(compiled)
    terminology = open_terminology([*valuesets, *libraries, file.parent], terminology_options)
    diagnostics = [*found, *store.diagnostics, *terminology.diagnostics, *compiled.diagnostics]
    measure, refused = without_refused(measure, compiled, str(file))
    diagnostics += refused
    if not any(p.refused is None for group in measure.groups for p in group.populations):
        refused = ()  # there is nothing to evaluate
    bound = bind_parameters(
        compiled,
        (*parameters, *measure.parameters, *defaults_of(compiled, store)),
        fhir_version,
        str(file),
        diagnostics,
    )
    diagnostics += unknown_names(parameters, bound.known, "", "error")
    diagnostics += unknown_names(measure.parameters, bound.known, str(file), "warning")
    diagnostics += check_value_sets(
        required_value_sets(compiled, compiled.defines), terminology, allow_missing_valuesets
    )
    terminology.close()
    traced = partial(caching_compiler(store.find, model_infos=store.models, traced=True).compile, library.source)
    return LoadedMeasure(measure, compiled, terminology, tuple(diagnostics), bound, refused, traced)


def _measure(file: Path) -> tuple[Measure | None, tuple[Diagnostic, ...]]:
    if file.suffix != ".json":
        return None, ()
    raw = file.read_bytes()
    try:
        data = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _, message, _ = not_json(raw, file.name, error)
        raise ValueError(f"{file}: {message}") from None
    resources = [data] if isinstance(data, dict) else []
    if isinstance(data, dict) and data.get("resourceType") == "Bundle":
        resources = [e.get("resource") or {} for e in data.get("entry") or ()]
    for resource in resources:
        if resource.get("resourceType") == "Measure":
            return read_measure(resource, str(file))
    return None, ()


def _library(file: Path, measure: Measure | None, store: LibraryStore) -> LibraryText:
    if measure is not None:
        for canonical in measure.libraries:
            found = store.by_url(canonical)
            if found is not None:
                return found
            name, _, version = canonical.rpartition("/")[2].partition("|")
            source = store.find(name, version or None)
            if source is not None:
                return next(x for x in store.libraries if x.source is source)
        named = measure.libraries[0] if measure.libraries else "none"
        raise ValueError(
            f"{file}: the library of the measure ({named}) is not among the files given; name them by --libraries"
        )
    own = load_libraries([file])
    if not own.libraries:
        raise ValueError(f"{file} holds neither a Measure nor a library{_instead(file)}")
    return own.libraries[0]


def _instead(file: Path) -> str:
    """What a file holds that is given as a measure, and what to do with it."""
    raw = file.read_bytes()
    other = mistaken(raw, file.name)
    if other is not None:
        return f": {other[0]}"
    try:
        data = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    kind = data.get("resourceType") if isinstance(data, dict) else None
    if kind in ("EvidenceVariable", "Group", "ResearchStudy"):
        return f", but {kind}: `eligibility screen` takes that"
    return f", but {kind}; give the patients with --data" if kind in ("Patient", "Bundle") else ""


def screening_log(compiled: Compiled) -> Measure:
    """A library alone as a measure: every Boolean define about the patient is a population of its own."""
    defines = [d for d in compiled.defines.values() if d.type == BOOLEAN and d.context is not None and not d.private]
    groups = [
        Group(
            id=d.name, scoring="cohort", populations=(Population(id=d.name, code="initial-population", define=d.name),)
        )
        for d in defines
    ]
    return Measure(id=compiled.name, version=compiled.version, title=compiled.name, groups=tuple(groups))


class _Wanted(Struct, frozen=True):
    """What a name in a measure may be: a define, a function of so many operands (None: no function)."""

    define: bool = True
    operands: int | None = None

    @property
    def words(self) -> str:
        """The same in words."""
        functions = {0: ["a function without operands"], 1: ["a function of the episode"]}
        kinds = ["a define"] if self.define else []
        return " or ".join(kinds if self.operands is None else [*kinds, *functions[self.operands]])


def without_refused(measure: Measure, compiled: Compiled, place: str) -> tuple[Measure, tuple[Diagnostic, ...]]:
    """A measure whose populations that cannot be evaluated are marked, without its stratifiers and supplemental data of that kind; and why."""
    found: list[Diagnostic] = []

    def refuse(name: str, what: str, wanted: _Wanted) -> str | None:
        message, hint = _refusal(name, wanted, compiled)
        if message is not None:
            found.append(Diagnostic("unknown-name", message, location=f"{place} {what}", hint=hint))
        return message

    groups = []
    for group in measure.groups:
        episodes = group.basis != "boolean"
        observation, stratum = (_Wanted(False, 1), _Wanted(True, 1)) if episodes else (_Wanted(True, 0), _Wanted())
        populations = []
        for p in group.populations:
            why = refuse(p.define, f"{group.id}.{p.id}", observation if p.code == OBSERVATION else _Wanted())
            populations.append(p if why is None else p.changed(refused=why))
        stratifiers = [
            stratifier
            for stratifier in group.stratifiers
            if [refuse(d, f"{group.id}.{stratifier.id}", stratum) for d in stratifier.defines].count(None)
            == len(stratifier.parts)
        ]
        update = {"populations": tuple(populations), "stratifiers": tuple(stratifiers)}
        groups.append(group.changed(**update))
    supplemental = tuple(item for item in measure.supplemental if refuse(item.define, item.id, _Wanted()) is None)
    return measure.changed(groups=tuple(groups), supplemental=supplemental), tuple(found)


def _refusal(name: str, wanted: _Wanted, compiled: Compiled) -> tuple[str | None, str | None]:
    """Why a name that a measure gives cannot be evaluated, with a hint; None where it can be."""
    functions = compiled.symbols.functions.get(name, ())
    defined = name in compiled.defines
    if wanted.define and defined or any(len(f.operands) == wanted.operands for f in functions):
        return None, None
    if defined or functions:
        kind = (
            "a define" if defined else f"a function of {' or '.join(str(len(f.operands)) for f in functions)} operands"
        )
        return f"{name!r} is {kind} of the library {compiled.name}; {wanted.words} is needed here", None
    known = [*compiled.defines, *compiled.symbols.functions]
    near = [one for one in known if one.lower() == name.lower()] or get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else None
    return f"the library {compiled.name} defines no {name!r}, which the measure names", hint


def period_of(loaded: LoadedMeasure, options: MeasureOptions) -> tuple[str, str] | None:
    """The measurement period: as given by dates or as a parameter, else the measure's effective period, else the default of the library."""
    values = {**loaded.parameters.values, **options.parameters}
    given = [value for (_, name), value in reversed(values.items()) if name == PERIOD and isinstance(value, Interval)]
    if options.period is None and given and given[0].low is not None and given[0].high is not None:
        return str(given[0].low), str(given[0].high)
    if options.period is not None:
        return options.period
    effective = _effective(loaded.measure)
    if effective is not None:
        return effective
    default = _default_period(loaded, options)
    return None if default is None else (str(default.low), str(default.high))


def _effective(measure: Measure) -> tuple[str, str] | None:
    return (measure.start, measure.end) if measure.start and measure.end else None


def _default_period(loaded: LoadedMeasure, options: MeasureOptions) -> Interval | None:
    """The default that a library has for the measurement period, its own before those of the libraries that it includes."""
    run = Run(options.now, options.timezone, options.parameters)
    for library in loaded.compiled.closure():
        exported = library.parameters.get(PERIOD)
        if exported is None:
            continue
        try:
            value = LoadedLibrary(loaded.compiled).parameter(library.key, exported.python, run)
        except EvaluationError:
            continue  # it has none
        if isinstance(value, Interval) and value.low is not None and value.high is not None:
            return value
    return None


def run_of(loaded: LoadedMeasure, options: MeasureOptions, value_sets: Codes | None = None) -> Run:
    """The environment that all patients share. Raises ValueError for a parameter that no library has."""
    parameters = dict(options.parameters)
    period = options.period or _effective(loaded.measure)
    check_given([loaded.compiled], parameters)
    known = {name for library in loaded.compiled.closure() for name in library.parameters}
    given = any(name == PERIOD for _, name in (*parameters, *loaded.parameters.values))
    if period is not None and PERIOD in known and (options.period is not None or not given):
        if not any(name == PERIOD for _, name in parameters):
            parameters["", PERIOD] = measurement_period(*period)
    check_given([loaded.compiled], parameters)
    terminology = value_sets if value_sets is not None else loaded.terminology
    run = Run(
        options.now, options.timezone, parameters, value_sets=terminology, ignore_profiles=options.ignore_profiles
    )
    return run.with_parameters(loaded.parameters.values)


def measurement_period(start: str, end: str) -> Interval:
    """An interval from the first to the last millisecond of two days, or between two moments. Raises ValueError."""

    def moment(text: str, time: str) -> DateTime:
        return DateTime.parse(text if "T" in text else f"{text}T{time}Z")

    return Interval(moment(start, "00:00:00.000"), moment(end, "23:59:59.999"), True, True, "DateTime")


def plan_of(loaded: LoadedMeasure, fhir_version: str) -> ReadPlan:
    """What of the data the measure reads."""
    measure = loaded.measure
    names = [population.define for group in measure.groups for population in group.populations]
    names += [name for group in measure.groups for stratifier in group.stratifiers for name in stratifier.defines]
    names += [item.define for item in measure.supplemental]
    return measure_plan(loaded.compiled, list(dict.fromkeys(names)), fhir_version, loaded.terminology)


def evaluate_measure(
    loaded: LoadedMeasure,
    data: Iterable[PathLike],
    options: MeasureOptions,
    on_problem: Callable[[Problem], None] | None = None,
    fhir_version: str = "r4",
    *,
    merge_linked: bool = False,
) -> Iterator[MeasureResult]:
    """One result a patient of the data, in its order. With `merge_linked`, Patients that are linked as one person (Patient.link) are one patient."""
    evaluator = MeasureEvaluator(loaded.measure, LoadedLibrary(loaded.compiled), options.criterion_seconds)
    run = run_of(loaded, options)
    report = on_problem if on_problem is not None else (lambda problem: None)
    for compartment in read_export(data, plan_of(loaded, fhir_version), report, merge_linked=merge_linked):
        yield evaluator(compartment.reference, CompartmentPatient(run, compartment))


def undecided_of(
    loaded: LoadedMeasure, traced: Compiled | None, options: MeasureOptions, run: Run, fhir_version: str
) -> UndecidedDefines | None:
    """What finds populations whose answer hangs on rows that cannot be decided; None where the measure does not tell."""
    if traced is None or options.ignore_profiles:
        return None
    defines = [p.define for group in loaded.measure.groups if group.basis == "boolean" for p in group.populations]
    settings = Options(
        now=options.now,
        timezone=options.timezone,
        parameters=dict(run.parameters),
        value_sets=loaded.terminology,
        criterion_seconds=options.criterion_seconds,
    )
    return UndecidedDefines(traced, defines, fhir_version, settings)
