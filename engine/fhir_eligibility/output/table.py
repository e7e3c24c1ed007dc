"""The words at the end of a run: patients, included, excluded, undetermined, and how many each criterion removed, in order; and what the data lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from fhir_eligibility.output.run_record import ArtifactCounts, CriterionErrors, RunRecord, TypeRecord


def summary_table(artifacts: list[ArtifactCounts], patients: int, titles: dict[str, dict[str, str]]) -> str:
    """Plain text; one block an artifact. `titles` maps the key of an artifact and a criterion's id to the criterion's title."""
    same = Counter(counts.title for counts in artifacts)
    lines: list[str] = []
    for counts in artifacts:
        shared = same[counts.title] > 1
        lines.append(f"{counts.title} ({counts.version or counts.artifact})" if shared else counts.title)
        rows = [("patients", patients)]
        for identifier, title in titles.get(counts.key, {}).items():
            removed = counts.removed.get(identifier, 0)
            rows.append((f"  - removed by {identifier}: {_short(title)}", removed))
        rows += [
            ("included", counts.included),
            ("excluded", counts.excluded),
            ("undetermined", counts.undetermined),
        ]
        width = max(len(name) for name, _ in rows)
        number = max(len(f"{value:,}") for _, value in rows)
        lines += [f"  {name:<{width}}  {value:>{number},}" for name, value in rows]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def completeness_lines(found: Iterable[TypeRecord]) -> Iterator[str]:
    """What the data lacks of the types that criteria read: which, why, and how many verdicts hang on it; what most verdicts hang on comes first."""
    listed = list(found)
    for one in listed:
        if one.state in ("incomplete", "tolerated"):
            name = "The data" if one.type == "*" else one.type
            yield f"{name} is incomplete: {_missing(one)}. {_hanging(one)}"
    absent = [one.type for one in listed if one.state == "absent"]
    if absent:
        names = absent[0] if len(absent) == 1 else f"{', '.join(absent[:-1])} and {absent[-1]}"
        yield f"There is no {names} in the data at all; criteria that read {'it' if len(absent) == 1 else 'them'} found none."


def criterion_error_lines(errors: Iterable[CriterionErrors]) -> Iterator[str]:
    """Which criteria failed in evaluation, for how many patients, and what went wrong for the first."""
    for one in errors:
        count = "1 patient" if one.patients == 1 else f"{one.patients:,} patients"
        first = f": {_short(' '.join(one.message.split()), 300)}" if one.message else ""
        yield f"The evaluation of {one.criterion} failed for {count}, for whom it is unknown{first}"


def _missing(one: TypeRecord) -> str:
    parts = [one.why] if one.why else []
    if one.of_patients:
        what = "1 record" if one.of_patients == 1 else f"{one.of_patients:,} records"
        parts.append(f"{what} of known patients cannot be used")
    return "; ".join(parts)


def _hanging(one: TypeRecord) -> str:
    if one.state == "tolerated":
        return (
            f"That is tolerated (--tolerate); {_verdicts(one.resting)} on it."
            if one.resting
            else "No verdict rests on it."
        )
    if not one.undetermined:
        return "No verdict is undetermined by that."
    count = f"{one.undetermined:,} verdict{' is' if one.undetermined == 1 else 's are'}"
    return f"{count} undetermined where an answer rests on it; mend that first." if one.undetermined else ""


def _verdicts(count: int) -> str:
    return f"{count:,} verdict{' rests' if count == 1 else 's rest'}"


def problem_lines(record: RunRecord, out: Path) -> Iterator[str]:
    """How many problems there are with the data, and where they are listed."""
    if record.problems:
        harmless = record.problems - record.errors
        counts = [f"{record.errors:,} error{'' if record.errors == 1 else 's'}"] if record.errors else []
        counts += [f"{harmless:,} warning{'' if harmless == 1 else 's'}"] if harmless else []
        yield f"{' and '.join(counts)} about the data: see {out / 'problems.ndjson'}"
