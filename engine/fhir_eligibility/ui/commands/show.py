"""`eligibility show`: the verdicts of a run as a table on the terminal: who, what, why, and how many imaging studies."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct, field

from fhir_eligibility.evaluation.verdict import CriterionResult, Verdict
from fhir_eligibility.output.criteria_record import read_verdicts
from fhir_eligibility.ui.options.argument_types import whole_number
from fhir_eligibility.ui.options.command_parser import STATUSES_OF_TEXT, CommandParser
from fhir_eligibility.ui.options.paths import check_exist
from fhir_eligibility.ui.options.statuses import Status

SHOWN = 50
VERDICTS = ("included", "excluded", "undetermined")


def add_options(command: CommandParser) -> None:
    """What the command is told."""
    command.add_argument(
        "run_folder", type=Path, metavar="RUN", help="the folder that `eligibility screen --out` wrote"
    )
    group = command.add_argument_group("who is shown")
    group.add_argument("--verdict", choices=VERDICTS, help="only patients of this verdict")
    group.add_argument("--patient", metavar="ID", help="only this patient, with all criteria")
    group.add_argument(
        "--limit",
        type=whole_number(1),
        default=SHOWN,
        metavar="N",
        help=f"patients a trial at most (default: {SHOWN})",
    )
    command.describe(
        "eligibility show results",
        "eligibility show results --verdict undetermined --limit 500",
        "eligibility show results --patient example-01",
        statuses=STATUSES_OF_TEXT,
        page="verdicts.md",
    )
    command.set_defaults(run=show_command)


def show_command(options: argparse.Namespace) -> int:
    """Run the command; returns the exit status. Raises FileNotFoundError, ValueError where the folder holds no run."""
    folder: Path = options.run_folder
    check_exist(folder)
    if not (folder / "verdicts.ndjson").is_file():
        raise FileNotFoundError(
            f"{folder} holds no verdicts.ndjson: give the folder that `eligibility screen --out` wrote"
        )
    trials: dict[tuple[str, str | None], _Trial] = {}
    for verdict in read_verdicts(folder):
        if not _chosen(verdict, options.verdict, options.patient):
            continue
        trial = trials.setdefault((verdict.artifact, verdict.artifact_version), _Trial())
        trial.total += 1
        if len(trial.verdicts) < options.limit:
            trial.verdicts.append(verdict)
    if not trials:
        raise ValueError(f"{folder} has no such patient" if options.patient else f"{folder} has no such verdict")
    for trial in trials.values():
        _print(trial, whole=options.patient is not None)
    return Status.OK


class _Trial(Struct):
    """The verdicts of a trial that are shown, and how many there are."""

    verdicts: list[Verdict] = field(default_factory=list)
    total: int = 0


def _chosen(verdict: Verdict, kind: str | None, patient: str | None) -> bool:
    named = patient is None or patient in (verdict.patient, verdict.patient.partition("/")[2])
    return named and kind in (None, verdict.verdict)


def _print(trial: _Trial, *, whole: bool) -> None:
    """A trial: a line a patient and what the criteria are; of one patient all that was found."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    first = trial.verdicts[0]
    console = Console(color_system=None, markup=False, highlight=False, emoji=False)
    version = f" {first.artifact_version}" if first.artifact_version else ""
    console.print(f"{first.artifact_title or first.artifact}{version}")
    if whole:
        for verdict in trial.verdicts:
            console.print("\n".join([f"{_name(verdict)}: {verdict.verdict}", *tree(verdict.criteria), ""]))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("patient", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("studies", justify="right")
    table.add_column("why")
    for verdict in trial.verdicts:
        studies = len({link.study or link.resource for link in verdict.imaging if link.role == "met"})
        table.add_row(_name(verdict), verdict.verdict, str(studies or ""), "; ".join(why(verdict)))
    console.print(table)
    if trial.total > len(trial.verdicts):
        console.print(f"{trial.total - len(trial.verdicts):,} more; --limit {trial.total} shows all\n")
    criteria = Table(box=None, pad_edge=False, show_header=False)
    for criterion in first.criteria:
        kept_out = " (exclusion)" if criterion.kind == "exclusion" else ""
        criteria.add_row(criterion.id, f"{criterion.title or criterion.id}{kept_out}")
    console.print(criteria)
    console.print()


def _name(verdict: Verdict) -> str:
    return verdict.patient.removeprefix("Patient/")


def why(verdict: Verdict) -> Iterator[str]:
    """The criteria that decided against a patient, or are unknown, in few words."""
    for criterion in verdict.criteria:
        if verdict.verdict == "included" or criterion.id not in verdict.deciding:
            continue
        reason = _reason(criterion)[0] if criterion.outcome == "unknown" else None
        yield f"{criterion.id}: {criterion.outcome}{f' ({reason})' if reason else ''}"


def _line(criterion: CriterionResult) -> str:
    title = criterion.title or criterion.id
    kept_out = "exclusion, " if criterion.kind == "exclusion" else ""
    if criterion.outcome != "unknown":
        return f"{kept_out}{criterion.outcome}: {title}"
    reason, detail = _reason(criterion)
    return f"{kept_out}unknown: {title}: {detail or reason}" if detail or reason else f"{kept_out}unknown: {title}"


def _reason(criterion: CriterionResult) -> tuple[str | None, str | None]:
    """Why a criterion is unknown; of a combination why its first unknown member is."""
    if criterion.reason or not criterion.members:
        return str(criterion.reason) if criterion.reason else None, criterion.detail
    member = next((one for one in criterion.members if one.outcome == "unknown"), None)
    return _reason(member) if member is not None else (None, None)


def tree(criteria: Iterable[CriterionResult], indent: str = "  ") -> Iterator[str]:
    """Criteria, those of combinations below them, with their evidence."""
    for criterion in criteria:
        yield f"{indent}{_line(criterion)}"
        for one in criterion.evidence:
            value = " ".join(filter(None, (one.value, one.unit)))
            details = ", ".join(filter(None, (one.display, value, one.date)))
            yield f"{indent}    {one.resource}{f' ({details})' if details else ''}"
        yield from tree(criterion.members, indent + "  ")
