"""What is the same for all patients of a run: the criteria of an artifact in words, as `criteria.json` has them once and verdicts do not repeat.

`Completed` puts a verdict as it is written together with the description of its artifact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.compiler.criteria.cql import CqlCode
from fhir_eligibility.compiler.criteria.rules import Combination, Rule, RuleSet
from fhir_eligibility.evaluation.evaluator import Options
from fhir_eligibility.evaluation.verdict import Evaluated, Kind, Record, Verdict
from fhir_eligibility.version import __version__

Language = Literal["text/fhirpath", "text/cql"]


class CriterionDescription(Record):
    """One criterion of an artifact. `members` are those of a combination."""

    id: str
    title: str
    kind: Kind
    form: str = Field(description="the form of the characteristic, such as expression, codeable-concept or combination")
    description: str | None = None
    language: Language | None = Field(None, description="the language of the expression")
    expression: str | None = Field(None, description="the FHIRPath or CQL that is evaluated")
    combination: Combination | None = Field(None, description="how members are combined")
    threshold: int | None = Field(None, description="how many members, of at-least and at-most")
    members: list[CriterionDescription] = Field(default_factory=list)
    reason: Reason | None = Field(None, description="why the criterion is unknown for every patient, where it is")
    detail: str | None = Field(None, description="the same in a sentence")
    location: str | None = Field(None, description="file, line, resource and element")


class ArtifactDescription(Record):
    """An artifact that patients are screened by."""

    artifact: str = Field(description="canonical url, else type and id; versions of one artifact share it")
    version: str | None = None
    title: str
    type: str = Field(description="EvidenceVariable or Group")
    combination: Combination = Field(description="how the criteria are combined")
    threshold: int | None = None
    criteria: list[CriterionDescription]


def described(rules: RuleSet) -> ArtifactDescription:
    """The description of a compiled artifact."""
    return ArtifactDescription(
        artifact=rules.artifact,
        version=rules.version,
        title=rules.title,
        type=rules.kind,
        combination=rules.combination,
        threshold=rules.threshold,
        criteria=[_criterion(rule) for rule in rules.rules],
    )


def completed(rules: RuleSet, options: Options) -> Completed:
    """For verdicts that are made here."""
    evaluated = Evaluated(
        now=options.now.isoformat(),
        timezone=options.timezone,
        engine=__version__,
        definition_version=rules.version,
        fhir_version=rules.model,
    )
    return Completed(described(rules), evaluated)


def _criterion(rule: Rule) -> CriterionDescription:
    language: Language = "text/cql" if isinstance(rule.code, CqlCode) else "text/fhirpath"
    return CriterionDescription(
        id=rule.id,
        title=rule.title,
        kind="exclusion" if rule.exclude else "inclusion",
        form=rule.form,
        description=rule.description if rule.description != rule.title else None,
        language=language if rule.code is not None else None,
        expression=rule.code.text if rule.code is not None else None,
        combination=rule.combination,
        threshold=rule.threshold,
        members=[_criterion(member) for member in rule.members],
        reason=rule.reason,
        detail=rule.detail,
        location=rule.location or None,
    )


class Completed:
    """Puts verdicts on an artifact as lines of verdicts.ndjson have them together with what is the same for all of them."""

    def __init__(self, artifact: ArtifactDescription, evaluated: Evaluated) -> None:
        self.artifact = artifact
        self.evaluated = evaluated
        self._known: dict[str, CriterionDescription] = {}
        self._collect(artifact.criteria)

    def _collect(self, criteria: list[CriterionDescription]) -> None:
        for one in criteria:
            self._known[one.id] = one
            self._collect(one.members)

    def __call__(self, line: Mapping[str, Any]) -> Verdict:
        """A verdict, from its line (decoded). Raises ValidationError where it is none."""
        return Verdict.model_validate(self.completed(line))

    def completed(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """The same, not checked."""
        criteria = [self._criterion(one) for one in line["criteria"]]
        whole = {"artifact_title": self.artifact.title, "criteria": criteria, "evaluated": self.evaluated}
        return {**line, **whole}

    def _criterion(self, result: Mapping[str, Any]) -> dict[str, Any]:
        known = self._known[result["id"]]
        members = [self._criterion(member) for member in result["members"]]
        return {**result, "title": known.title, "kind": known.kind, "expression": known.expression, "members": members}
