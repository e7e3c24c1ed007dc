"""The outputs of a run that go by patient: verdicts.ndjson, summary.csv, a Group an artifact; and problems.ndjson beside them.

Small runs write them from beginning to end; for large ones it is known how long each is, and worker processes write into the files of which these are to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fhir_eligibility.compiler.criteria.rules import RuleSet
from fhir_eligibility.data.bulk.blocks import BlockWriter
from fhir_eligibility.data.bulk.fingerprints import Fingerprints
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.output.criteria_record import NAME as CRITERIA
from fhir_eligibility.output.criteria_record import VERDICTS, CriteriaRecord, criteria_record
from fhir_eligibility.output.fhir_group import frame_of, group_of
from fhir_eligibility.output.folder import RUN, OutputFolder, StagedFile
from fhir_eligibility.output.formats.base import OutputFormat, WrittenVerdicts
from fhir_eligibility.output.lines import line_of
from fhir_eligibility.output.pseudonymous import pseudonymous_problems
from fhir_eligibility.output.pseudonyms import LIST_HEADER, Pseudonyms
from fhir_eligibility.output.trial_names import trial_names
from fhir_eligibility.runners.large.bulk import BulkRun, Progress
from fhir_eligibility.runners.large.earlier import BLOCKS, FINGERPRINTS, PROBLEMS, SUMMARY, finish
from fhir_eligibility.runners.screening.judging import Judged
from fhir_eligibility.runners.screening.screening import Tally
from fhir_eligibility.runners.screening.screening_work import FailedCriterion, ScreeningTotals, add_failed, entry_of
from fhir_eligibility.runners.screening.taking import VerdictCodes


def output_names(rule_sets: Sequence[RuleSet], formats: Iterable[OutputFormat], keep: bool = False) -> list[str]:
    """The names of all outputs of a run, those of further formats among them, and with `keep` the fingerprints of patients."""
    groups = [group_file(name) for name in trial_names([rules.key for rules in rule_sets])]
    more = [*groups, *(name for one in formats for name in one.files), *([FINGERPRINTS, BLOCKS] if keep else [])]
    return [VERDICTS, SUMMARY, PROBLEMS, CRITERIA, RUN, *more]


def group_file(name: str) -> str:
    """The name of the file of included patients."""
    return f"included-{name}.json"


class Outputs:
    """Writes the files into a folder, where they appear when it is published. Raises OSError."""

    def __init__(
        self,
        folder: OutputFolder,
        rule_sets: Sequence[RuleSet],
        header: str,
        fhir_version: str,
        now: str,
        pseudonyms: Pseudonyms | None = None,
        listed: StagedFile | None = None,
        keep: Fingerprints | None = None,
        *,
        validate: bool = False,
    ) -> None:
        """`header` is the first row of the table, `now` the time of evaluation as the Groups tell it, `listed` the list of codes where there is one. What `keep`
        makes, the fingerprints of patients, is written where it is given, with `validate` Groups are held to fhir.resources, too."""
        self._keep = keep
        self._prints = folder.stage(FINGERPRINTS) if keep is not None else None
        self._codes = VerdictCodes(rule_sets)
        self._blocks = BlockWriter(folder.stage(BLOCKS).stream) if keep is not None else None
        self.rule_sets = rule_sets
        self.names = trial_names([rules.key for rules in rule_sets])
        """What files about an artifact are named by, in the order of the artifacts."""
        self._folder = folder
        self._header = header.encode()
        self._version = fhir_version
        self._now = now
        self._pseudonyms = pseudonyms
        self._listed = listed
        self._validate = validate

    def write(self, judged: Iterable[Judged], progress: Progress | None) -> Tally:
        """Write judged patients, in the order of the data."""
        verdicts, table = self._folder.stage(VERDICTS).stream, self._folder.stage(SUMMARY).stream
        table.write(self._header)
        listed: Any = None if self._listed is None else self._listed.stream
        if listed is not None:
            listed.write(LIST_HEADER.encode())
        prints: Any = None if self._prints is None else self._prints.stream
        outcome = ScreeningTotals.empty(len(self.rule_sets))
        members = [bytearray() for _ in self.rule_sets]
        patients = 0
        for one in judged:
            lines, rows, *texts = entry_of(one, outcome, self._keep, self._codes).texts
            verdicts.write(lines)
            table.write(rows)
            if listed is not None:
                listed.write(texts.pop(0))
            if prints is not None:
                prints.write(texts.pop(0))
            for held, text in zip(members, texts, strict=True):
                held += text
            patients += 1
            if progress is not None:
                progress("write", patients, 0)
        tally = tally_of(self.rule_sets, [outcome])
        for (file, head, tail), texts_of in zip(self._groups(tally, [outcome]), members, strict=True):
            file.stream.write(head)
            file.stream.write(texts_of[1:])
            file.stream.write(tail)
        return tally

    def write_bulk(self, bulk: BulkRun) -> Tally:
        """Write the patients of a large run, which is prepared."""
        outcomes: list[ScreeningTotals] = bulk.outcomes
        tally = tally_of(self.rule_sets, outcomes)
        verdicts, table = self._folder.stage(VERDICTS), self._folder.stage(SUMMARY)
        table.stream.write(self._header)
        table.stream.flush()
        outputs = [(verdicts.part, 0), (table.part, len(self._header))]
        if self._listed is not None:
            header = LIST_HEADER.encode()
            stream: Any = self._listed.stream
            stream.write(header)
            stream.flush()
            outputs.append((self._listed.part, len(header)))
        if self._prints is not None:
            outputs.append((self._prints.part, 0))
        if self._blocks is not None:
            bulk.write_blocks(self._blocks)
        first = len(outputs)
        groups = self._groups(tally, outcomes)
        outputs += [(file.part, len(head) - 1) for file, head, _ in groups]
        bulk.write(outputs)
        for (file, head, tail), length in zip(groups, bulk.lengths[first:], strict=True):
            # the head is put over the comma of the first member
            file.stream.write(head)
            file.stream.seek(max(len(head) - 1 + length, len(head)))
            file.stream.write(tail)
        return tally

    def finish_fingerprints(self, state: dict[str, str]) -> None:
        """Write what verdicts depend on besides the records of patients, behind the fingerprints, if there are such."""
        if self._prints is not None:
            files = [(name, self._folder.staged(name)) for name in (VERDICTS, SUMMARY)]
            rows = finish(self._prints, files, len(self._header), self._codes.size, state)
            if self._blocks is not None:
                self._blocks.finish(rows)

    def write_criteria(self, timezone: str) -> CriteriaRecord:
        """Write what all verdicts have in common, and give it."""
        record = criteria_record(self.rule_sets, self.names, self._now, timezone, self._version)
        self._folder.write_text(CRITERIA, record.model_dump_json(indent=2, exclude_none=True) + "\n")
        return record

    def write_problems(self, problems: Iterable[Problem]) -> None:
        """Write problems in the order in which they come."""
        stream = self._folder.stage(PROBLEMS).stream
        for problem in pseudonymous_problems(problems, self._pseudonyms):
            stream.write(line_of(problem).encode())

    def write_formats(self, formats: Iterable[OutputFormat], criteria: CriteriaRecord) -> None:
        """Write further formats of the verdicts, all of which are written."""
        verdicts = self._folder.staged(VERDICTS)
        verdicts.stream.flush()
        for one in formats:
            one.write(WrittenVerdicts(verdicts.part, criteria), self._folder)

    def _groups(self, tally: Tally, outcomes: Sequence[ScreeningTotals]) -> list[tuple[StagedFile, bytes, bytes]]:
        """A file an artifact, and what stands in it before and after the members."""
        out = []
        for number, (rules, name) in enumerate(zip(self.rule_sets, self.names, strict=True)):
            some = [patient for outcome in outcomes for patient in outcome.some[number]]
            count = tally.verdicts[rules.key]["included"]
            title = f"{rules.title} ({rules.version})" if rules.version else rules.title
            group = group_of(rules.key, title, count, some, self._version, self._now, library=self._validate)
            out.append((self._folder.stage(group_file(name)), *frame_of(group)))
        return out


def tally_of(rule_sets: Sequence[RuleSet], outcomes: Iterable[ScreeningTotals]) -> Tally:
    """What all patients come to."""
    tally = Tally.of(rule_sets)
    failed: list[dict[str, FailedCriterion]] = [{} for _ in rule_sets]
    for outcome in outcomes:
        for number, rules in enumerate(rule_sets):
            tally.verdicts[rules.key].update(outcome.verdicts[number])
            tally.removed[rules.key].update(outcome.removed[number])
            tally.lacking.update(outcome.lacking[number])
            tally.resting.update(outcome.resting[number])
            for criterion, found in outcome.failed[number].items():
                add_failed(failed[number], criterion, found)
        tally.patients += outcome.patients
        tally.taken += outcome.taken
    for rules, by_criterion in zip(rule_sets, failed, strict=True):
        places = {rule.id: place for place, rule in reversed(list(enumerate(rules.walk())))}
        for criterion in sorted(by_criterion, key=lambda one: (places.get(one, len(places)), one)):
            found = by_criterion[criterion]
            tally.fail(rules.key, criterion, found.message, found.patients)
    return tally
