"""Records that are coded in other code systems than a coded characteristic asks for: nobody can tell from them that it does not hold.

A patient of whom some record of the kind has a code of the criterion's system is decided by that system. Where none has, a record of the kind whose codes are
all of other systems, or that has no code, leaves the criterion unknown. An observation's coded value is looked at by itself.
"""

from __future__ import annotations

from msgspec.structs import replace

from fhir_eligibility.algebra.values.code_systems import DICOM
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.records import CodedConcept, Criterion, TypeAndValueDefinition, Value
from fhir_eligibility.compiler.forms.base import CodedOtherwise, Selection, label, quoted
from fhir_eligibility.compiler.forms.kinds import drug_in_one_element, modality_path
from fhir_eligibility.compiler.forms.values import CODED, value_test

# JSON names on the way to the code that a record of each type is about; types that are missing here are known by other elements too.
_CODES = {
    "Condition": ("code",),
    "Procedure": ("code",),
    "AllergyIntolerance": ("code",),
    "Immunization": ("vaccineCode",),
    "MedicationRequest": ("medicationCodeableConcept",),
    "MedicationAdministration": ("medicationCodeableConcept",),
    "MedicationStatement": ("medicationCodeableConcept",),
    "MedicationDispense": ("medicationCodeableConcept",),
}


# Types that a concept of another kind is looked for in as well.
_ALSO = {"AllergyIntolerance", "Encounter", "Immunization", "Device", "DeviceUseStatement", "DeviceUsage"}


def coded_otherwise(model: Model, criterion: Criterion, selections: list[Selection]) -> list[CodedOtherwise]:
    """What to look for where a characteristic does not hold, from its selections with all their tests."""
    found = []
    types = {chosen.type for chosen in selections}
    if "Procedure" in types:
        types.discard("ImagingStudy")  # the procedure of a study is looked for as well
    kinds = {"Medication" if name.startswith("Medication") else name for name in types} - _ALSO
    for chosen in selections:
        if chosen.concept is not None and chosen.type == "ImagingStudy":
            found.append(_studies(model, chosen, chosen.concept))
        if chosen.concept is None or chosen.type not in _CODES:
            continue
        meant = len(types) == 1 or (len(kinds) <= 1 and chosen.type not in _ALSO) or chosen.type == "Condition"
        if meant or (chosen.type == "AllergyIntolerance" and "allerg" in label(chosen.concept).lower()):
            found.append(_records(model, chosen, chosen.concept))
    definition = criterion.definition
    if isinstance(definition, TypeAndValueDefinition) and definition.value is not None and definition.value.concept:
        found += _values(selections, definition.value.concept)
    counted = criterion.instances is not None
    return [replace(one, counted=counted) for one in found if one is not None]


def _records(model: Model, chosen: Selection, concept: CodedConcept) -> CodedOtherwise | None:
    systems = systems_of(concept)
    if systems is None or chosen.code_path is None:
        return None
    path: tuple[str, ...] = _CODES[chosen.type]
    if drug_in_one_element(model) and chosen.type.startswith("Medication"):
        path = ("medication", "concept")
    of_system = f"{chosen.code_path}.coding.exists({of_systems(systems)})"
    tests = [f"{of_system}.not()", *chosen.tests]
    if chosen.type.startswith("Medication"):
        tests.insert(0, f"({chosen.code_path}.exists() or medication.empty())")
    rows = f"{chosen.type}.where({' and '.join(tests)})"
    return CodedOtherwise(f"iif({chosen.type}.exists({of_system}), {{}}, {rows})", path, systems)


def _studies(model: Model, chosen: Selection, concept: CodedConcept) -> CodedOtherwise | None:
    """Imaging studies whose modalities, their own and those of their series, are all of other code systems, or not recorded."""
    if systems_of(concept) != (DICOM,):
        return None
    of_system = f"{modality_path(model)}.exists({of_systems((DICOM,))})"
    rows = f"ImagingStudy.where({' and '.join([f'{of_system}.not()', *chosen.tests])})"
    return CodedOtherwise(f"iif(ImagingStudy.exists({of_system}), {{}}, {rows})", ("series", "modality"), (DICOM,))


def _values(selections: list[Selection], concept: CodedConcept) -> list[CodedOtherwise]:
    """Observations of the criterion's code whose value is a code of other systems."""
    systems = systems_of(concept)
    found = []
    test = value_test(Value(kind="concept", concept=concept), None)
    for chosen in selections:
        if systems is None or chosen.type != "Observation" or test not in chosen.tests:
            continue
        value = CODED
        tests = [one for one in chosen.tests if one != test]
        tests += [f"{value}.exists()", f"{value}.coding.exists({of_systems(systems)}).not()"]
        rows = Selection("Observation", tests, chosen.code_test).rows
        found.append(CodedOtherwise(rows, ("valueCodeableConcept",), systems))
    return found


def systems_of(concept: CodedConcept) -> tuple[str, ...] | None:
    """The code systems of a concept, None where one of its codings has none."""
    codings = [coding for coding in concept.codings if coding.code]
    if not codings or any(coding.system is None for coding in codings):
        return None
    return tuple(dict.fromkeys(str(coding.system) for coding in codings))


def of_systems(systems: tuple[str, ...]) -> str:
    """FHIRPath on a Coding: that it is a code of one of some code systems; a coding without a code tells no more than a text."""
    named = " or ".join(f"system = {quoted(system)}" for system in systems)
    return f"({named}) and code.exists()"
