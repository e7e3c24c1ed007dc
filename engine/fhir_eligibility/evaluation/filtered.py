"""Exports of which only those records are there that searches find: whether a criterion asks for no other ones.

A filter is a search for codes of one type (`Observation?code=a,b`), as `eligibility requirements --bulk` writes it from criteria.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from fhir_eligibility.compiler.analysis.requirements import DataRequirement
from fhir_eligibility.compiler.criteria.cql import CqlCode
from fhir_eligibility.compiler.criteria.fhirpath_code import FhirPathCriterion

_PATHS = {("Immunization", "vaccine-code"): "vaccineCode"} | {
    (kind, "type"): "type" for kind in ("Encounter", "Device", "Specimen")
}
"""The elements that searches look at, where they are not called like the parameter. Others than `code` are not known to find all that has a code."""
_COMMA = re.compile(r"(?<!\\),")


def asks_for_no_others(code: FhirPathCriterion | CqlCode, kind: str, filters: tuple[str, ...]) -> bool:
    """Whether all records of a type that a criterion asks for are among those that filters find; only what is certain counts."""
    asked = code.reads().get(kind)
    if asked is None or asked.unfiltered or not (asked.codes or asked.value_sets):
        return False
    if isinstance(code, CqlCode):
        for _, uses in code.compiled.reached([code.define]):
            if any(one.spec.negated and one.spec.resource_type == kind for one in uses.retrievals):
                return False  # a record of what was not done may name a whole value set
    return _are_found(asked, filters)


def _are_found(asked: DataRequirement, filters: tuple[str, ...]) -> bool:
    codes: set[tuple[str, str]] = set()
    value_sets: set[tuple[str, str]] = set()
    for text in filters:
        parameters = parse_qsl(text.partition("?")[2], keep_blank_values=True)
        if len(parameters) != 1:
            continue
        name, _, modifier = parameters[0][0].partition(":")
        path = _PATHS.get((asked.type, name)) or ("code" if name == "code" else None)
        if path is None:
            continue
        if modifier == "in":
            value_sets.add((path, parameters[0][1]))
        elif not modifier:
            codes |= {(path, re.sub(r"\\(.)", r"\1", one)) for one in _COMMA.split(parameters[0][1])}
    return value_sets >= asked.value_sets and all(
        (path, code) in codes or (path, f"{system}|{code}") in codes for path, system, code in asked.codes
    )
