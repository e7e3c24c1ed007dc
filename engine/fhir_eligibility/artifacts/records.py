"""Neutral records of eligibility criteria: what EvidenceVariable, Group and ResearchStudy of any version say, in one shape.

Version differences end in the readers; compiler and evaluation know only these.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, Self

from msgspec import Struct
from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.algebra.reasons import Reason


class ArtifactRecord(Struct, frozen=True, kw_only=True):
    """Base of all records: frozen, and made by keywords. Their readers are given JSON of FHIR's shape (`shape.py`), so that types are not checked again."""

    def changed(self, **values: Any) -> Self:
        """The same record with other values."""
        return replace(self, **values)


class Location(ArtifactRecord, frozen=True, kw_only=True):
    """Where something stands: file, resource (`EvidenceVariable/ev1`), element path, and line and column in the file."""

    file: str | None = None
    resource: str = ""
    pointer: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place += f":{self.line}:{self.column}"
        return " ".join(part for part in (place, self.resource, self.pointer) if part)


class Coding(ArtifactRecord, frozen=True, kw_only=True):
    """A code of a code system."""

    system: str | None = None
    code: str | None = None
    display: str | None = None
    version: str | None = None


class CodedConcept(ArtifactRecord, frozen=True, kw_only=True):
    """A CodeableConcept: codings that mean the same, a value set of which any code will do (extension codeOptions), and text."""

    codings: tuple[Coding, ...] = ()
    text: str | None = None
    value_set: str | None = None


class QuantityValue(ArtifactRecord, frozen=True, kw_only=True):
    """A FHIR Quantity as written."""

    value: Decimal | None = None
    comparator: str | None = None
    unit: str | None = None
    system: str | None = None
    code: str | None = None


class RangeValue(ArtifactRecord, frozen=True, kw_only=True):
    """A FHIR Range."""

    low: QuantityValue | None = None
    high: QuantityValue | None = None


class PeriodValue(ArtifactRecord, frozen=True, kw_only=True):
    """A FHIR Period; dates as written."""

    start: str | None = None
    end: str | None = None


class ParameterValue(ArtifactRecord, frozen=True, kw_only=True):
    """A value for a parameter of CQL libraries, as FHIR writes it.

    `entries` are elements with a `value[x]`, a `resource` or `part`s: several are a list, none gives no value. `type` is the FHIR type that a
    ParameterDefinition tells, `origin` says where the value comes from. With `library` it is for that library alone.
    """

    name: str
    entries: tuple[dict[str, Any], ...]
    type: str | None = None
    origin: str
    library: str | None = None


class ExpressionSource(ArtifactRecord, frozen=True, kw_only=True):
    """A FHIR Expression: its text and language, the libraries that its names may stand in, and values for parameters, the nearest first."""

    language: str | None = None
    text: str | None = None
    name: str | None = None
    reference: str | None = None
    libraries: tuple[str, ...] = ()
    parameters: tuple[ParameterValue, ...] = ()
    description: str | None = None


class Value(ArtifactRecord, frozen=True, kw_only=True):
    """A value[x]: `kind` says which of the fields is set."""

    kind: Literal[
        "concept", "boolean", "quantity", "range", "reference", "expression", "uri", "id", "date", "period", "other"
    ]
    concept: CodedConcept | None = None
    boolean: bool | None = None
    quantity: QuantityValue | None = None
    range: RangeValue | None = None
    reference: str | None = None
    expression: ExpressionSource | None = None
    uri: str | None = None
    id: str | None = None
    date: str | None = None
    period: PeriodValue | None = None


class TimeConstraint(ArtifactRecord, frozen=True, kw_only=True):
    """A bound on when: relative to an event (quantity: one point, negative before it; range: a window), or a period."""

    origin: str
    description: str | None = None
    event: Value | None = None
    quantity: QuantityValue | None = None
    range: RangeValue | None = None
    period: PeriodValue | None = None


class ExpressionDefinition(ArtifactRecord, frozen=True, kw_only=True):
    """Defined by an expression."""

    form: Literal["expression"] = "expression"
    expression: ExpressionSource


class CodeableConceptDefinition(ArtifactRecord, frozen=True, kw_only=True):
    """Defined by a concept alone."""

    form: Literal["codeable-concept"] = "codeable-concept"
    concept: CodedConcept


class TypeAndValueDefinition(ArtifactRecord, frozen=True, kw_only=True):
    """Defined by a type and a value of it (R5 definitionByTypeAndValue; Group code and value)."""

    form: Literal["type-and-value"] = "type-and-value"
    type: CodedConcept
    value: Value | None = None
    methods: tuple[CodedConcept, ...] = ()
    device: str | None = None
    offset: CodedConcept | None = None


