"""What a record says about its own content: which statuses count, and whether a record affirms what it is coded as.

A criterion asks whether something is or was the case. A status answers yes, no, or neither (a stopped treatment, a provisional
diagnosis): the last leaves its row in doubt. A result that nobody has verified yet does not count. `docs/verdicts.md` holds the table for readers.
"""

from __future__ import annotations

from fhir_eligibility.artifacts.models import Model


def _among(path: str, codes: tuple[str, ...]) -> str:
    if len(codes) == 1:
        return f"{path} = '{codes[0]}'"
    return f"{path} in ({' | '.join(repr(code) for code in codes)})"


def status_test(yes: tuple[str, ...], no: tuple[str, ...], path: str = "status") -> str:
    """FHIRPath: true for a status of `yes`, false for one of `no`, unknown for any other and for none."""
    return f"({_among(path, yes)} or (({_among(path, no)}).not() and {{}}))"


_ERROR = "entered-in-error"
_REQUEST = (("active", "on-hold", "completed", "ended"), ("draft", "revoked", "cancelled", _ERROR))

# By resource type: statuses of what is or was the case, and of what is not. Codes of all versions of FHIR stand together.
STATUSES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Observation": (("final", "amended", "corrected"), ("registered", "preliminary", "cancelled", _ERROR)),
    "DiagnosticReport": (
        ("final", "amended", "corrected", "appended"),
        ("registered", "partial", "preliminary", "cancelled", _ERROR),
    ),
    "Procedure": (("completed", "in-progress"), ("preparation", "not-done", _ERROR)),
    "MedicationRequest": (("active", "completed", "on-hold", "ended"), ("draft", "cancelled", _ERROR)),
    "MedicationAdministration": (("completed", "in-progress"), ("not-done", _ERROR)),
    "MedicationStatement": (("active", "completed", "recorded"), ("not-taken", "intended", "draft", _ERROR)),
    "MedicationDispense": (("completed", "in-progress"), ("preparation", "cancelled", "declined", _ERROR)),
    "Immunization": (("completed",), ("not-done", _ERROR)),
    "Encounter": (
        ("finished", "completed", "in-progress", "arrived", "triaged", "onleave", "on-hold", "discharged"),
        ("planned", "cancelled", _ERROR),
    ),
    "EpisodeOfCare": (("active", "finished", "onhold"), ("planned", "waitlist", "cancelled", _ERROR)),
    "DeviceUseStatement": (("active", "completed"), ("intended", _ERROR)),
    "DeviceUsage": (("active", "completed"), ("intended", "not-done", _ERROR)),
    "FamilyMemberHistory": (("completed", "partial"), (_ERROR,)),
    "ImagingStudy": (("available",), ("cancelled", _ERROR)),
    "ServiceRequest": _REQUEST,
    "DeviceRequest": _REQUEST,
    "NutritionOrder": _REQUEST,
    "CommunicationRequest": _REQUEST,
}

# Diagnoses and allergies: refuted is not the case; one that is only being considered neither is nor is not, and so is one whose status nobody can read.
VERIFIED = (
    "verificationStatus.coding.exists(code = 'refuted' or code = 'entered-in-error').not()",
    "(verificationStatus.coding.exists(code = 'unconfirmed' or code = 'provisional' or code = 'differential').not() or {})",
    "(verificationStatus.empty() or verificationStatus.coding.exists(code = 'confirmed' or code = 'refuted' or code = 'entered-in-error'"
    " or code = 'unconfirmed' or code = 'provisional' or code = 'differential') or {})",
)
# A device has no status that says it is worn; without one it is taken as it stands.
DEVICE_STATUS = "(status.empty() or status = 'active' or ((status = 'entered-in-error').not() and {}))"
# An order not to do something is no order.
NOT_FORBIDDEN = "(doNotPerform.exists() and doNotPerform = true).not()"


