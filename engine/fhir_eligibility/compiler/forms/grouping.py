"""Codes that include others: a coded characteristic that asks for one is met by the codes below it.

What includes what is never guessed. Classifications (ICD-10, ATC, OPS) say it by the text of their codes; for any other code system a CodeSystem with
a hierarchy, or a value set of the descendants, must be given. Where neither is, only the exact code matches, and that is said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol

from msgspec.structs import asdict

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.algebra.values.code_systems import (
    SNOMED,
    block_of,
    canonical,
    is_classification,
    label,
    prefix_of,
)
from fhir_eligibility.artifacts.records import (
    CodeableConceptDefinition,
    CodedConcept,
    Coding,
    Criterion,
    DataRequirementDefinition,
    TypeAndValueDefinition,
    Value,
)
from fhir_eligibility.compiler.forms.base import quoted
from fhir_eligibility.compiler.forms.codings import GroupedCoding

LISTED = 200  # codes that are written out; more are asked for as a value set


class Hierarchy(Protocol):
    """What terminology tells of the codes below and above others."""

    def descendants(self, system: str, code: str) -> tuple[frozenset[str], bool, str] | None:
        """A code and all below it, whether these are all, and the value set that they are; None where nothing tells."""

    def ancestors(self, system: str, code: str) -> frozenset[str]:
        """What a code is below of, as far as it is known."""


# What a concept of SNOMED CT is by its semantic tag, and by the hierarchy that it stands in.
# A finding may be a diagnosis, an allergy, or what was observed; a procedure may be an encounter; a product that is given may be a vaccine.
_CLINICAL = ("condition", "observation", "allergy")
_PROCEDURE = ("procedure", "encounter")
# An examination by images may be recorded as the study that it gave.
_IMAGING = (*_PROCEDURE, "imaging-procedure")
_PRODUCT = ("medication", "immunization")
_TAGS = {
    "disorder": _CLINICAL,
    "finding": _CLINICAL,
    "situation": (*_CLINICAL, *_PROCEDURE),
    "event": _CLINICAL,
    "morphologic abnormality": _CLINICAL,
    "procedure": _PROCEDURE,
    "regime/therapy": _PROCEDURE,
    "observable entity": ("observation",),
    "substance": ("medication",),
    "product": _PRODUCT,
    "medicinal product": _PRODUCT,
    "medicinal product form": _PRODUCT,
    "clinical drug": _PRODUCT,
    "physical object": ("device",),
}
_IMAGING_TOP = "363679005"
_TOPS = {
    _IMAGING_TOP: _IMAGING,
    "64572001": _CLINICAL,
    "404684003": _CLINICAL,
    "243796009": (*_CLINICAL, *_PROCEDURE),
    "272379006": _CLINICAL,
    "71388002": _PROCEDURE,
    "363787002": ("observation",),
    "105590001": ("medication",),
    "373873005": _PRODUCT,
    "763158003": _PRODUCT,
    "260787004": ("device",),
}
# Words of what SNOMED CT calls examinations by images, and how their codes begin in classifications of procedures.
_IMAGING_WORDS = re.compile(
    r"imag|magnetic resonance|\bmri?\b|tomogra|\b(?:ct|pet|spect|dxa)\b|ultraso|sonogra|echogra|echocardio|radiogra|radiolog|x-?ray"
    r"|mammogra|scintigra|angiogra|venogra|arteriogra|cholangi\w*gra|urogra|myelogra|arthrogra|fluorosc|densitomet|\bscan",
    re.IGNORECASE,
)
_IMAGING_CODES = {
    "http://fhir.de/CodeSystem/bfarm/ops": "3-",
    "http://www.ama-assn.org/go/cpt": "7",
    "http://www.cms.gov/Medicare/Coding/ICD10": "B",
}
_TAG = re.compile(r"\(([a-z/ ]+)\)\s*$")


def grouped(criterion: Criterion, hierarchy: Hierarchy | None) -> Criterion:
    """A coded characteristic whose codings know what they include; known spellings of code systems are the canonical ones."""
    definition = criterion.definition
    changes: dict[str, Any] = {}
    if isinstance(definition, CodeableConceptDefinition):
        changes["definition"] = definition.changed(concept=_concept(definition.concept, hierarchy))
    elif isinstance(definition, TypeAndValueDefinition):
        update: dict[str, Any] = {"type": _concept(definition.type, hierarchy)}
        update["value"] = _value(definition.value, hierarchy)
        update["methods"] = tuple(_concept(method, hierarchy) for method in definition.methods)
        changes["definition"] = definition.changed(**update)
    elif isinstance(definition, DataRequirementDefinition):
        filters = tuple(
            one.changed(codes=tuple(_coding(coding, hierarchy) for coding in one.codes))
            for one in definition.code_filters
        )
        changes["definition"] = definition.changed(code_filters=filters)
    if criterion.timing:
        changes["timing"] = tuple(
            constraint.changed(event=_value(constraint.event, hierarchy)) for constraint in criterion.timing
        )
    return criterion.changed(**changes) if changes else criterion


def kinds_of_coding(coding: Coding) -> tuple[str, ...]:
    """The kinds of record that a coding says it belongs to, by its hierarchy or its semantic tag; empty where it says nothing."""
    if isinstance(coding, GroupedCoding) and coding.kinds:
        return coding.kinds
    if coding.system != SNOMED:
        begins = _IMAGING_CODES.get(coding.system or "")
        imaging = begins is not None and (coding.code or "").startswith(begins)
        return ("procedure", "imaging-procedure") if imaging else ()
    if coding.code == _IMAGING_TOP:
        return _IMAGING
    tag = _TAG.search(coding.display or "")
    kinds = _TAGS.get(tag[1], ()) if tag is not None else ()
    return _IMAGING if kinds == _PROCEDURE and _IMAGING_WORDS.search(coding.display or "") else kinds


def _value(value: Value | None, hierarchy: Hierarchy | None) -> Value | None:
    if value is None or value.concept is None:
        return value
    return value.changed(concept=_concept(value.concept, hierarchy))


def _concept(concept: CodedConcept, hierarchy: Hierarchy | None) -> CodedConcept:
    codings = tuple(_coding(coding, hierarchy) for coding in concept.codings)
    if concept.value_set is not None:
        # any code of the value set, whatever its system (extension codeOptions)
        member = f"memberOf({quoted(concept.value_set)})"
        codings += (GroupedCoding(system=None, code=concept.value_set, display=concept.text, condition=member),)
    return concept.changed(codings=codings, value_set=None)


def _coding(coding: Coding, hierarchy: Hierarchy | None) -> Coding:
    if coding.system is None or coding.code is None:
        return coding
    system = canonical(coding.system)
    fields = {**asdict(coding), "system": system}
    if is_classification(system):
        return GroupedCoding(**fields, condition=_classified(system, coding.code))
    known = hierarchy.descendants(system, coding.code) if hierarchy is not None else None
    if known is None:
        return GroupedCoding(**fields, exact=system == SNOMED)
    assert hierarchy is not None
    found, whole, url = known
    above = hierarchy.ancestors(system, coding.code) | {coding.code}
    kinds = next((kinds for top, kinds in _TOPS.items() if top in above), ()) if system == SNOMED else ()
    if found == {coding.code} and whole:
        return GroupedCoding(**fields, kinds=kinds)
    if whole and len(found) <= LISTED:
        codes = " | ".join(quoted(code) for code in sorted(found))
        return GroupedCoding(**fields, kinds=kinds, condition=f"system = {quoted(system)} and code in ({codes})")
    return GroupedCoding(**fields, kinds=kinds, condition=f"memberOf({quoted(url)})")


def _classified(system: str, code: str) -> str | None:
    """FHIRPath on a Coding for a category or block of a classification, None for a code that includes nothing else."""
    prefix, block = prefix_of(system, code), block_of(system, code)
    if prefix is not None:
        return f"system = {quoted(system)} and code.startsWith({quoted(prefix)})"
    if block is not None:
        category = "code.substring(0, 3)"
        return f"system = {quoted(system)} and {category} >= {quoted(block[0])} and {category} <= {quoted(block[1])}"
    return None


def exact_codes(codes: list[str], location: str) -> Diagnostic:
    """The finding that codes match only themselves."""
    message = f"only the exact code matches: {', '.join(codes)}; a record with a more specific code does not count"
    hint = "give the CodeSystem with its hierarchy, or a value set of the code and all below it (--valuesets)"
    return Diagnostic("exact-code", message, "warning", location=location, hint=hint)


def exact_only(concepts: Iterable[CodedConcept]) -> list[str]:
    """The codes of concepts (that went through `grouped`) that match only themselves although they may include others, in words."""
    codings = [coding for concept in concepts for coding in concept.codings]
    found = [coding for coding in codings if isinstance(coding, GroupedCoding) and coding.exact]
    return list(dict.fromkeys(f"{label(coding.system)} {coding.code}" for coding in found))
