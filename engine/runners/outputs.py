"""The outputs of a run that go by patient: verdicts.ndjson, summary.csv, a Group an artifact; and problems.ndjson beside them.

Small runs write them from beginning to end; for large ones it is known how long each is, and worker processes write into the files of which these are to be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from engine.compiler.rules import RuleSet
from engine.data.problems import Problem
from engine.output.atomic import AtomicFile
from engine.output.fhir_group import frame_of, group_of
from engine.output.lines import line_of
from engine.runners.bulk import BulkRun, Progress, entry_of
from engine.runners.judging import Judged
from engine.runners.screening import Tally
from engine.runners.workspace import Outcome


class Outputs:
    """Writes the files; they take their place when it is left without an error. To be used in a `with`. Raises OSError."""

    def __init__(self, out: Path, rule_sets: Sequence[RuleSet], header: str, fhir_version: str, now: str) -> None:
        """`header` is the first row of the table, `now` the time of evaluation as the Groups tell it."""
        self.rule_sets = rule_sets
        self._out = out
        self._header = header.encode()
        self._version = fhir_version
        self._now = now
        self._files = ExitStack()

    def __enter__(self) -> Outputs:
        self._files.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._files.__exit__(*error)

    def _open(self, name: str) -> AtomicFile:
        return self._files.enter_context(AtomicFile(self._out / name, "wb"))

    def write(self, judged: Iterable[Judged], progress: Progress | None) -> Tally:
        """Write judged patients, in the order of the data."""
        verdicts, table = _stream(self._open("verdicts.ndjson")), _stream(self._open("summary.csv"))
        table.write(self._header)
        outcome = Outcome.empty(len(self.rule_sets))
        members = [bytearray() for _ in self.rule_sets]
        patients = 0
        for one in judged:
            lines, rows, *texts = entry_of(one, outcome).texts
            verdicts.write(lines)
            table.write(rows)
            for held, text in zip(members, texts, strict=True):
                held += text
            patients += 1
            if progress is not None:
                progress("write", patients, 0)
        tally = tally_of(self.rule_sets, [outcome])
        for (file, head, tail), texts_of in zip(self._groups(tally, [outcome]), members, strict=True):
            stream = _stream(file)
            stream.write(head)
            stream.write(texts_of[1:])
            stream.write(tail)
        return tally

    def write_bulk(self, bulk: BulkRun) -> Tally:
        """Write the patients of a large run, which is prepared."""
        outcomes = bulk.outcomes
        tally = tally_of(self.rule_sets, outcomes)
        verdicts, table = self._open("verdicts.ndjson"), self._open("summary.csv")
        _stream(table).write(self._header)
        _stream(table).flush()
        outputs = [(verdicts.part, 0), (table.part, len(self._header))]
        groups = self._groups(tally, outcomes)
        outputs += [(file.part, len(head) - 1) for file, head, _ in groups]
        bulk.write(outputs)
        for (file, head, tail), length in zip(groups, bulk.lengths[2:], strict=True):
            # the head is put over the comma of the first member
            stream = _stream(file)
            stream.write(head)
            stream.seek(max(len(head) - 1 + length, len(head)))
            stream.write(tail)
        return tally

    def write_problems(self, problems: Iterable[Problem]) -> int:
        """Write problems in the order in which they come; gives their number."""
        stream = _stream(self._open("problems.ndjson"))
        count = 0
        for problem in problems:
            stream.write(line_of(problem).encode())
            count += 1
        return count

    def _groups(self, tally: Tally, outcomes: Sequence[Outcome]) -> list[tuple[AtomicFile, bytes, bytes]]:
        """A file an artifact, and what stands in it before and after the members."""
        out = []
        for number, rules in enumerate(self.rule_sets):
            some = [patient for outcome in outcomes for patient in outcome.some[number]]
            count = tally.verdicts[rules.key]["included"]
            title = f"{rules.title} ({rules.version})" if rules.version else rules.title
            group = group_of(rules.key, title, count, some, self._version, self._now)
            name = f"included-{number + 1}.json" if len(self.rule_sets) > 1 else "included.json"
            out.append((self._open(name), *frame_of(group)))
        return out


def tally_of(rule_sets: Sequence[RuleSet], outcomes: Iterable[Outcome]) -> Tally:
    """What all patients come to."""
    tally = Tally.of(rule_sets)
    for outcome in outcomes:
        for number, rules in enumerate(rule_sets):
            tally.verdicts[rules.key].update(outcome.verdicts[number])
            tally.removed[rules.key].update(outcome.removed[number])
        tally.patients += outcome.patients
    return tally


def _stream(file: AtomicFile) -> Any:
    return file.stream
