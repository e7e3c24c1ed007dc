"""Criteria in files to compiled rules, with everything found on the way: libraries, data models, value sets."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.algebra.diagnostic import Diagnostic
from engine.artifacts.libraries import load_libraries
from engine.artifacts.models import load_model
from engine.artifacts.reader import ArtifactSet, load_artifacts
from engine.artifacts.records import ParameterValue
from engine.compiler.cql.criterion import CqlCriteria
from engine.compiler.cql.parameters import unknown_names
from engine.compiler.rules import RuleSet, compile_artifact
from engine.data.terminology import Terminology
from engine.data.terminology_check import check_value_sets
from engine.data.terminology_files import TerminologyOptions, open_terminology

PathLike = str | Path


@dataclass(slots=True)
class Criteria:
    """Compiled criteria: one rule set an artifact, and everything found on the way."""

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


def study_date(text: str | None) -> str | None:
    """The date of the study's start as ISO 8601. Raises ValueError for text that is no whole date."""
    if text is None:
        return None
    try:
        return dt.date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(f"{text!r} is no date of the study's start; write 2026-03-01") from None


def load_criteria(
    *paths: PathLike,
    fhir_version: str | None = None,
    variables: Mapping[str, str] | None = None,
    lenient: bool = False,
    libraries: Iterable[PathLike] = (),
    valuesets: Iterable[PathLike] = (),
    allow_missing_valuesets: bool = False,
    terminology_options: TerminologyOptions | None = None,
    parameters: Sequence[ParameterValue] = (),
    force_fhir: bool = False,
    study_start: str | None = None,
) -> Criteria:
    """Read and compile the eligibility criteria in files, folders and bundles.

    Accepts EvidenceVariable (R4, R4B, R5), Group (R4 to R6) and ResearchStudy that points to either. `fhir_version` is that of
    the *patients* ('r4', 'r4b', 'r5'; default R4): the paths in expressions mean its elements. `variables` declares FHIRPath
    environment variables with their types. CQL libraries are looked for among `paths` and `libraries`,
    value sets there, in `valuesets`, and where `terminology_options` say (a manifest, a server); one that is missing is an error, with
    `allow_missing_valuesets` a warning. `parameters` are values for parameters of the CQL, from a Parameters resource; they go before
    those of the artifacts. A CQL library for another version of FHIR is an error unless `force_fhir`. `study_start` (an ISO 8601 date) is when the
    study starts, patients enrol and their eligibility is assessed, for criteria that count time from there; by default that is the time of evaluation.
    Problems are in `diagnostics`; nothing raises but a path that does not exist
    (FileNotFoundError), an unknown version, or terminology options that mean nothing (ValueError).
    """
    model = load_model(fhir_version or "r4")
    start = study_date(study_start)
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
    return Criteria(tuple(rules), tuple(diagnostics), model.version, found, terminology, start)
