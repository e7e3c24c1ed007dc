"""Which resources a coded characteristic speaks of: type codes to kinds, kinds to resource types, tests on status, and dates.

Most published criteria are a coded type and a value. The table holds the type codes met in real artifacts, and the FHIR types by
name; a LOINC code is an observation of that code.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.artifacts.models import Model
from engine.artifacts.records import Concept
from engine.compiler.forms.base import Selection, concept_condition, in_concept

SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
DICOM = "http://dicom.nema.org/resources/ontology/DCM"

# Kinds by SNOMED CT type code.
_SNOMED_KINDS = {
    "64572001": "condition",
    "404684003": "condition",
    "260905004": "condition",
    "439401001": "condition",
    "282291009": "condition",
    "71388002": "procedure",
    "387713003": "procedure",
    "18629005": "medication",
    "763158003": "medication",
    "410942007": "medication",
    "373873005": "medication",
    "105590001": "medication",
    "609328004": "allergy",
    "419076005": "allergy",
    "416098002": "allergy",
    "106190000": "allergy",
    "49062001": "device",
    "305335007": "encounter",
    "305056002": "encounter",
    "308335008": "encounter",
    "57177007": "family-history",
    "416471007": "family-history",
    "397669002": "age",
    "424144002": "age",
    "263495000": "gender",
    "184100006": "gender",
    "734000001": "gender",
    "363679005": "imaging",
    "127785005": "immunization",
    "33879002": "immunization",
}
_LOINC_KINDS = {"30525-0": "age", "29553-5": "age", "76689-9": "gender", "46098-0": "gender", "21840-4": "gender"}
_TEXT_KINDS = {
    "gender": "gender",
    "sex": "gender",
    "age": "age",
    "drug class": "medication",
    "medication exposure": "medication",
    "medication": "medication",
    "drug": "medication",
    "disease": "condition",
    "condition": "condition",
    "diagnosis": "condition",
    "procedure": "procedure",
    "allergy": "allergy",
    "device": "device",
    "family history": "family-history",
    "family illness": "family-history",
    "defined by codeableconcept": "value",
    "defined by reference": "value",
    "imaging": "imaging",
}
_RESOURCE_KINDS = {
    "Condition": "condition",
    "Procedure": "procedure",
    "Medication": "medication",
    "MedicationRequest": "medication",
    "MedicationAdministration": "medication",
    "MedicationStatement": "medication",
    "MedicationDispense": "medication",
    "AllergyIntolerance": "allergy",
    "Device": "device",
    "Encounter": "encounter",
    "FamilyMemberHistory": "family-history",
    "ImagingStudy": "imaging",
    "Immunization": "immunization",
    "Observation": "any-observation",
}
_TYPE_SYSTEMS = (
    "http://hl7.org/fhir/resource-types",
    "http://hl7.org/fhir/fhir-types",
    "http://hl7.org/fhir/FHIRDefinedType",
)


def kind_of_type(concept: Concept) -> tuple[str, str | None]:
    """Kind that a type concept names, and the resource type where it names one.

    `observation` means: an observation whose code is this concept itself.
    """
    for coding in concept.codings:
        if coding.system in _TYPE_SYSTEMS and coding.code in _RESOURCE_KINDS:
            return _RESOURCE_KINDS[coding.code], coding.code
        if coding.system == SNOMED and coding.code in _SNOMED_KINDS:
            return _SNOMED_KINDS[coding.code], None
        if coding.system == LOINC and coding.code in _LOINC_KINDS:
            return _LOINC_KINDS[coding.code], None
        if coding.code and coding.code.lower() in _TEXT_KINDS and not coding.system:
            return _TEXT_KINDS[coding.code.lower()], None
    if any(coding.code and coding.system for coding in concept.codings):
        return "observation", None
    text = (concept.text or "").strip().lower()
    if text in _TEXT_KINDS:
        return _TEXT_KINDS[text], None
    return "unknown", None


@dataclass(frozen=True, slots=True)
class ResourceKind:
    """How records of one resource type are read: where the code stands, what status counts, which dates it has."""

    code: str
    tests: tuple[str, ...]
    dates: tuple[str, ...]


# The drug is a concept, or a reference to a Medication with one.
MEDICATION_R4 = "(medication.ofType(CodeableConcept) | medication.ofType(Reference).resolve().ofType(Medication).code)"
MEDICATION_R5 = "(medication.concept | medication.reference.resolve().ofType(Medication).code)"
# Where that reference leads nowhere nobody can tell which drug it was: the test is unknown.
_UNRESOLVED = {
    MEDICATION_R4: "medication.ofType(Reference).exists() and medication.ofType(Reference).resolve().empty() and {}",
    MEDICATION_R5: "medication.reference.exists() and medication.reference.resolve().empty() and {}",
}
_R4 = {
    "Observation": ResourceKind(
        "code",
        ("status in ('final' | 'amended' | 'corrected')",),
        ("effective.ofType(dateTime)", "effective.ofType(Period).start"),
    ),
    "Condition": ResourceKind(
        "code",
        ("verificationStatus.coding.exists(code = 'refuted' or code = 'entered-in-error').not()",),
        ("onset.ofType(dateTime)", "onset.ofType(Period).start", "recordedDate"),
    ),
    "Procedure": ResourceKind(
        "code", ("status = 'completed'",), ("performed.ofType(dateTime)", "performed.ofType(Period).start")
    ),
    "MedicationRequest": ResourceKind(
        MEDICATION_R4,
        ("status in ('active' | 'completed' | 'on-hold')", "(intent in ('proposal' | 'plan')).not()"),
        ("authoredOn",),
    ),
    "MedicationAdministration": ResourceKind(
        MEDICATION_R4,
        ("status in ('completed' | 'in-progress')",),
        ("effective.ofType(dateTime)", "effective.ofType(Period).start"),
    ),
    "MedicationStatement": ResourceKind(
        MEDICATION_R4,
        ("status in ('active' | 'completed' | 'recorded')",),
        ("effective.ofType(dateTime)", "effective.ofType(Period).start"),
    ),
    "MedicationDispense": ResourceKind(
        MEDICATION_R4,
        ("status in ('completed' | 'in-progress')",),
        ("whenHandedOver", "whenPrepared"),
    ),
    "AllergyIntolerance": ResourceKind(
        "code",
        ("verificationStatus.coding.exists(code = 'refuted' or code = 'entered-in-error').not()",),
        ("onset.ofType(dateTime)", "recordedDate"),
    ),
    "Immunization": ResourceKind("vaccineCode", ("status = 'completed'",), ("occurrence.ofType(dateTime)",)),
    "Encounter": ResourceKind(
        "type", ("status in ('finished' | 'completed' | 'in-progress' | 'arrived' | 'triaged')",), ("period.start",)
    ),
    "DeviceUseStatement": ResourceKind(
        "device.resolve().type", ("status in ('active' | 'completed')",), ("timing.ofType(Period).start",)
    ),
    "FamilyMemberHistory": ResourceKind("condition.code", ("status in ('completed' | 'partial')",), ("date",)),
    "ImagingStudy": ResourceKind("series.modality", ("status = 'available'",), ("started",)),
}
_R5_CHANGES = {
    "Procedure": ResourceKind(
        "code", ("status = 'completed'",), ("occurrence.ofType(dateTime)", "occurrence.ofType(Period).start")
    ),
    "MedicationRequest": ResourceKind(MEDICATION_R5, _R4["MedicationRequest"].tests, ("authoredOn",)),
    "MedicationAdministration": ResourceKind(
        MEDICATION_R5,
        _R4["MedicationAdministration"].tests,
        ("occurence.ofType(dateTime)", "occurence.ofType(Period).start"),
    ),
    "MedicationStatement": ResourceKind(MEDICATION_R5, ("status = 'recorded'",), _R4["MedicationStatement"].dates),
    "MedicationDispense": ResourceKind(
        MEDICATION_R5, _R4["MedicationDispense"].tests, ("whenHandedOver", "whenPrepared")
    ),
    "Encounter": ResourceKind(
        "type", ("status in ('completed' | 'in-progress' | 'discharged')",), ("actualPeriod.start",)
    ),
    "DeviceUsage": ResourceKind("device.concept", ("status in ('active' | 'completed')",), ()),
}

_TYPES_OF_KIND = {
    "condition": ("Condition",),
    "procedure": ("Procedure",),
    "medication": ("MedicationRequest", "MedicationAdministration", "MedicationStatement", "MedicationDispense"),
    "allergy": ("AllergyIntolerance",),
    "immunization": ("Immunization",),
    "encounter": ("Encounter",),
    "device": ("DeviceUseStatement", "DeviceUsage"),
    "family-history": ("FamilyMemberHistory",),
    "imaging": ("ImagingStudy",),
    "observation": ("Observation",),
    "any-observation": ("Observation",),
}
# Kinds that a concept may belong to when nothing but its code system is known.
_KINDS_OF_SYSTEM = {
    LOINC: ("observation",),
    "http://hl7.org/fhir/sid/icd-10": ("condition",),
    "http://hl7.org/fhir/sid/icd-10-cm": ("condition",),
    "http://hl7.org/fhir/sid/icd-9-cm": ("condition",),
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm": ("condition",),
    "http://www.cms.gov/Medicare/Coding/ICD10": ("procedure",),
    "http://www.ama-assn.org/go/cpt": ("procedure",),
    "http://fhir.de/CodeSystem/bfarm/ops": ("procedure",),
    "http://www.nlm.nih.gov/research/umls/rxnorm": ("medication",),
    "http://www.whocc.no/atc": ("medication",),
    "http://fhir.de/CodeSystem/bfarm/atc": ("medication",),
    "http://hl7.org/fhir/sid/cvx": ("immunization",),
    DICOM: ("imaging",),
}
_ANY_KINDS = ("condition", "procedure", "observation", "medication")


def resource_kind(model: Model, resource_type: str) -> ResourceKind | None:
    """How a resource type is read in a version of FHIR, None where it has no such type or no rule here."""
    if resource_type not in model.resource_types:
        return None
    if model.version == "r5" and resource_type in _R5_CHANGES:
        return _R5_CHANGES[resource_type]
    return _R4.get(resource_type) or _R5_CHANGES.get(resource_type)


def types_of_kind(model: Model, kind: str) -> list[str]:
    """Resource types of a kind that a version of FHIR has."""
    return [name for name in _TYPES_OF_KIND.get(kind, ()) if resource_kind(model, name) is not None]


def kinds_of_concept(concept: Concept) -> tuple[str, ...]:
    """Kinds that a concept may belong to, by its code systems."""
    for coding in concept.codings:
        if coding.system in _KINDS_OF_SYSTEM:
            return _KINDS_OF_SYSTEM[coding.system]
    return _ANY_KINDS


def selection(model: Model, resource_type: str, concept: Concept | None, *, only_counting: bool = True) -> Selection:
    """Rows of a resource type with a concept as their code, and with a status that counts."""
    rule = resource_kind(model, resource_type)
    assert rule is not None
    chosen = Selection(resource_type)
    if concept is not None:
        if resource_type == "ImagingStudy":
            chosen.code_test = _modality_test(model, concept)
        else:
            chosen.code_test = in_concept(rule.code, concept)
            if rule.code in _UNRESOLVED:
                chosen.code_test = f"({chosen.code_test} or ({_UNRESOLVED[rule.code]}))"
    if only_counting:
        chosen.tests.extend(rule.tests)
    return chosen


def _modality_test(model: Model, concept: Concept) -> str:
    """A study has a modality where the study or one of its series says so."""
    condition = concept_condition(concept)
    coding = ".coding" if model.version == "r5" else ""
    return f"(series.modality{coding} | modality{coding}).exists({condition})"


def date_paths(model: Model, resource_type: str) -> tuple[str, ...]:
    """FHIRPath paths from a row to its point in time. Empty where the type has none."""
    rule = resource_kind(model, resource_type)
    return rule.dates if rule is not None else ()


def concept_selections(model: Model, concept: Concept, kinds: tuple[str, ...]) -> list[Selection]:
    """Rows of all resource types of some kinds that carry a concept as their code."""
    return [selection(model, name, concept) for kind in kinds for name in types_of_kind(model, kind)]
