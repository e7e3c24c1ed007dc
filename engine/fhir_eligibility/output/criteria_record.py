"""`criteria.json`: what is the same for all patients of a run, and therefore in no line of verdicts.ndjson: the trials, their criteria and when they were evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from pydantic import Field, ValidationError

from fhir_eligibility.compiler.criteria.rules import RuleSet
from fhir_eligibility.evaluation.descriptions import ArtifactDescription, Completed, described
from fhir_eligibility.evaluation.verdict import Evaluated, Record, Verdict
from fhir_eligibility.version import __version__

NAME = "criteria.json"
VERDICTS = "verdicts.ndjson"


class ScreenedArtifact(ArtifactDescription):
    """An artifact of a run, and what files about it are called."""

    name: str = Field(description="what files about it are named by: included-NAME.json")


class CriteriaRecord(Record):
    """What all verdicts of a run have in common."""

    now: str = Field(description="the time of evaluation that criteria saw")
    timezone: str
    engine: str
    fhir_version: str
    artifacts: list[ScreenedArtifact]

    def completed(self) -> dict[tuple[str, str | None], Completed]:
        """What puts the verdicts on each artifact together, by url and version as lines of verdicts.ndjson have them."""
        out = {}
        for one in self.artifacts:
            evaluated = Evaluated(
                now=self.now,
                timezone=self.timezone,
                engine=self.engine,
                definition_version=one.version,
                fhir_version=self.fhir_version,
            )
            out[one.artifact, one.version] = Completed(one, evaluated)
        return out


def criteria_record(
    rule_sets: Sequence[RuleSet], names: Sequence[str], now: str, timezone: str, fhir_version: str
) -> CriteriaRecord:
    """The record of a run; `names` are those of files about each artifact."""
    artifacts = [
        ScreenedArtifact(**dict(described(rules)), name=name) for rules, name in zip(rule_sets, names, strict=True)
    ]
    return CriteriaRecord(
        now=now, timezone=timezone, engine=__version__, fhir_version=fhir_version, artifacts=artifacts
    )


def read_verdicts(folder: Path) -> Iterator[Verdict]:
    """The verdicts of a run as `screen` gives them, with what criteria.json tells. Raises FileNotFoundError, ValueError for a line that is none."""
    completed = read_criteria(folder).completed()
    path = folder / VERDICTS
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                found = msgspec.json.decode(line)
                verdict = completed[found["artifact"], found.get("artifact_version")](found)
            except (msgspec.DecodeError, ValidationError, LookupError, TypeError, AttributeError) as error:
                raise ValueError(f"{path}, line {number}: not a verdict of this run: {error}") from None
            yield verdict


def read_criteria(folder: Path) -> CriteriaRecord:
    """The criteria.json of a run. Raises FileNotFoundError, ValueError where it is none."""
    path = folder / NAME
    try:
        return CriteriaRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} holds no {NAME}: give the folder that `eligibility screen --out` wrote"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: not the criteria of a run: {place or 'JSON'}: {first['msg']}") from None
