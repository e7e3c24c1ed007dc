"""Which resources a coded characteristic speaks of: type codes to kinds, kinds to resource types, tests on status, and dates.

Most published criteria are a coded type and a value. The table holds the type codes met in real artifacts, and the FHIR types by
name; a LOINC code is an observation of that code.
"""

from __future__ import annotations

from functools import cache

from msgspec import Struct

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.algebra.values.code_systems import DICOM
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.records import CodedConcept, Coding
from fhir_eligibility.compiler.forms.base import NotComputable, Selection, concept_condition, in_concept
from fhir_eligibility.compiler.forms.grouping import kinds_of_coding
from fhir_eligibility.compiler.forms.statuses import ABSENT_REASONS, AFFIRMED, DEVICE_STATUS, NOT_OPEN, content_tests

SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"

IMAGING_PROCEDURE = "imaging-procedure"
"""The kind of what may be recorded as the procedure of an imaging study."""

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
    "encounter": "encounter",
    "episode of care": "episode-of-care",
    "episodeofcare": "episode-of-care",
    "family history": "family-history",
    "family illness": "family-history",
    "defined by codeableconcept": "value",
    "defined by reference": "value",
    "imaging": "imaging",
}
_RESOURCE_KINDS = {
    "Condition": "condition",
    "Medication": "medication",
    "MedicationRequest": "medication",
    "MedicationAdministration": "medication",
    "MedicationStatement": "medication",
    "MedicationDispense": "medication",
    "AllergyIntolerance": "allergy",
    "Device": "device",
    "Encounter": "encounter",
    "EpisodeOfCare": "episode-of-care",
    "DeviceUseStatement": "device",
    "DeviceUsage": "device",
    "Procedure": "procedure",
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


def kind_of_type(concept: CodedConcept) -> tuple[str, str | None]:
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


class ResourceKind(Struct, frozen=True):
    """How records of one resource type are read: where the code stands, conditions besides the status, which dates it has."""

    code: str
    dates: tuple[str, ...]
    tests: tuple[str, ...] = ()


# The drug is a concept, or a reference to a Medication with one.
MEDICATION_R4 = "(medication.ofType(CodeableConcept) | medication.ofType(Reference).resolve().ofType(Medication).code)"
MEDICATION_R5 = "(medication.concept | medication.reference.resolve().ofType(Medication).code)"
DEVICE_R4 = "device.resolve().ofType(Device).type"
DEVICE_R5 = "(device.concept | device.reference.resolve().ofType(Device).type)"
# A study says the modalities of its series, too.
_MODALITY_R4, _MODALITY_R5 = "(series.modality | modality)", "(series.modality.coding | modality.coding)"
# Where that reference leads nowhere nobody can tell which drug or device it was: the test is unknown.
_UNRESOLVED = {
    DEVICE_R4: "device.exists() and device.resolve().empty() and {}",
    DEVICE_R5: "device.reference.exists() and device.reference.resolve().empty() and {}",
    MEDICATION_R4: "medication.ofType(Reference).exists() and "
    "medication.ofType(Reference).resolve().ofType(Medication).empty() and {}",
    MEDICATION_R5: "medication.reference.exists() and medication.reference.resolve().ofType(Medication).empty() and {}",
}
_MEASURED = ("effective.ofType(dateTime)", "effective.ofType(instant)", "effective.ofType(Period).start")
# The day of its recording stands for the onset where no onset is told in any way.
_RECORDED = "where(onset.empty()).recordedDate"


def _day_or_period(element: str) -> tuple[str, str]:
    """The dates of a record that was on a day or in a period."""
    return f"{element}.ofType(dateTime)", f"{element}.ofType(Period).start"


_BEGAN = (*_day_or_period("onset"), _RECORDED)


@cache
def _resource_kinds(model: Model) -> dict[str, ResourceKind]:
    """How the records of each type are read in a version of FHIR."""
    drug = drug_path(model)
    administered = _day_or_period(model.first_of("MedicationAdministration", "effective", "occurence"))
    return {
        "Observation": ResourceKind("code", _MEASURED),
        "Condition": ResourceKind("code", _BEGAN),
        "Procedure": ResourceKind("code", _day_or_period(model.first_of("Procedure", "performed", "occurrence"))),
        "MedicationRequest": ResourceKind(drug, ("authoredOn",)),
        "MedicationAdministration": ResourceKind(drug, administered),
        "MedicationStatement": ResourceKind(drug, _day_or_period("effective")),
        "MedicationDispense": ResourceKind(drug, ("whenHandedOver", "whenPrepared")),
        "AllergyIntolerance": ResourceKind("code", _BEGAN),
        "Immunization": ResourceKind("vaccineCode", ("occurrence.ofType(dateTime)",)),
        "Encounter": ResourceKind("type", (f"{model.first_of('Encounter', 'period', 'actualPeriod')}.start",)),
        "EpisodeOfCare": ResourceKind("type", ("period.start",)),
        "DeviceUseStatement": ResourceKind(DEVICE_R4, _day_or_period("timing")),
        "DeviceUsage": ResourceKind(DEVICE_R5, _day_or_period("timing")),
        # a device of the patient, and not one that was used on them, names the patient
        "Device": ResourceKind("type", (), ("patient.exists()", DEVICE_STATUS)),
        "FamilyMemberHistory": ResourceKind("condition.code", ("date",)),
        "ImagingStudy": ResourceKind("series.modality", ("started",)),
    }


_TYPES_OF_KIND = {
    "condition": ("Condition",),
    "procedure": ("Procedure",),
    "medication": ("MedicationRequest", "MedicationAdministration", "MedicationStatement", "MedicationDispense"),
    "allergy": ("AllergyIntolerance",),
    "immunization": ("Immunization",),
    "encounter": ("Encounter",),
    "episode-of-care": ("EpisodeOfCare",),
    "device": ("DeviceUseStatement", "DeviceUsage", "Device"),
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
    ACT_CODE: ("encounter",),
}
_ANY_KINDS = (
    "condition",
    "procedure",
    "observation",
    "medication",
    "immunization",
    "encounter",
    "device",
    IMAGING_PROCEDURE,
)
# Kinds that a concept is looked for in besides those that it is of by its nature: that a record of theirs is in words does not tell that the concept is meant.
_ALSO = frozenset({"allergy", "encounter", "immunization", "device", IMAGING_PROCEDURE})
# Code systems that say nothing that a clinical record could be about: languages, countries, and what FHIR itself codes.
_NO_KIND = ("urn:ietf:", "urn:iso:", "http://hl7.org/fhir/", "http://terminology.hl7.org/CodeSystem/")
_RACE = ("urn:oid:2.16.840.1.113883.6.238",)


def resource_kind(model: Model, resource_type: str) -> ResourceKind | None:
    """How a resource type is read in a version of FHIR, None where it has no such type or no rule here."""
    if resource_type not in model.resource_types:
        return None
    if resource_type == "Device" and model.element("Device", "patient") is None:
        return None  # R5: the patient stands in DeviceUsage
    return _resource_kinds(model).get(resource_type)


def drug_path(model: Model) -> str:
    """FHIRPath from a record of a drug to its code, by a concept or by a reference."""
    return MEDICATION_R5 if drug_in_one_element(model) else MEDICATION_R4


def drug_in_one_element(model: Model) -> bool:
    """Whether a record names its drug in one element for concepts and references (CodeableReference)."""
    return "CodeableReference" in model.types_of("MedicationRequest", "medication")


def modality_path(model: Model) -> str:
    """FHIRPath from an imaging study to the codings of its modalities."""
    return _MODALITY_R5 if "CodeableConcept" in model.types_of("ImagingStudy.series", "modality") else _MODALITY_R4


def types_of_kind(model: Model, kind: str) -> list[str]:
    """Resource types of a kind that a version of FHIR has."""
    return [name for name in _TYPES_OF_KIND.get(kind, ()) if resource_kind(model, name) is not None]


def kinds_of_concept(concept: CodedConcept) -> tuple[str, ...]:
    """Kinds that a concept may belong to, by its code systems, and what its hierarchy or its semantic tag says.

    Raises NotComputable for a concept whose code systems are about no kind of record.
    """
    found: dict[str, None] = {}
    for coding in concept.codings:
        kinds = kinds_of_coding(coding) or _KINDS_OF_SYSTEM.get(coding.system or "", ())
        if coding.system == SNOMED and coding.code in _CLASSES:
            kinds = (*kinds, "encounter")
        found.update(dict.fromkeys(kinds))
    systems = [coding.system or "" for coding in concept.codings if coding.code and coding.system not in ABSENT_REASONS]
    if not found and systems and all(map(_of_no_kind, systems)):
        raise NotComputable(
            f"codes of {systems[0]} are about no kind of record; where the data has them has to be said by an expression",
            Reason.NEEDS_REVIEW,
        )
    return tuple(found) or _ANY_KINDS


def _of_no_kind(system: str) -> bool:
    return system in _RACE or (system.startswith(_NO_KIND) and not system.startswith("http://hl7.org/fhir/sid/"))


_UNDECIDED_CONTENT = "no status of it tells whether that is or was the case"


def selection(
    model: Model,
    resource_type: str,
    concept: CodedConcept | None,
    *,
    only_counting: bool = True,
    maybe_elsewhere: bool = True,
) -> Selection:
    """Rows of a resource type with a concept as their code, and with a status that counts.

    A code that stands in a resource that is not among the data is unknown. With `maybe_elsewhere` false it is another one: the concept may be of many
    kinds, and nothing says that it is of this one.
    """
    rule = resource_kind(model, resource_type)
    if rule is None:
        return Selection(resource_type, list(content_tests(model, resource_type)))
    chosen = Selection(resource_type, concept=concept, code_path=rule.code)
    if concept is not None:
        chosen.code_test = code_test(model, resource_type, rule, concept, maybe_elsewhere)
    if only_counting:
        tests = content_tests(model, resource_type)
        chosen.tests.extend((*rule.tests, *tests))
        chosen.sentences.update((test, _UNDECIDED_CONTENT) for test in tests)
    return chosen


def code_test(
    model: Model, resource_type: str, rule: ResourceKind, concept: CodedConcept, maybe_elsewhere: bool = True
) -> str:
    """FHIRPath condition on a row: that a concept is what it is about."""
    if resource_type == "ImagingStudy":
        return _imaging_test(model, concept)
    if resource_type == "Encounter":
        return _encounter_test(model, concept)
    test = in_concept(rule.code, concept)
    return f"({test} or ({_UNRESOLVED[rule.code]}))" if rule.code in _UNRESOLVED and maybe_elsewhere else test


def _imaging_test(model: Model, concept: CodedConcept) -> str:
    """A study has a modality where the study or one of its series says so; any other concept is its procedure or its reason."""
    modalities = tuple(coding for coding in concept.codings if coding.system in (DICOM, None))
    others = tuple(coding for coding in concept.codings if coding.system not in (DICOM, None))
    tests = []
    if modalities or not others:
        condition = concept_condition(concept.changed(codings=modalities))
        tests.append(f"{modality_path(model)}.exists({condition})")
    if others:
        two = model.has_element("ImagingStudy", "procedureCode")
        paths = ("procedureCode", "reasonCode") if two else ("procedure.concept", "reason.concept")
        tests.append(in_concept(f"({' | '.join(paths)})", concept.changed(codings=others)))
    return tests[0] if len(tests) == 1 else f"({' or '.join(tests)})"


# Classes of encounters (ActEncounterCode) by what SNOMED CT calls them.
_CLASSES = {
    "32485007": ("IMP", "ACUTE", "NONAC"),
    "416800000": ("IMP", "ACUTE", "NONAC"),
    "4525004": ("EMER",),
    "50849002": ("EMER",),
}


def _encounter_test(model: Model, concept: CodedConcept) -> str:
    """An encounter is of a class (inpatient, emergency ...) or of a type; a hospital admission is known by its class as well."""
    classes = {coding.code: None for coding in concept.codings if coding.system == ACT_CODE and coding.code}
    for coding in concept.codings:
        if coding.system == SNOMED and coding.code in _CLASSES:
            classes.update(dict.fromkeys(_CLASSES[coding.code]))
    if not classes:
        return in_concept("type", concept)
    wanted = CodedConcept(codings=tuple(Coding(system=ACT_CODE, code=code) for code in classes))
    path = "class.coding" if "CodeableConcept" in model.types_of("Encounter", "class") else "class"
    tests = [f"{path}.exists({concept_condition(wanted)})"]
    others = tuple(coding for coding in concept.codings if coding.system != ACT_CODE and coding.code)
    if others:
        tests.append(in_concept("type", concept.changed(codings=others)))
    return tests[0] if len(tests) == 1 else f"({' or '.join(tests)})"


def date_paths(model: Model, resource_type: str) -> tuple[str, ...]:
    """FHIRPath paths from a row to its point in time. Empty where the type has none."""
    rule = resource_kind(model, resource_type)
    return rule.dates if rule is not None else ()


def concept_selections(model: Model, concept: CodedConcept, kinds: tuple[str, ...]) -> list[Selection]:
    """Rows of all resource types of some kinds that carry a concept as their code, and affirm it."""
    certain = len(set(kinds_of_concept(concept)) - _ALSO) <= 1 or len(kinds) == 1
    found = [
        selection(model, name, concept, maybe_elsewhere=certain)
        for kind in kinds
        for name in types_of_kind(model, kind)
    ]
    for chosen in found:
        if chosen.type == "Observation":
            chosen.tests.append(AFFIRMED)
            chosen.sentences[NOT_OPEN] = "its value does not tell whether it affirms what it is coded as"
    return found


def studied(model: Model, concept: CodedConcept) -> Selection:
    """Imaging studies whose procedure is a concept: the examination was made, whether a Procedure says so or not."""
    path = "procedureCode" if model.has_element("ImagingStudy", "procedureCode") else "procedure.concept"
    tests = list(content_tests(model, "ImagingStudy"))
    return Selection(
        "ImagingStudy",
        tests,
        in_concept(path, concept),
        concept,
        path,
        dict.fromkeys(tests, _UNDECIDED_CONTENT),
    )


def in_doubt(model: Model, concept: CodedConcept, kinds: tuple[str, ...]) -> list[Selection]:
    """Rows that carry a concept in a place where it may or may not mean that it is the case: each leaves the criterion unknown.

    An Observation may have it as its value: whether the patient has it depends on what was asked ("smoking status", "diagnosis of the mother").
    """
    found = []
    if "condition" in kinds and "observation" in kinds:
        value = in_concept("value.ofType(CodeableConcept)", concept)
        tests = [*content_tests(model, "Observation"), "{}"]
        sentence = "the concept is its value: what was asked tells whether the patient has it"
        found.append(Selection("Observation", tests, f"({value})", sentences={"{}": sentence}))
    if kinds == _ANY_KINDS:
        row = selection(model, "AllergyIntolerance", concept)
        row.tests.append("{}")
        row.sentences["{}"] = "nothing tells whether the concept is the allergy, or what the allergy is to"
        found.append(row)
    return found