def content_tests(model: Model, resource_type: str) -> tuple[str, ...]:
    """FHIRPath conditions on a row of a type: that its content is or was the case."""
    tests: list[str] = []
    if resource_type in ("Condition", "AllergyIntolerance"):
        tests.extend(VERIFIED)
    elif resource_type in STATUSES:
        tests.append(status_test(*STATUSES[resource_type]))
    if model.element(resource_type, "intent") is not None and resource_type.endswith(("Request", "Order")):
        tests.append("(intent in ('proposal' | 'plan' | 'option')).not()")
    if model.element(resource_type, "doNotPerform") is not None:
        tests.append(NOT_FORBIDDEN)
    if resource_type == "MedicationStatement" and model.element(resource_type, "adherence") is not None:
        tests.append(f"adherence.code.coding.exists({_among('code', _NOT_TAKING)}).not()")
    return tuple(tests)


_NOT_TAKING = ("not-taking",)

# Answers that say no, and answers that say that nobody knows: SNOMED CT qualifiers and LOINC answer codes ...
_NEGATIVE_CODES = (
    "373067005",  # No
    "260385009",  # Negative
    "2667000",  # Absent
    "272519000",  # Absence findings
    "260415000",  # Not detected
    "410516002",  # Known absent
    "410594000",  # Definitely NOT present
    "47492008",  # Not seen
    "LA32-8",  # No
    "LA9634-2",  # Absent
    "LA6577-6",  # Negative
    "LA11883-8",  # Not detected
)
_UNKNOWN_CODES = (
    "261665006",  # Unknown
    "373068000",  # Undetermined
    "82334004",  # Indeterminate
    "419984006",  # Inconclusive
    "42425007",  # Equivocal
    "385432009",  # Not applicable
    "LA4489-6",  # Unknown
    "LA11884-6",  # Indeterminate
    "LA4720-4",  # Not applicable
    "LA12688-0",  # Don't know
)
# ... and codes whose meaning depends on their system.
_YES_NO = "http://terminology.hl7.org/CodeSystem/v2-0136"
_EXPANDED_YES_NO = "http://terminology.hl7.org/CodeSystem/v2-0532"
_INTERPRETATION = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"
ABSENT_REASONS = (
    "http://terminology.hl7.org/CodeSystem/data-absent-reason",
    "http://hl7.org/fhir/data-absent-reason",
    "http://terminology.hl7.org/CodeSystem/v3-NullFlavor",
    "http://hl7.org/fhir/v3/NullFlavor",
)
_NEGATIVE_WORDS = ("no", "negative", "absent", "not detected", "not present", "none", "false")
_AFFIRMING_WORDS = ("yes", "positive", "present", "detected", "true")

_TEXT = "(value.ofType(string) | value.ofType(CodeableConcept).where(coding.empty()).text)"
_NEGATIVE_CODING = (
    f"{_among('code', _NEGATIVE_CODES)} or "
    f"{_among('system', (_YES_NO, _EXPANDED_YES_NO))} and code = 'N' or "
    f"system = '{_INTERPRETATION}' and {_among('code', ('NEG', 'ND'))}"
)
UNKNOWN_CODING = (
    f"{_among('code', _UNKNOWN_CODES)} or {_among('system', ABSENT_REASONS)} or "
    f"{_among('system', (_EXPANDED_YES_NO, _INTERPRETATION))} and {_among('code', ('UNK', 'NASK', 'ASKU', 'NA', 'NAV', 'IND', 'E'))}"
)

_DENIED = (
    "value.ofType(boolean).exists($this = false) or "
    f"value.ofType(CodeableConcept).coding.exists({_NEGATIVE_CODING}) or "
    f"{_TEXT}.exists({_among('$this.lower()', _NEGATIVE_WORDS)})"
)
_OPEN = (
    f"dataAbsentReason.exists() or value.ofType(CodeableConcept).coding.exists({UNKNOWN_CODING}) or "
    f"{_TEXT}.exists(({_among('$this.lower()', _AFFIRMING_WORDS)}).not())"
)
# An Observation that is coded as the thing itself affirms it, unless its value says no, or leaves it open.
NOT_OPEN = f"(({_OPEN}).not() or {{}})"
AFFIRMED = f"({_DENIED}).not() and {NOT_OPEN}"
