"""Code that is run beside that of a rule, to tell what its answer means."""

from __future__ import annotations

from msgspec import Struct

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.compiler.criteria.fhirpath_code import FhirPathCriterion


class Cause(Struct):
    """Where `code` is true for a patient, a criterion that is unknown is so for this reason."""

    code: FhirPathCriterion
    reason: Reason
    detail: str


class OtherSystems(Struct, frozen=True):
    """Finds records that are coded in other systems than `systems`; `path` leads to their codes by JSON names. Where records are
    `counted`, one more may change any answer; else only the answer that there is none.
    """

    code: FhirPathCriterion
    path: tuple[str, ...]
    systems: tuple[str, ...]
    counted: bool = False
