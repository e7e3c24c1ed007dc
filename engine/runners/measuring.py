"""Evaluate a measure over a cohort: the library it names, its period and parameters, a report a patient, and totals."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from engine.algebra.diagnostic import Diagnostic
from engine.algebra.interval import Interval
from engine.algebra.temporal import DateTime
from engine.artifacts.libraries import LibraryStore, LibraryText, load_libraries
from engine.artifacts.measures import Group, Measure, Population, read_measure
from engine.artifacts.models import load_model
from engine.artifacts.records import ParameterValue
from engine.compiler.cql.cache import caching_compiler
from engine.compiler.cql.compiled import Compiled, Loaded
from engine.compiler.cql.criterion import check_version, defaults_of
from engine.compiler.cql.parameters import NO_PARAMETERS, BoundParameters, bind_parameters, check_given, unknown_names
from engine.compiler.cql.runtime import Run
from engine.compiler.cql.types import BOOLEAN
from engine.compiler.cql.value_sets import required_value_sets
from engine.compiler.membership import Codes
from engine.data.problems import Problem
from engine.data.reader import read_patients
from engine.data.terminology import Terminology
from engine.data.terminology_check import check_value_sets
from engine.data.terminology_files import TerminologyOptions, open_terminology
from engine.evaluation.cql_patient import CompartmentPatient
from engine.evaluation.measures import MeasureEvaluator, MeasureResult
from engine.evaluation.time_limit import SECONDS
from engine.runners.criteria import PathLike

PERIOD = "Measurement Period"


@dataclass(slots=True)
class LoadedMeasure:
    """A measure with its compiled library and the value sets at hand."""

    measure: Measure
    compiled: Compiled
    terminology: Terminology
    diagnostics: tuple[Diagnostic, ...] = ()
    parameters: BoundParameters = NO_PARAMETERS

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that are errors."""
        return tuple(d for d in self.diagnostics if d.severity == "error")


@dataclass(slots=True)
class MeasureOptions:
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
    diagnostics += _unknown_defines(measure, compiled, str(file))
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
    return LoadedMeasure(measure, compiled, terminology, tuple(diagnostics), bound)


def _measure(file: Path) -> tuple[Measure | None, tuple[Diagnostic, ...]]:
    if file.suffix != ".json":
        return None, ()
    try:
        data = msgspec.json.decode(file.read_bytes())
    except msgspec.DecodeError as error:
        raise ValueError(f"{file}: not valid JSON: {error}") from None
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
        raise ValueError(f"{file} holds neither a Measure nor a library")
    return own.libraries[0]


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


def _unknown_defines(measure: Measure, compiled: Compiled, place: str) -> Iterator[Diagnostic]:
    known = {*compiled.defines, *compiled.symbols.functions}
    names = [p.define for g in measure.groups for p in g.populations]
    names += [d for g in measure.groups for s in g.stratifiers for d in s.defines]
    names += [s.define for s in measure.supplemental]
    for name in dict.fromkeys(names):
        if name not in known:
            message = f"the library {compiled.name} defines no {name!r}, which the measure names"
            yield Diagnostic("unknown-name", message, location=place)


def period_of(loaded: LoadedMeasure, options: MeasureOptions) -> tuple[str, str] | None:
    """The measurement period: as given by dates or as a parameter, else the measure's effective period."""
    values = {**loaded.parameters.values, **options.parameters}
    given = [value for (_, name), value in reversed(values.items()) if name == PERIOD and isinstance(value, Interval)]
    if options.period is None and given and given[0].low is not None and given[0].high is not None:
        return str(given[0].low), str(given[0].high)
    if options.period is not None:
        return options.period
    measure = loaded.measure
    return (measure.start, measure.end) if measure.start and measure.end else None


def run_of(loaded: LoadedMeasure, options: MeasureOptions, value_sets: Codes | None = None) -> Run:
    """The environment that all patients share. Raises ValueError for a parameter that no library has."""
    parameters = dict(options.parameters)
    period = period_of(loaded, options)
    check_given([loaded.compiled], parameters)
    known = {name for library in loaded.compiled.closure() for name in library.parameters}
    told = any(name == PERIOD for _, name in (*parameters, *loaded.parameters.values))
    if period is not None and PERIOD in known and (options.period is not None or not told):
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


def evaluate_measure(
    loaded: LoadedMeasure,
    data: Iterable[PathLike],
    options: MeasureOptions,
    on_problem: Callable[[Problem], None] | None = None,
    fhir_version: str = "r4",
) -> Iterator[MeasureResult]:
    """One result a patient of the data, in its order."""
    evaluator = MeasureEvaluator(loaded.measure, Loaded(loaded.compiled), options.criterion_seconds)
    run = run_of(loaded, options)
    report = on_problem if on_problem is not None else (lambda problem: None)
    for compartment in read_patients(data, model=load_model(fhir_version), on_problem=report):
        yield evaluator(compartment.reference, CompartmentPatient(run, compartment))
