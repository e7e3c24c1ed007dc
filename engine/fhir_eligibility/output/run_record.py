"""`run.json`: what a run was made from, so that it can be made again."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class OutputRecord(BaseModel):
    """Base: frozen, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class InputFile(OutputRecord):
    """A file that was read; of a server there is only its address."""

    path: str
    bytes: int | None = None
    sha256: str | None = None


class CriterionErrors(OutputRecord):
    """A criterion whose evaluation failed for some patients, for whom it is unknown."""

    criterion: str = Field(description="id of the criterion")
    patients: int = Field(description="for how many patients")
    message: str = Field(description="what went wrong for the first of them")


class ArtifactCounts(OutputRecord):
    """One artifact of a run: its verdicts, and how many patients each criterion was the first to remove."""

    artifact: str
    name: str = Field("", description="what files about it are named by: included-NAME.json")
    title: str
    version: str | None
    included: int
    excluded: int
    undetermined: int
    removed: dict[str, int] = Field(description="criterion id -> patients that it was the first to exclude")
    errors: list[CriterionErrors] = Field(
        default_factory=list, description="criteria whose evaluation failed for some patients"
    )

    @property
    def key(self) -> str:
        """`url|version`: what tells an artifact from others."""
        return f"{self.artifact}|{self.version}" if self.version else self.artifact


class UsedValueSet(OutputRecord):
    """A value set that criteria asked for, as it was used."""

    url: str
    version: str | None
    codes: int
    complete: bool = Field(description="false where more codes may belong to it than are known")
    digest: str = Field(description="SHA-256 of the codes, whatever the order they were given in")
    origin: str = Field(description="the file or the server that it came from")


class Resources(OutputRecord):
    """What became of all that was read: each resource was used, passed over because no criterion can need it, or is among the problems.

    Each line that is not blank, each entry of what a line or a file holds several of, and each file that holds one resource is one of these: a resource that was
    used or passed over, a problem, a deletion, or an entry without a resource.
    """

    used: dict[str, int] = Field(description="resource type -> how many were kept for their patients")
    passed: dict[str, int] = Field(description="resource type -> how many were passed over, unparsed unless --validate")
    problems: dict[str, int] = Field(
        default_factory=dict,
        description="resource type (`*`: not known) -> how many lines, entries and documents could not be read, or belong to no patient",
    )
    deletions: int = Field(0, description="entries that delete or patch a resource")
    empty: int = Field(0, description="other entries of bundles without a resource")
    files: int = Field(0, description="files that were read")
    lines: int = Field(0, description="lines of NDJSON")
    blank: int = Field(0, description="of these, blank ones")


class TypeRecord(OutputRecord):
    """How complete the records of one resource type are that criteria read."""

    type: str = Field(description="resource type; `*` for what is known to be missing of whatever type")
    state: Literal["complete", "incomplete", "tolerated", "absent"] = Field(
        description="complete: nothing is known to be missing; tolerated: damaged records are missing, as many as --tolerate allows; absent: there is none, and nothing tells that there should be"
    )
    found: int = Field(description="resources of the type that were read")
    why: str | None = Field(
        None, description="what is missing for all patients: files, and records of nobody knows whom"
    )
    of_patients: int = Field(0, description="records that are missing of patients who are known")
    undetermined: int = Field(
        0, description="undetermined verdicts with an answer that rests on the absence of such records"
    )
    resting: int = Field(0, description="other verdicts with such an answer")


class UsedParameter(OutputRecord):
    """A value that a parameter of a CQL library had, other than the default of the library."""

    library: str
    name: str
    value: str = Field(description="as CQL writes it")
    origin: str = Field(description="`given to the run`, the Parameters file, or the extension that it comes from")


class CriteriaWarning(OutputRecord):
    """What was said of criteria that were screened all the same."""

    artifact: str | None = Field(None, description="the artifact that it is about, None for terminology and libraries")
    code: str
    message: str
    location: str | None = Field(None, description="file, resource and element")
    hint: str | None = None


class UsedPseudonyms(OutputRecord):
    """How codes were made that outputs carry in the place of patients."""

    key: str = Field(description="what tells the key from others, and nothing of it")
    uids: Literal["coded", "kept"] = Field(description="whether DICOM UIDs are codes as well")


class EarlierRun(OutputRecord):
    """What was taken over from an earlier run (`--since`)."""

    taken: int = Field(description="patients whose verdicts were taken over; the others were judged anew")
    why_not: str | None = Field(None, description="why nobody was taken over, where something was in the way")


class RunRecord(OutputRecord):
    """One run of `eligibility screen`."""

    engine: str
    python: str
    started: str
    finished: str
    now: str = Field(description="the time of evaluation that criteria saw")
    timezone: str
    fhir_version: str
    options: dict[str, str | bool | int | float | list[str] | None]
    digests: dict[str, str] = Field(
        default_factory=dict,
        description="SHA-256 of what verdicts depend on - criteria, value sets, parameters, the program, and the data: files by name, size and time of change, other patients by their resources - to tell runs apart by",
    )
    criteria: list[InputFile]
    data: list[InputFile]
    value_sets: list[UsedValueSet] = Field(default_factory=list)
    parameters: list[UsedParameter] = Field(default_factory=list)
    warnings: list[CriteriaWarning] = Field(default_factory=list, description="warnings about the criteria")
    resources: Resources = Field(description="what became of the resources that were read")
    pseudonyms: UsedPseudonyms | None = Field(None, description="where outputs carry codes: how they were made")
    completeness: list[TypeRecord] = Field(
        default_factory=list,
        description="the resource types that criteria read, those with the most undetermined verdicts first",
    )
    since: EarlierRun | None = Field(None, description="of a run that goes by an earlier one: what was taken over")
    patients: int
    problems: int
    errors: int = Field(0, description="of the problems, those that are errors: something was lost")
    artifacts: list[ArtifactCounts]
