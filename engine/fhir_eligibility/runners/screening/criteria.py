"""Criteria in files to compiled rules, with everything found on the way: libraries, data models, value sets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from fhir_eligibility.algebra.arguments import (
    PathLike,
    existing,
    flag,
    instance_of,
    named,
    one_of,
    paths_of,
    several,
    text_of,
)
from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError
from fhir_eligibility.algebra.numbers_in_words import so_many
from fhir_eligibility.artifacts.libraries import load_libraries
from fhir_eligibility.artifacts.models import Model, load_model
from fhir_eligibility.artifacts.reader import ArtifactSet, load_artifacts
from fhir_eligibility.artifacts.records import ParameterValue
from fhir_eligibility.compiler.criteria.cql import CqlCriteria
from fhir_eligibility.compiler.criteria.parameters import unknown_names
from fhir_eligibility.compiler.criteria.rules import RuleSet, compile_artifact
from fhir_eligibility.compiler.criteria.warnings import criteria_warnings
from fhir_eligibility.data.terminology.check import check_value_sets
from fhir_eligibility.data.terminology.files import TerminologyOptions, open_terminology
from fhir_eligibility.data.terminology.value_sets import Terminology

__all__ = ["Criteria", "PathLike", "load_criteria", "study_date"]

OnError = Literal["raise", "keep"]


class Criteria(Struct):
    """Compiled criteria: one rule set an artifact, and everything found on the way. Pickles, so that other processes can screen with them."""

    rules: tuple[RuleSet, ...]
    diagnostics: tuple[Diagnostic, ...]
    fhir_version: str
    artifacts: ArtifactSet
    terminology: Terminology = field(default_factory=Terminology)
    study_start: str | None = None

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that are errors."""
        return tuple(d for d in self.diagnostics if d.severity == "error")

    def __repr__(self) -> str:
        named = ", ".join(rules.key for rules in self.rules[:3]) + (", ..." if len(self.rules) > 3 else "")
        count = sum(len(rules.rules) for rules in self.rules)
        warnings = sum(d.severity == "warning" for d in self.diagnostics)
        said = f"{count} criteri{'on' if count == 1 else 'a'}, {so_many(len(self.errors), 'error')}, {so_many(warnings, 'warning')}"
        return f"<Criteria {named or 'of no artifact'}: {said}, for patients in FHIR {self.fhir_version.upper()}>"


def study_date(text: str | None) -> str | None:
    """The date of the study's start as ISO 8601. Raises ValueError for text that is no whole date."""
    if text is None:
        return None
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(f"{text!r} is not a date of the study's start; write 2026-03-01") from None


def warnings_of(criteria: Criteria) -> list[Diagnostic]:
    """What `eligibility check` says besides `diagnostics`: criteria that are unknown for everyone, that nobody can meet, or that mean something else than was meant."""
    return [found for _, found in warnings_by_artifact(criteria)]


def warnings_by_artifact(criteria: Criteria) -> Iterator[tuple[RuleSet, Diagnostic]]:
    """The same, with the rule set that each is about."""
    artifacts = [artifact for artifact in criteria.artifacts.roots if artifact.criteria]
    for rules, artifact in zip(criteria.rules, artifacts, strict=True):
        for found in criteria_warnings(rules, artifact, criteria.terminology):
            yield rules, found


