"""The codes that elements of records may have by their required bindings, in R4, R4B, R5 or the ballots of R6: of the elements that say whether a record counts, and of a few others.

A value that is none of them is told: an expression that compares the element finds nothing, and nobody would see why.
"""

from __future__ import annotations

_ERROR = "entered-in-error"
_REQUEST = f"draft active on-hold revoked completed ended {_ERROR} unknown"
_INTENT = "proposal plan directive order original-order reflex-order filler-order instance-order option"
_EVENT = f"preparation in-progress not-done on-hold stopped completed {_ERROR} unknown"
_USE = f"active completed not-done {_ERROR} intended stopped on-hold"
_REPORT = (
    f"registered partial preliminary modified final amended corrected appended cancelled deprecated {_ERROR} unknown"
)
_LISTED = {
    "AllergyIntolerance.criticality": "low high unable-to-assess",
    "Appointment.status": f"proposed pending booked arrived fulfilled cancelled noshow {_ERROR} checked-in waitlist",
    "CarePlan.intent": "proposal plan order option directive",
    "CarePlan.status": _REQUEST,
    "CommunicationRequest.status": _REQUEST,
    "Composition.status": _REPORT,
    "Consent.status": f"draft proposed active rejected inactive not-done {_ERROR} unknown",
    "Coverage.status": f"active cancelled draft {_ERROR}",
    "Device.status": f"active inactive {_ERROR} unknown",
    "DeviceRequest.intent": _INTENT,
    "DeviceRequest.status": _REQUEST,
    "DeviceUsage.status": _USE,
    "DeviceUseStatement.status": _USE,
    "DiagnosticReport.status": _REPORT,
    "DocumentReference.status": f"current superseded {_ERROR}",
    "Encounter.status": "planned arrived triaged in-progress onleave on-hold discharged finished completed cancelled "
    f"discontinued {_ERROR} unknown",
    "EpisodeOfCare.status": f"planned waitlist active onhold finished cancelled {_ERROR}",
    "FamilyMemberHistory.status": f"partial completed {_ERROR} health-unknown",
    "Goal.lifecycleStatus": f"proposed planned accepted active on-hold completed cancelled {_ERROR} rejected",
    "ImagingStudy.status": f"registered available cancelled inactive {_ERROR} unknown",
    "Immunization.status": f"completed {_ERROR} not-done",
    "MedicationAdministration.status": f"in-progress not-done on-hold completed {_ERROR} stopped unknown",
    "MedicationDispense.status": f"{_EVENT} cancelled declined",
    "MedicationRequest.intent": _INTENT,
    "MedicationRequest.status": f"active on-hold ended cancelled completed {_ERROR} stopped draft unknown",
    "MedicationStatement.status": f"active completed recorded draft {_ERROR} intended stopped on-hold unknown not-taken",
    "NutritionOrder.status": _REQUEST,
    "Observation.status": f"{_REPORT} specimen-in-process cannot-be-obtained",
    "Patient.gender": "male female other unknown",
    "Procedure.status": _EVENT,
    "QuestionnaireResponse.status": f"in-progress completed amended {_ERROR} stopped",
    "ServiceRequest.intent": _INTENT,
    "ServiceRequest.status": _REQUEST,
    "Specimen.status": f"available unavailable unsatisfactory {_ERROR}",
}
CODES = {path: frozenset(listed.split()) for path, listed in _LISTED.items()}
"""By path of the element."""
