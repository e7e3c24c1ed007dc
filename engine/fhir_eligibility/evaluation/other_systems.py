"""Records whose codes are of other code systems than a criterion asks for, in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.algebra.values.code_systems import label
from fhir_eligibility.compiler.criteria.rule_parts import OtherSystems


def coded_otherwise(row: dict[str, Any], asked: OtherSystems) -> tuple[Reason, str]:
    """Why a record cannot decide: the reason, and a sentence that names it and its code systems."""
    name = f"{row.get('resourceType')}/{row.get('id', '(no id)')}"
    wanted = " or ".join(label(system) for system in asked.systems)
    concepts = list(_at(row, asked.path))
    if asked.path[0] == "series":  # a study says the modalities of its series, too
        concepts += _at(row, asked.path[1:])
    systems = dict.fromkeys(label(coding.get("system")) for concept in concepts for coding in _codings(concept))
    about = "its value" if asked.path[0].startswith("value") else "it"
    if systems:
        subject = f"{name} has" if about == "it" else f"the value of {name} has"
        return (
            Reason.OTHER_CODE_SYSTEM,
            f"{subject} codes of {' and '.join(systems)} only; the criterion asks for {wanted}",
        )
    element = "modality" if asked.path[0] == "series" else asked.path[0]
    texts = [text for concept in concepts if isinstance(text := concept.get("text"), str)]
    if texts:
        return (
            Reason.MISSING_VALUE,
            f"{name}: `{element}` is text without a code ({texts[0][:80]!r}); the criterion asks for {wanted}",
        )
    if concepts or "medicationReference" not in row and "reference" not in str(row.get("medication")):
        return Reason.MISSING_VALUE, f"{name}: `{element}` has no code; the criterion asks for {wanted}"
    return Reason.OTHER_CODE_SYSTEM, f"{name} has codes of other code systems only; the criterion asks for {wanted}"


def _at(value: Any, path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    if value.__class__ is list:
        for item in value:
            yield from _at(item, path)
    elif value.__class__ is dict:
        if not path:
            yield value
        elif path[0] in value:
            yield from _at(value[path[0]], path[1:])


def _codings(concept: dict[str, Any]) -> list[dict[str, Any]]:
    """The codings of a CodeableConcept, or a Coding itself."""
    found = concept.get("coding", [concept])
    return [item for item in found if item.__class__ is dict and item.get("code")] if found.__class__ is list else []
