"""Who has a row: a patient whom no Patient resource describes has one only where a record that some criterion reads names them, however the records are read and kept."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from fhir_eligibility.compiler.criteria.reading import ReadPlan, TypePlan
from fhir_eligibility.data.bulk.needles import Needles
from fhir_eligibility.data.patients.compartment import Compartment

_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=repr).encode
_needles = lru_cache(maxsize=256)(Needles.of)


def has_row(patient: Compartment, plan: ReadPlan) -> bool:
    """Whether a patient has a row. What a record may be instead, where it is in doubt, counts as well."""
    if patient.patient is not None or not patient.resources:
        return True
    if any(_is_read(one, plan) for same in patient.resources.values() for one in same):
        return True
    return any(_is_read(form, plan) for doubt in patient.doubts for form in doubt.forms if form is not None)


def _is_read(resource: dict[str, Any], plan: ReadPlan) -> bool:
    """Whether some criterion may read a resource: it is of a type that they read, and what they read of it says what they look for.

    Nothing but the elements that are read tells that: others may be at hand or not, as the resource was kept, and so may the way in which it was written.
    """
    asked: TypePlan | None = plan.of(resource["resourceType"])
    if asked is None:
        return False
    needles = _needles(asked)
    if needles is None:
        return True
    elements = asked.elements
    kept = resource if elements is None else {name: value for name, value in resource.items() if name in elements}
    return needles.found(_encode(kept))
