"""One unattended run: screen the data and write the output folder, every file whole or not at all."""

from __future__ import annotations

import datetime as dt
import json
import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from engine.data.problems import Problem
from engine.data.server.patients import ServerPatients
from engine.data.terminology_check import used_value_sets
from engine.evaluation.evaluator import Absent
from engine.output.atomic import AtomicFile, write_text
from engine.output.fhir_group import group_of
from engine.output.lines import line_of
from engine.output.run_record import ArtifactCounts, InputFile, RunRecord, UsedValueSet
from engine.output.summary import SummaryWriter
from engine.runners.criteria import Criteria, PathLike
from engine.runners.screening import Data, Tally, evaluation_time, files_of, screen, sha256_of
from engine.version import __version__

if TYPE_CHECKING:
    from engine.runners.confirming import RequiredImages


@dataclass(slots=True)
class RunOptions:
    """Options of a run; see `screen` for what they mean."""

    now: str | None = None
    timezone: str = "UTC"
    absent: Absent = "default"
    dicomweb: str | None = None
    parameters: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    strict_cql: bool = False
    parameter_texts: Sequence[str] = ()
    terminology: Mapping[str, str | bool | None] = field(default_factory=dict)
    images: RequiredImages | None = None


@dataclass(slots=True)
class RunResult:
    """What a run came to."""

    record: RunRecord
    tally: Tally


def input_files(paths: Sequence[Data]) -> list[InputFile]:
    """Every file that paths name, with size and hash; servers by their address."""
    servers = [InputFile(path=item.name) for item in paths if isinstance(item, ServerPatients)]
    return servers + [
        InputFile(path=str(path), bytes=path.stat().st_size, sha256=sha256_of(path))
        for path in files_of(paths)
        if path.is_file()
    ]


def run(
    criteria: Criteria,
    criteria_paths: Sequence[PathLike],
    data: Sequence[Data],
    out: Path,
    options: RunOptions,
    *,
    progress: Callable[[int], None] | None = None,
    verdicts_to: IO[str] | None = None,
) -> RunResult:
    """Screen `data` and write verdicts.ndjson, summary.csv, a Group an artifact, problems.ndjson and run.json into `out`.

    `progress` is told the number of verdicts so far; `verdicts_to` gets the lines of verdicts.ndjson as they come.
    Raises OSError where the folder cannot be written.
    """
    started = dt.datetime.now(dt.UTC)
    moment = evaluation_time(options.now, options.timezone)
    out.mkdir(parents=True, exist_ok=True)
    tally = Tally()
    included: dict[str, list[str]] = {rules.artifact: [] for rules in criteria.rules}
    patients: set[str] = set()
    problems = 0
    with ExitStack() as files:
        verdicts = files.enter_context(AtomicFile(out / "verdicts.ndjson")).stream
        problem_lines = files.enter_context(AtomicFile(out / "problems.ndjson")).stream
        table = files.enter_context(AtomicFile(out / "summary.csv")).stream
        columns = [(rules.artifact, rule.id, rule.title) for rules in criteria.rules for rule in rules.rules]
        summary = SummaryWriter(_text(table), columns)

        def on_problem(problem: Problem) -> None:
            nonlocal problems
            problems += 1
            _text(problem_lines).write(line_of(problem))

        found = screen(
            criteria,
            data,
            now=moment,
            timezone=options.timezone,
            absent=options.absent,
            dicomweb=options.dicomweb,
            parameters=options.parameters,
            strict_cql=options.strict_cql,
            images=options.images,
            on_problem=on_problem,
        )
        for count, verdict in enumerate(found, start=1):
            line = line_of(verdict)
            _text(verdicts).write(line)
            if verdicts_to is not None:
                verdicts_to.write(line)
            summary.write(verdict)
            tally.add(verdict)
            patients.add(verdict.patient)
            if verdict.verdict == "included":
                included[verdict.artifact].append(verdict.patient)
            if progress is not None:
                progress(count)
    tally.patients = len(patients)
    _write_groups(criteria, included, out, moment.isoformat())
    record = RunRecord(
        engine=__version__,
        python=platform.python_version(),
        started=started.isoformat(timespec="seconds"),
        finished=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        now=moment.isoformat(),
        timezone=options.timezone,
        fhir_version=criteria.fhir_version,
        options={
            "absent": options.absent,
            "dicomweb": options.dicomweb,
            "strict_cql": options.strict_cql,
            "require_images": options.images is not None,
            "parameters": list(options.parameter_texts),
            **options.terminology,
        },
        value_sets=[UsedValueSet(**asdict(found)) for found in used_value_sets(criteria.terminology)],
        criteria=input_files(criteria_paths),
        data=input_files(data),
        patients=len(patients),
        problems=problems,
        artifacts=[_counts(criteria, tally, rules.artifact) for rules in criteria.rules],
    )
    write_text(out / "run.json", record.model_dump_json(indent=2) + "\n")
    return RunResult(record, tally)


def _text(stream: Any) -> IO[str]:
    return stream  # type: ignore[no-any-return]


def _counts(criteria: Criteria, tally: Tally, artifact: str) -> ArtifactCounts:
    rules = next(r for r in criteria.rules if r.artifact == artifact)
    verdicts = tally.verdicts.get(artifact) or Counter()
    removed = tally.removed.get(artifact) or Counter()
    return ArtifactCounts(
        artifact=artifact,
        title=rules.title,
        version=rules.version,
        included=verdicts["included"],
        excluded=verdicts["excluded"],
        undetermined=verdicts["undetermined"],
        removed={rule.id: removed[rule.id] for rule in rules.rules},
    )


def _write_groups(criteria: Criteria, included: dict[str, list[str]], out: Path, now: str) -> None:
    several = len(criteria.rules) > 1
    for index, rules in enumerate(criteria.rules, start=1):
        group = group_of(rules.artifact, rules.title, included[rules.artifact], criteria.fhir_version, now)
        name = f"included-{index}.json" if several else "included.json"
        write_text(out / name, json.dumps(group, indent=2, ensure_ascii=False) + "\n")