class CodeFilter(ArtifactRecord, frozen=True, kw_only=True):
    """A DataRequirement.codeFilter."""

    path: str | None = None
    search_param: str | None = None
    value_set: str | None = None
    codes: tuple[Coding, ...] = ()


class DateFilter(ArtifactRecord, frozen=True, kw_only=True):
    """A DataRequirement.dateFilter."""

    path: str | None = None
    search_param: str | None = None
    start: str | None = None
    end: str | None = None
    duration: QuantityValue | None = None


class DataRequirementDefinition(ArtifactRecord, frozen=True, kw_only=True):
    """Defined by data that must be there."""

    form: Literal["data-requirement"] = "data-requirement"
    type: str
    restrictions: tuple[str, ...] = ()
    code_filters: tuple[CodeFilter, ...] = ()
    date_filters: tuple[DateFilter, ...] = ()


class CombinationDefinition(ArtifactRecord, frozen=True, kw_only=True):
    """Defined by other criteria: `code` is all-of, any-of, at-least, at-most, except-subset, or one without truth value."""

    form: Literal["combination"] = "combination"
    code: str
    threshold: int | None = None
    members: tuple[Criterion, ...] = ()


class ArtifactDefinition(ArtifactRecord, frozen=True, kw_only=True):
    """Defined by another artifact, resolved where it was found."""

    form: Literal["artifact"] = "artifact"
    reference: str
    artifact: Artifact | None = None


class LinkDefinition(ArtifactRecord, frozen=True, kw_only=True):
    """Defined by another characteristic of the same artifact."""

    form: Literal["link"] = "link"
    link_id: str
    criterion: Criterion | None = None


class ElementDefinition(ArtifactRecord, frozen=True, kw_only=True):
    """Defined by an element that has no record of its own: `form` is its name (`definitionTriggerDefinition`), `content` its JSON, of FHIR's shape."""

    form: str
    content: Any


class NotComputableDefinition(ArtifactRecord, frozen=True, kw_only=True):
    """A characteristic without a truth value, and why."""

    form: Literal["not-computable"] = "not-computable"
    reason: Reason
    detail: str


Definition = (
    ExpressionDefinition
    | CodeableConceptDefinition
    | TypeAndValueDefinition
    | DataRequirementDefinition
    | CombinationDefinition
    | ArtifactDefinition
    | LinkDefinition
    | ElementDefinition
    | NotComputableDefinition
)


class Criterion(ArtifactRecord, frozen=True, kw_only=True):
    """One characteristic. `also` is an expression that stands beside another definition and must mean the same.

    `review` tells of restrictions that no data can be compared with: such a characteristic needs a person.
    """

    id: str
    title: str | None = None
    description: str | None = None
    exclude: bool = False
    definition: Definition
    also: ExpressionSource | None = None
    instances: QuantityValue | RangeValue | None = None
    duration: QuantityValue | RangeValue | None = None
    timing: tuple[TimeConstraint, ...] = ()
    review: tuple[str, ...] = ()
    location: Location = Location()

    def not_computable(self, reason: Reason, detail: str) -> Criterion:
        """The same criterion, with the reason why it has no truth value in the place of its definition."""
        return self.changed(definition=NotComputableDefinition(reason=reason, detail=detail))


class Artifact(ArtifactRecord, frozen=True, kw_only=True):
    """One EvidenceVariable or Group with its criteria."""

    resource_type: str
    id: str | None = None
    url: str | None = None
    version: str | None = None
    name: str | None = None
    title: str | None = None
    fhir_version: str = "r5"
    combination: str = "all-of"
    threshold: int | None = None
    criteria: tuple[Criterion, ...] = ()
    location: Location = Location()
    ordinal: str | None = None
    """The file and the place there, for an artifact without url and id, and for one whose name another artifact has as well."""

    @property
    def name_in_outputs(self) -> str:
        """What the artifact is called in outputs: its canonical url, else type and id, and where that does not tell it apart, its file. Versions share it."""
        name = self.url or (f"{self.resource_type}/{self.id}" if self.id else self.resource_type)
        return f"{name} ({self.ordinal})" if self.ordinal else name

    @property
    def key(self) -> str:
        """What tells the artifact from all others of a run: its name, and its version where it has one."""
        return f"{self.name_in_outputs}|{self.version}" if self.version else self.name_in_outputs


class ArtifactSet(ArtifactRecord, frozen=True, kw_only=True):
    """Everything read from some paths. `roots` are the artifacts to screen: those that no other given one refers to."""

    artifacts: tuple[Artifact, ...] = ()
    roots: tuple[Artifact, ...] = ()
    libraries: dict[str, Any] = {}
    diagnostics: tuple[Diagnostic, ...] = ()
    files: tuple[str, ...] = ()
