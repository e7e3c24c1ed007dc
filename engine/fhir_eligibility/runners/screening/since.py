"""A run that takes over patients from an earlier one (`--since`): what else than a patient's records must be the same, and what comes of it.

What verdicts depend on is named part by part, so that a run can say why it judged everyone anew. What is not known to be the same is not the same.
"""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from fhir_eligibility.compiler.criteria.clock import rules_read_clock
from fhir_eligibility.data.bulk.blocks import EarlierBlocks, is_whole
from fhir_eligibility.data.bulk.fingerprints import Fingerprints
from fhir_eligibility.data.records.gaps import Gaps
from fhir_eligibility.output.folder import OutputFolder
from fhir_eligibility.runners.large.earlier import (
    BLOCKS,
    PROBLEMS,
    Described,
    EarlierPatients,
    Unusable,
    described,
    write_index,
)
from fhir_eligibility.runners.large.untouched import EarlierData, in_the_same_order
from fhir_eligibility.runners.screening.criteria import Criteria, PathLike
from fhir_eligibility.runners.screening.run_options import RunOptions, fingerprint_of

_EACH = 512
"""Bytes of memory for what is told of a patient, or of a file, of the earlier run."""
_LEFT_OUT = frozenset(("data", "--now", "--timezone", "--pseudonym-list"))
FOLLOWS = "the criteria follow references to other patients' records, so that a patient's own do not tell whether the answers are the same"


class TakingOver:
    """Keeps the fingerprints of a run, and tells whom it takes over. `why` says why it takes over nobody, None where it may take over some."""

    def __init__(
        self,
        criteria: Criteria,
        criteria_paths: Sequence[PathLike],
        options: RunOptions,
        folder: OutputFolder,
        follows: bool,
    ) -> None:
        codes = options.pseudonyms
        self.fingerprints = Fingerprints(b"" if codes is None else codes.key)
        self.why: str | None = None
        self.digest = ""
        """What tells the earlier run from others."""
        self._settings = {
            name: value
            for name, value in fingerprint_of(criteria, criteria_paths, (), options).items()
            if name not in _LEFT_OUT
        }
        self._settings["criteria as they were read"] = self.fingerprints.of(list(_read(criteria))).hex()
        self._settings["Python"] = platform.python_version()
        self._settings["version of FHIR"] = criteria.fhir_version
        self._clock = rules_read_clock(criteria.rules)
        self._timezone = options.timezone
        self._state: dict[str, str] = {}
        self._since = options.since
        self._folder = folder
        self._asks = options.validate or options.pseudonym_list is not None
        self._described: Described | None = None
        self._earlier: EarlierPatients | None = None
        if options.since is not None:
            try:
                self._described = described(options.since)
                self.digest = self.fingerprints.of(msgspec.json.encode(self._described)).hex()
            except (Unusable, OSError) as error:
                self.why = str(error)
            if follows:
                self.why = FOLLOWS

    @property
    def state(self) -> dict[str, str]:
        """All that verdicts depend on besides the records of patients, by what it is called."""
        return self._state

    def begin(self, moment: dt.datetime) -> EarlierPatients | None:
        """The patients of the earlier run, if some can be taken over at a time of evaluation. Raises OSError."""
        self._state = {
            **self._settings,
            "time of evaluation": moment.isoformat() if self._clock else "not read",
            "time zone": f"{self._timezone} {moment.utcoffset()}",
        }
        if self._described is None or self._since is None or self._differs():
            return None
        index = self._folder.aside()
        index.stream.close()
        write_index(self._since, self._described, index.part)
        self._earlier = EarlierPatients(self._since, self._described, index.part)
        return self._earlier

    def blocks(self, files: Sequence[str], memory: int) -> EarlierData | None:
        """The blocks of the earlier run's data, where lines may be set aside, and they help: all is there as it was written, its files stand in the same order, and
        what is told of each patient and file fits into so many bytes of memory."""
        described_run, path = self._described, None if self._since is None else self._since / BLOCKS
        patients = self._earlier
        if (
            not self.sifts
            or described_run is None
            or path is None
            or patients is None
            or (described_run.patients + len(files)) * _EACH > memory
        ):
            return None
        try:
            found = EarlierBlocks(path, self.fingerprints)
            helps = is_whole(path, described_run.rows) and in_the_same_order(found, files)
            return EarlierData(found, patients) if helps else None
        except OSError:
            return None

    @property
    def sifts(self) -> bool:
        """Whether lines may be set aside undecoded: patients may be taken over, nothing was wrong with the data of the earlier run, and nobody asks for more of it."""
        if self._described is None or self.why is not None or self._since is None or self._asks:
            return False
        try:
            return not (self._since / PROBLEMS).stat().st_size
        except OSError:
            return False

    def with_data(self, nobodys: bytes, gaps: Gaps) -> bool:
        """Whether patients are taken over, now that the data is read: `nobodys` is a digest of the records of no patient, `gaps` are what may be missing of all."""
        found = [(gap.type, gap.why, gap.replaced, gap.tolerated, gap.others, gap.filters) for gap in gaps]
        self._state["records of no patient"] = nobodys.hex()
        self._state["what is known to be missing"] = self.fingerprints.of(found).hex()
        return self._described is not None and not self._differs()

    def _differs(self) -> bool:
        """Whether something is known to be another than in the earlier run."""
        if self.why is None and self._described is not None:
            changed = _changed(self._described.state, self._state)
            if changed:
                self.why = f"changed since then: {', '.join(changed)}"
        return self.why is not None


def _read(criteria: Criteria) -> Iterator[tuple[object, ...]]:
    """What became of each criterion: options with which criteria are read may leave one that has errors, or have it evaluated."""
    for rules in criteria.rules:
        yield rules.key, rules.model, rules.combination, rules.threshold, rules.title
        for rule in rules.walk():
            text = None if rule.code is None else rule.code.text
            yield rule.id, rule.exclude, rule.form, rule.combination, rule.threshold, rule.reason, rule.detail, text


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [name for name, value in now.items() if before.get(name) != value]