def load_criteria(
    *paths: PathLike,
    fhir_version: str | None = None,
    variables: Mapping[str, str] | None = None,
    lenient: bool = False,
    libraries: PathLike | Iterable[PathLike] = (),
    valuesets: PathLike | Iterable[PathLike] = (),
    allow_missing_valuesets: bool = False,
    terminology_options: TerminologyOptions | None = None,
    parameters: Sequence[ParameterValue] = (),
    force_fhir: bool = False,
    study_start: str | None = None,
    on_error: OnError = "raise",
) -> Criteria:
    """Read and compile the eligibility criteria in files, folders and bundles.

    Accepts EvidenceVariable (R4, R4B, R5), Group (R4 to R6) and ResearchStudy that points to either. `fhir_version` is that of
    the *patients* ('r4', 'r4b', 'r5'; default R4): the paths in expressions mean its elements. `variables` declares FHIRPath
    environment variables with their types. CQL libraries are looked for among `paths` and `libraries`,
    value sets there, in `valuesets`, and where `terminology_options` say (a manifest, a server); one that is missing is an error, with
    `allow_missing_valuesets` a warning. `parameters` are values for parameters of the CQL, from a Parameters resource; they go before
    those of the artifacts. A CQL library for another version of FHIR is an error unless `force_fhir`. `study_start` (an ISO 8601 date) is when the
    study starts, patients enrol and their eligibility is assessed, for criteria that count time from there; by default that is the time of evaluation.

    Raises DiagnosticError with all `diagnostics` where there is an error among them; with `on_error="keep"` they are only kept in `Criteria.diagnostics`, and
    criteria with errors are unknown for everyone. Raises FileNotFoundError for a path that does not exist, ValueError for an empty path, an unknown version or
    terminology options that mean nothing, and TypeError for values of another type.
    """
    one_of(on_error, "on_error", ("raise", "keep"))
    if not paths:
        raise ValueError("load_criteria: name at least one file or folder with criteria")
    given = [existing(path, "load_criteria") for path in paths]
    beside = paths_of(libraries, "libraries")
    sets = paths_of(valuesets, "valuesets")
    for name, value in (
        ("lenient", lenient),
        ("allow_missing_valuesets", allow_missing_valuesets),
        ("force_fhir", force_fhir),
    ):
        flag(value, name)
    if fhir_version is not None:
        text_of(fhir_version, "fhir_version")
    if study_start is not None:
        text_of(study_start, "study_start")
    if terminology_options is not None:
        instance_of(terminology_options, TerminologyOptions, "terminology_options", "TerminologyOptions")
    for parameter in several(parameters, "parameters"):
        instance_of(parameter, ParameterValue, "parameters", "values that read_parameters gives")
    found = _compiled(
        given,
        beside,
        sets,
        load_model(fhir_version or "r4"),
        named(variables, "variables", str),
        lenient,
        allow_missing_valuesets,
        terminology_options,
        tuple(parameters),
        force_fhir,
        study_date(study_start),
    )
    if on_error == "raise" and found.errors:
        raise DiagnosticError(sorted(found.diagnostics, key=lambda d: d.severity != "error"))
    return found


def _compiled(
    paths: Sequence[Path],
    libraries: Sequence[Path],
    valuesets: Sequence[Path],
    model: Model,
    variables: Mapping[str, str],
    lenient: bool,
    allow_missing_valuesets: bool,
    terminology_options: TerminologyOptions | None,
    parameters: Sequence[ParameterValue],
    force_fhir: bool,
    start: str | None,
) -> Criteria:
    """The criteria in some files, with everything found on the way."""
    found = load_artifacts(list(paths))
    store = load_libraries([*paths, *libraries])
    cql = CqlCriteria(store, model.version, parameters, force_fhir)
    rules = []
    terminology = open_terminology([*paths, *libraries, *valuesets], terminology_options)
    diagnostics = [*found.diagnostics, *store.diagnostics, *terminology.diagnostics]
    for artifact in found.roots:
        if not artifact.criteria:
            continue
        compiled = compile_artifact(
            artifact,
            fhir_version=model.version,
            variables=variables,
            lenient=lenient,
            cql=cql,
            study_start=start,
            hierarchy=terminology,
        )
        rules.append(compiled)
        diagnostics.extend(compiled.diagnostics)
        for rule in compiled.walk():
            if rule.code is not None:
                needed = rule.code.value_sets()
                rule.diagnostics += tuple(check_value_sets(needed, terminology, allow_missing_valuesets, rule.location))
            diagnostics.extend(rule.diagnostics)
    diagnostics += unknown_names(parameters, cql.known_parameters, "", "error")
    terminology.close()
    return Criteria(tuple(rules), tuple(dict.fromkeys(diagnostics)), model.version, found, terminology, start)
