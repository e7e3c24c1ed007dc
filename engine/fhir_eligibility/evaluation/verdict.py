"""What leaves the engine for each patient: the verdict, its criteria, the evidence, and the images.

The JSON Schema of these records is published by `eligibility schema`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.data.archives.failure import FailureCause

Outcome = Literal["met", "not met", "unknown"]
Kind = Literal["inclusion", "exclusion"]
Role = Literal["met", "found", "examined"]
ROLES: tuple[Role, ...] = get_args(Role)
ROLE_MEANING = (
    "met: it satisfied the criterion; found: it is what the criterion looks for, but the criterion as a whole is not met or unknown (one that "
    "must not be there, too few, too many); examined: it was looked at and is not what the criterion looks for, or cannot be decided"
)


class Record(BaseModel):
    """Base of the outputs: frozen, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, use_enum_values=True)


class Evidence(Record):
    """One resource behind a criterion."""

    resource: str = Field(description="Type/id")
    role: Role = Field(description=ROLE_MEANING)
    value: str | None = Field(None, description="value as written")
    unit: str | None = Field(None, description="unit as written, the UCUM code where there is one")
    date: str | None = Field(None, description="date as written; a period as start/end")
    code: str | None = Field(None, description="first coding, as system|code")
    display: str | None = Field(None, description="the code in words")
    failed: str | None = Field(None, description="the clause that failed, or 'unknown: ' and the clause undecided")
    note: str | None = Field(None, description="how the value was read, where not as written")
    file: str | None = Field(None, description="file that the resource was read from")


class Series(Record):
    """One DICOM series."""

    uid: str | None = Field(None, description="Series Instance UID, None where there is no valid one")
    modality: str | None = None
    description: str | None = None
    body_site: str | None = None
    instances: list[str] = Field(default_factory=list, description="SOP Instance UIDs")
    url: str | None = Field(None, description="WADO-RS URL of the series")


class ImagingLink(Record):
    """One imaging study behind a criterion, with its DICOM UIDs."""

    criterion: str = Field(description="id of the criterion")
    role: Role
    resource: str = Field(description="ImagingStudy/id")
    study: str | None = Field(None, description="Study Instance UID, None where there is no valid one")
    series: list[Series] = Field(default_factory=list)
    series_count: int | None = Field(None, description="number of series of the whole study, as the record says")
    instance_count: int | None = Field(None, description="number of instances of the whole study, as the record says")
    started: str | None = None
    modality: list[str] = Field(default_factory=list)
    accession: str | None = None
    status: str | None = None
    url: str | None = Field(None, description="WADO-RS URL of the study")
    urls: list[str] = Field(default_factory=list, description="WADO-RS URLs, one an archive that holds the study")
    failed: str | None = Field(None, description="the clause that failed")
    warnings: list[str] = Field(default_factory=list)


class HoldingState(StrEnum):
    """What archives say of a study. The list is closed."""

    PRESENT = "present"
    """All that the record lists is held."""
    MISMATCH = "mismatch"
    """All of it is held, but counts, modality or date differ from the record."""
    PARTIAL = "partial"
    """The study is held, but series or instances are missing."""
    ABSENT = "absent"
    """Asked for by itself, the study is not there."""
    PATIENT_MISMATCH = "patient-mismatch"
    """It is held for a Patient ID that is none of the patient's identifiers."""
    UNREACHABLE = "unreachable"
    """There was no answer; `reason` tells why."""
    UNIDENTIFIED = "unidentified"
    """The record has no valid Study Instance UID, so that it cannot be asked for."""


class MissingInstances(Record):
    """Instances of a series that is held, which are not."""

    series: str
    instances: list[str]


class Holding(Record):
    """What archives hold of one study of one patient."""

    patient: str
    resource: str = Field(description="ImagingStudy/id")
    study: str | None = Field(None, description="Study Instance UID")
    state: HoldingState
    reason: FailureCause | None = Field(None, description="why there was no answer")
    detail: str | None = None
    archive: str | None = Field(None, description="address of the archive that this is about")
    missing_series: list[str] = Field(default_factory=list)
    missing_instances: list[MissingInstances] = Field(default_factory=list)
    differences: list[str] = Field(default_factory=list, description="what differs from the record")
    asked: str | None = Field(None, description="when the archive was asked")
    question: str | None = Field(None, description="hash of what was asked, by which an answer is used again")


class PatientIdentifier(Record):
    """An identifier of the patient, by which archives know them (DICOM: Patient ID)."""

    system: str | None = None
    value: str


# What is the same for all patients of a run: it is in criteria.json, once.
ONCE = "in Python; lines of verdicts.ndjson do not repeat it, criteria.json has it once"


class CriterionResult(Record):
    """One criterion for one patient. `members` are those of a combination."""

    id: str
    title: str | None = Field(None, description=ONCE)
    kind: Kind | None = Field(None, description=ONCE)
    outcome: Outcome = Field(description="truth of the criterion itself; an exclusion criterion has to be 'not met'")
    reason: Reason | None = Field(None, description="why it is unknown")
    detail: str | None = None
    evidence: list[Evidence] = Field(default_factory=list)
    members: list[CriterionResult] = Field(default_factory=list)
    expression: str | None = Field(None, description=f"the FHIRPath or CQL that was evaluated ({ONCE})")
    plain_cql: Outcome | None = Field(
        None,
        description="what CQL answers, which drops rows that cannot be decided, where keeping them changes the answer",
    )

    def __repr__(self) -> str:
        reason = f", {self.reason}" if self.reason else ""
        kind = f" ({self.kind})" if self.kind else ""
        return f"<CriterionResult {self.id}: {self.outcome}{reason}{kind}>"

    __str__ = __repr__


class Evaluated(Record):
    """What the verdict depends on besides the data."""

    now: str
    timezone: str
    engine: str
    definition_version: str | None = None
    fhir_version: str


class Verdict(Record):
    """One patient against one artifact."""

    patient: str
    artifact: str = Field(description="canonical url, else type and id; versions of one artifact share it")
    artifact_version: str | None = Field(None, description="version of the artifact, where it has one")
    artifact_title: str | None = Field(None, description=ONCE)
    verdict: Literal["included", "excluded", "undetermined"]
    deciding: list[str] = Field(description="ids of the criteria that decided, in order")
    criteria: list[CriterionResult]
    imaging: list[ImagingLink] = Field(default_factory=list)
    identifiers: list[PatientIdentifier] = Field(
        default_factory=list,
        description="identifiers of the patient (and of others whose images are), where images are linked",
    )
    holdings: list[Holding] = Field(
        default_factory=list, description="what archives say of the patient's studies, where images are required"
    )
    incomplete: list[str] | None = Field(
        None,
        description="resource types whose records may be missing from the data, where an answer rests on their absence (`*`: any type)",
    )
    evaluated: Evaluated | None = Field(None, description=ONCE)

    def __repr__(self) -> str:
        name = f"{self.artifact}|{self.artifact_version}" if self.artifact_version else self.artifact
        return f"<Verdict {self.patient}: {self.verdict} by {name}>"

    __str__ = __repr__
