"""Truth of criteria: what a value comes to, and Kleene logic over several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhir_eligibility.algebra.values.element import Element, to_boolean, to_system
from fhir_eligibility.compiler.criteria.cql import CqlCode
from fhir_eligibility.compiler.criteria.fhirpath_code import FhirPathCriterion

AnyCode = FhirPathCriterion | CqlCode


def truth(code: AnyCode, value: Any) -> bool | None:
    """A result as the truth of a criterion (FHIRPath: "Singleton Evaluation of Collections").

    Where a Boolean is expected, one Boolean is its value, any other value is true, and nothing is unknown. Several values are true,
    unless they are Booleans that differ. A list of records that is empty is false: it tells that there is none.
    Raises EvaluationError `malformed-data` for data that has something else in the place of a Boolean.
    """
    if value is True or value is False or value is None and code.boolean:
        return value
    if code.boolean:
        return to_boolean(value)
    if value.__class__ is not list:
        value = () if value is None else (value,)
    elif not value:
        return False if getattr(code, "records", True) else None
    plain = {
        to_system(one)
        for one in value
        if one is True or one is False or (one.__class__ is Element and one.type == "boolean")
    }
    if plain:  # a Boolean with extensions alone is unknown
        return plain.pop() if len(plain) == 1 else None
    return True if value else None


def combine(kind: str, threshold: int | None, values: Sequence[bool | None]) -> bool | None:
    """Kleene logic over criteria: `all-of`, `any-of`, `at-least`, `at-most`, `except-subset`.

    Unknown members leave a range of possible counts; the answer is known only where the whole range agrees.
    Raises ValueError for any other kind: compiled rules have none.
    """
    met = values.count(True)
    possible = met + values.count(None)
    if kind in ("all-of", "except-subset"):
        return False if possible < len(values) else True if met == len(values) else None
    if kind == "any-of":
        return True if met else None if possible else False
    if threshold is None or kind not in ("at-least", "at-most"):
        raise ValueError(f"a combination of kind {kind!r} (threshold {threshold}) has no truth value")
    if kind == "at-least":
        return True if met >= threshold else None if possible >= threshold else False
    return True if possible <= threshold else None if met <= threshold else False
