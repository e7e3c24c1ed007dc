"""One unattended run of a measure: results and a report a patient, a summary, and the problems of the data, every file whole or not at all.

As with a screening, files that are small are evaluated right here, and large ones by way of a workspace, with several processes, in a run that can be resumed.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from msgspec import Struct

from fhir_eligibility.data.bulk.line_numbers import with_lines
from fhir_eligibility.data.bulk.reading import ExportReader
from fhir_eligibility.data.files.files import files_of
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.terminology.check import used_value_sets
from fhir_eligibility.output.fhir_library import check_with_library
from fhir_eligibility.output.folder import OutputFolder, StagedFile
from fhir_eligibility.output.lines import line_of
from fhir_eligibility.output.measure_report import summary
from fhir_eligibility.output.measure_totals import Totals
from fhir_eligibility.output.pseudonymous import pseudonymous_problems
from fhir_eligibility.output.pseudonyms import LIST_HEADER, Pseudonyms, check_list, write_list
from fhir_eligibility.runners.large.bulk import Progress, in_place
from fhir_eligibility.runners.large.collector import relaxed
from fhir_eligibility.runners.large.workspace import Workspace
from fhir_eligibility.runners.measures.measure_work import MeasureOutcome, MeasureWork, Reporting
from fhir_eligibility.runners.measures.measuring import LoadedMeasure, MeasureOptions, plan_of
from fhir_eligibility.runners.screening.criteria import PathLike
from fhir_eligibility.runners.screening.large import Inputs, LargeRun, Means, digest_of, digests_of, prepare
from fhir_eligibility.runners.screening.run import MOST_REPORTED, NothingScreened, input_files, is_small
from fhir_eligibility.runners.screening.screening import evaluation_time

RESULTS, REPORTS, SUMMARY, PROBLEMS = "results.ndjson", "reports.ndjson", "summary.json", "problems.ndjson"
SHOWN = 5
LOOKED_AT = 1000
"""Patients that are looked at for answers which hang on rows that cannot be decided: a hint, which takes as long as the measure itself."""


class MeasureRun(Struct, frozen=True):
    """A measure over some files. `made_from` are the files of the measure, `now` the time of evaluation as it was given. With `pseudonyms`, outputs carry codes in
    the place of patients, and `pseudonym_list` is a file that tells whose each is."""

    loaded: LoadedMeasure
    made_from: Sequence[PathLike]
    data: Sequence[PathLike]
    options: MeasureOptions
    version: str
    now: str | None = None
    means: Means = Means()
    pseudonyms: Pseudonyms | None = None
    pseudonym_list: Path | None = None

    def work(self, moment: dt.datetime, look_at: int) -> MeasureWork:
        """What is to be done at a moment of evaluation."""
        traced = self.loaded.traced() if self.loaded.traced is not None and look_at else None
        listed = self.pseudonym_list is not None
        work = MeasureWork(self.loaded, self.options, self.version, traced, look_at, self.pseudonyms, listed)
        return work.at(moment)

    def fingerprint(self, inputs: Inputs) -> dict[str, str]:
        """What must be the same for a run to be resumed, by what it is called in a message."""
        options = self.options
        given = sorted((*self.loaded.parameters.values.items(), *options.parameters.items()), key=repr)
        return {
            "command": "measure",
            **digests_of(inputs.found),
            "measure": digest_of((found.path, found.sha256) for found in input_files(files_of(self.made_from))),
            "value sets": digest_of(used_value_sets(self.loaded.terminology)),
            "parameters": digest_of(given),
            "--period": str(options.period),
            "--ignore-profiles": str(options.ignore_profiles),
            "--criterion-seconds": str(options.criterion_seconds),
            "--validate": str(self.means.validate),
            "--tolerate": str(self.means.tolerate),
            "--merge-linked": str(self.means.merge_linked),
            "--now": str(self.now),
            "--timezone": options.timezone,
            "--pseudonyms": str(None if self.pseudonyms is None else self.pseudonyms.description),
            "--pseudonym-list": str(self.pseudonym_list is not None),
        }


class MeasureDone(Struct, frozen=True):
    """What a run came to. `problems` are the first of them."""

    outcome: MeasureOutcome
    problems: list[Problem]
    count: int
    errors: int

    @classmethod
    def of(cls, outcome: MeasureOutcome, problems: Iterable[Problem]) -> MeasureDone:
        """That of some patients, with all problems."""
        first: list[Problem] = []
        count = errors = 0
        for problem in problems:
            count += 1
            errors += problem.severity == "error"
            if len(first) < SHOWN:
                first.append(problem)
        return cls(outcome, first, count, errors)

    @property
    def totals(self) -> Totals:
        """Counts over all patients."""
        return self.outcome.totals


def run_measure(run: MeasureRun, out: Path, *, shared: bool = False, progress: Progress | None = None) -> MeasureDone:
    """Evaluate a measure into a folder, readable by others with `shared`.

    Raises NothingScreened where there is no patient (what the folder holds stays), OSError where files cannot be read or written, ValueError where what was begun is another run, FolderInUse (a ValueError) where another run writes
    into the folder, WorkerLost where processes are killed again and again.
    """
    if run.pseudonym_list is not None:
        check_list(run.pseudonym_list, out)
    with relaxed(), OutputFolder(out, "measure", shared=shared) as folder, ExitStack() as running:
        folder.claim(RESULTS, REPORTS, SUMMARY, PROBLEMS)
        workspace = Workspace(out)
        rows = None if run.pseudonym_list is None else folder.aside()
        if rows is not None:
            rows.stream.write(LIST_HEADER.encode())
        inputs = Inputs.of(run.data)
        if is_small(inputs, run.means) and not (run.means.resume and workspace.exists()):
            workspace.remove()
            moment, outcome, found = _small(run, folder, rows)
        else:
            moment, outcome, found = _large(run, folder, inputs, workspace, running, progress, rows)

        def listed() -> Iterator[Problem]:
            return pseudonymous_problems(found(), run.pseudonyms)

        if not outcome.totals.patients:
            first = list(islice(listed(), MOST_REPORTED))
            workspace.remove()
            raise NothingScreened(first)
        reporting = Reporting.of(run.loaded, run.work(moment, 0).options, run.version)
        report = summary(run.loaded.measure, outcome.totals, reporting.period, reporting.date, reporting.version)
        if run.means.validate:
            check_with_library(report, reporting.version)
        folder.write_text(SUMMARY, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        stream = folder.stage(PROBLEMS).stream

        def written() -> Iterator[Problem]:
            for problem in listed():
                stream.write(line_of(problem).encode())
                yield problem

        done = MeasureDone.of(outcome, written())
        running.close()
        if rows is not None and run.pseudonym_list is not None:
            rows.finish()
            write_list(rows.part, run.pseudonym_list)
        folder.publish()
        workspace.remove()
    return done


_Source = tuple[dt.datetime, MeasureOutcome, Callable[[], Iterable[Problem]]]


def _small(run: MeasureRun, folder: OutputFolder, rows: StagedFile | None) -> _Source:
    """Files that fit into memory many times."""
    moment = evaluation_time(run.now, run.options.timezone)
    results, reports = folder.stage(RESULTS).stream, folder.stage(REPORTS).stream
    problems: list[Problem] = []

    def write(texts: Sequence[bytes | memoryview]) -> None:
        results.write(texts[0])
        reports.write(texts[1])
        if rows is not None:
            rows.stream.write(texts[2])

    outcome, files = evaluate_in_memory(run, moment, write, problems.append)
    return moment, outcome, lambda: with_lines(in_place(problems, files))


def evaluate_in_memory(
    run: MeasureRun,
    moment: dt.datetime,
    write: Callable[[Sequence[bytes | memoryview]], None],
    on_problem: Callable[[Problem], None],
) -> tuple[MeasureOutcome, list[str]]:
    """Evaluate patients in one process, with what is read of them in memory; `write` takes a line of results and one of reports for each.

    Gives what they come to, and the files in their order.
    """
    evaluation = run.work(moment, LOOKED_AT).start()
    means = run.means
    reader = ExportReader(
        run.data,
        plan_of(run.loaded, run.version),
        on_problem,
        validate=means.validate,
        tolerate=means.tolerate,
        merge_linked=means.merge_linked,
    )
    outcome = evaluation.begin(0)
    for place, compartment in reader.patients():
        write(evaluation.entry(place, compartment, outcome).texts)
    return outcome, reader.files


def _large(
    run: MeasureRun,
    folder: OutputFolder,
    inputs: Inputs,
    workspace: Workspace,
    running: ExitStack,
    progress: Progress | None,
    rows: StagedFile | None,
) -> _Source:
    """Files of any size, by way of a workspace."""
    large = LargeRun(
        workspace=workspace,
        inputs=inputs,
        plan=plan_of(run.loaded, run.version),
        work_at=lambda moment, buckets: run.work(moment, max(1, LOOKED_AT // buckets)),
        fingerprint=lambda: run.fingerprint(inputs),
        means=run.means,
        now=run.now,
        timezone=run.options.timezone,
        progress=progress,
    )
    prepared = prepare(large, running)
    results, reports = folder.stage(RESULTS), folder.stage(REPORTS)
    outputs = [(results.part, 0), (reports.part, 0)]
    if rows is not None:
        rows.stream.flush()
        outputs.append((rows.part, len(LIST_HEADER.encode())))
    prepared.bulk.write(outputs)
    outcome = MeasureOutcome(Totals(run.loaded.measure))
    for encoded in prepared.bulk.outcomes:
        outcome.extend(encoded)
    outcome.undecided.sort(key=lambda one: one.place)
    return prepared.moment, outcome, prepared.problems
