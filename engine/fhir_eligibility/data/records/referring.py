"""What a reference says by itself of what it means: the version, and the type."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.artifacts.references import meaning_of
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.members import dict_of
from fhir_eligibility.data.records.sources import Loaded, OnProblem


def in_version(
    found: Loaded | None, reference: str, holder: Loaded | None, on_problem: OnProblem
) -> dict[str, Any] | None:
    """What was found for a reference, None where it is of another version than the reference names; that is reported, if the holder is known.

    FHIR: "Resolving references in Bundles".
    """
    if found is None or found.resource is None:
        return None
    version = meaning_of(reference).version
    if version is not None:
        if str(dict_of(found.resource.get("meta")).get("versionId")) != version:
            if holder is not None:
                message = f"{reference} names a version that is not among the data"
                where = {"file": holder.file, "line": holder.line, "offset": holder.offset, "entry": holder.entry}
                what = {"resource": holder.name, "code": "version-not-found", "message": message}
                on_problem(Problem(**where, **what, severity="warning"))
            return None
    return found.resource


def no_person(reference: str) -> EvaluationError:
    """The error where a reference means something that no patient's data could be retrieved for."""
    return EvaluationError(
        "related-context", f"expected a reference to a patient whose data can be retrieved, found {reference}"
    )


def check_names_person(reference: str) -> None:
    """Raise `no_person` for a reference that names a type which is no person's."""
    found = meaning_of(reference)
    if found.form == "address" and found.kind not in ("Patient", "RelatedPerson"):
        raise no_person(reference)
