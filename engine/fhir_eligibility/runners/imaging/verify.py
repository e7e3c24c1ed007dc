"""`eligibility imaging verify`: ask archives for every study of a run, and write down what they hold.

Answers go into a journal as they come. A run that was interrupted, or in which archives could not be reached, is completed by running it
again: only what has no answer yet is asked for. After a complete run only what was not present is, and what is older than a day.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct, field

from fhir_eligibility.data.archives.client import Client
from fhir_eligibility.evaluation.holdings import Expected
from fhir_eligibility.evaluation.verdict import Holding
from fhir_eligibility.output.checks import COMMAND, EARLIER, JOURNAL, NAME, Journal, read_holdings, write_holdings
from fhir_eligibility.output.folder import OutputFolder
from fhir_eligibility.runners.imaging.asking import Asker, Clock, utc_now
from fhir_eligibility.runners.imaging.images import Places, run_folder, studies_of
from fhir_eligibility.runners.large.bounded import batched

FRESH = dt.timedelta(hours=24)


class VerifyResult(Struct):
    """What a check came to: studies by state, how many of them were asked for now, and requests made."""

    states: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    asked: int = 0
    requests: int = 0

    @property
    def studies(self) -> int:
        """Studies in all."""
        return self.states.total()


def verify(
    run: Path,
    client: Client,
    places: Places,
    *,
    afresh: bool = False,
    progress: Callable[[int], None] | None = None,
    clock: Clock = utc_now,
    shared: bool = False,
) -> VerifyResult:
    """Write archive.ndjson and archive.csv into the folder of a run.

    `afresh` asks for everything; `shared` lets others than their owner read the files, as the umask says. Raises FileNotFoundError and ValueError for a folder that
    is no run, or that another run writes into; what archives do wrong is in the result.
    """
    folder = run_folder(run)
    result = VerifyResult()
    before = client.requests
    with OutputFolder(folder, COMMAND, shared=shared) as outputs, Journal(folder / JOURNAL) as journal:
        outputs.own(JOURNAL)
        _take_over(folder, journal, afresh, clock())
        asker = Asker(client, clock)
        waiting = _unanswered(run, places, journal)
        for holdings in asker.as_they_come(waiting):
            journal.add(holdings)
            result.asked += sum(holding.state != "unidentified" for holding in holdings)
            if progress is not None:
                progress(result.asked)
        write_holdings(outputs, _in_order(run, places, journal, result))
        outputs.publish()
        journal.remove()
    result.requests = client.requests - before
    return result


def _take_over(folder: Path, journal: Journal, afresh: bool, now: dt.datetime) -> None:
    """Fill the journal with the answers that still count: those of a check that did not end, then those of the last that did."""
    interrupted = False
    for holding in journal.old():
        interrupted = True
        if holding.question is not None and (afresh or not _counts(holding, now, unfinished=True)):
            journal.forget(holding.question)
    path = next((path for name in (NAME, EARLIER) if (path := folder / name).is_file()), None)
    if afresh or path is None:
        return
    unfinished = interrupted or any(holding.state == "unreachable" for holding in read_holdings(path))
    kept = (
        holding
        for holding in read_holdings(path)
        if holding.question is not None and holding.question not in journal and _counts(holding, now, unfinished)
    )
    for batch in batched(kept, 1000):
        journal.add(batch)


def _counts(holding: Holding, now: dt.datetime, unfinished: bool) -> bool:
    """Whether an earlier answer still counts."""
    if holding.state == "unreachable" or holding.asked is None:
        return False
    if not unfinished and holding.state != "present":
        return False
    return now - dt.datetime.fromisoformat(holding.asked) < FRESH


def _unanswered(run: Path, places: Places, journal: Journal) -> Iterator[Expected]:
    seen: set[str] = set()
    for study in studies_of(run, places):
        question = study.expected.question
        if question not in journal and question not in seen:
            seen.add(question)
            yield study.expected


def _in_order(run: Path, places: Places, journal: Journal, result: VerifyResult) -> Iterator[Holding]:
    written: set[str] = set()
    for study in studies_of(run, places):
        question = study.expected.question
        if question in written:
            continue
        written.add(question)
        holding = journal.answer(question)
        result.states[holding.state] += 1
        if holding.reason is not None:
            result.reasons[holding.reason] += 1
        yield holding
