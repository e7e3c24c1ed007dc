"""What of some studies an archive holds: asked in batches, and one by one before anything is called absent."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause
from fhir_eligibility.data.archives.qido import (
    HeldSeries,
    HeldStudy,
    find_instances,
    find_series,
    find_studies,
)

if TYPE_CHECKING:
    from fhir_eligibility.data.archives.client import Client

BATCH = 50
ALONE = 200
"""Series or instances of a study that are asked for one by one where lists of an archive are not to be relied on."""


class Need(Struct, frozen=True):
    """A study that is asked for: by series UID the instances of it that are asked for, perhaps none."""

    study: str
    series: dict[str, tuple[str, ...]] = field(default_factory=dict)


class StudyPresence(Struct):
    """What an archive holds of a study: series, and those of the instances asked for, by series."""

    study: HeldStudy
    series: dict[str, HeldSeries] = field(default_factory=dict)
    instances: dict[str, set[str]] = field(default_factory=dict)

    def lacks(self, need: Need) -> bool:
        """Whether something of a need was not found."""
        return any(self.lacking(uid, wanted) for uid, wanted in need.series.items())

    def lacking(self, series: str, wanted: Sequence[str]) -> bool:
        """Whether a series, or an instance of it, was not found."""
        return series not in self.series or not self.instances.get(series, set()).issuperset(wanted)


Found = StudyPresence | ArchiveFailure | None


class Presence:
    """Asks archives what they hold; remembers which of them do not take a list of UIDs."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._singly: set[str] = set()
        self._lock = threading.Lock()

    def ask(self, base: str, needs: Iterable[Need]) -> dict[str, Found]:
        """By study UID: what is held, None where the archive was asked for it alone and does not have it, or why it gave no answer."""
        out: dict[str, Found] = {}
        waiting = list(needs)
        for start in range(0, len(waiting), BATCH):
            out.update(self._batch(base, waiting[start : start + BATCH]))
        return out

    def _batch(self, base: str, needs: list[Need]) -> dict[str, Found]:
        out: dict[str, Found] = {}
        found: dict[str, StudyPresence] = {}
        together = len(needs) > 1 and base not in self._singly
        if together:
            try:
                found = self._together(base, needs)
            except ArchiveFailure as failure:
                if failure.cause not in (
                    FailureCause.REQUEST_REFUSED,
                    FailureCause.NOT_FOUND,
                    FailureCause.MALFORMED_ANSWER,
                ):
                    return {need.study: failure for need in needs}
        for need in needs:
            known = found.get(need.study)
            if known is not None and not known.lacks(need):
                out[need.study] = known
                continue
            try:
                out[need.study] = alone = self._alone(base, need, known)
            except ArchiveFailure as failure:
                out[need.study] = failure
                continue
            if together and alone is not None and not alone.lacks(need):
                with self._lock:  # the list did not bring what is there
                    self._singly.add(base)
        return out

    def _together(self, base: str, needs: list[Need]) -> dict[str, StudyPresence]:
        """A batch in at most three searches. What it does not bring is not yet known to be absent."""
        by_study = {need.study: need for need in needs}
        found = {uid: StudyPresence(study) for uid, study in find_studies(self.client, base, list(by_study)).items()}
        counted = [uid for uid in found if by_study[uid].series]
        if len(counted) > 1:
            total = _total(found[uid].study.series_count for uid in counted)
            for series in find_series(self.client, base, counted, total):
                if series.study in found:
                    found[series.study].series[series.uid] = series
        listed = [uid for uid in counted if any(by_study[uid].series.values())]
        if len(listed) > 1:
            total = _total(found[uid].study.instance_count for uid in listed)
            wanted = {uid: {x: set(y) for x, y in by_study[uid].series.items()} for uid in listed}
            for one in find_instances(self.client, base, listed, count=total):
                if one.uid in wanted.get(one.study, {}).get(one.series, ()):
                    found[one.study].instances.setdefault(one.series, set()).add(one.uid)
        return found

    def _alone(self, base: str, need: Need, known: StudyPresence | None) -> StudyPresence | None:
        """One study by itself, to the last page: whether it is there, its series, and the instances of series that lack some."""
        if known is None:
            study = find_studies(self.client, base, [need.study]).get(need.study)
            if study is None:
                return None
            known = StudyPresence(study)
        if any(uid not in known.series for uid in need.series):
            series = find_series(self.client, base, [need.study], known.study.series_count, last_page=True)
            known.series.update((one.uid, one) for one in series)
            lacking = [uid for uid in need.series if uid not in known.series]
            if lacking and series.doubt is not None:
                for one in self._each_series(base, need.study, lacking, series.doubt):
                    known.series[one.uid] = one
        for uid, wanted in need.series.items():
            if uid in known.series and known.lacking(uid, wanted):
                count = known.series[uid].instance_count
                instances = find_instances(self.client, base, [need.study], uid, count, last_page=True)
                here = {one.uid for one in instances}
                missing = [one for one in wanted if one not in here]
                if missing and instances.doubt is not None:
                    here |= self._each_instance(base, need.study, uid, missing, instances.doubt)
                known.instances[uid] = here.intersection(wanted)
        return known

    def _each_series(self, base: str, study: str, uids: Sequence[str], doubt: str) -> Iterator[HeldSeries]:
        """Series that a list did not bring, each asked for by itself. Raises ArchiveFailure where that does not tell either."""
        if len(uids) > ALONE:
            raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, doubt)
        for uid in uids:
            answer = find_series(self.client, base, [study], 1, uid)
            found = next((one for one in answer if one.uid == uid), None)
            if found is not None:
                yield found
            elif answer.rows or answer.malformed:
                raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, doubt)

    def _each_instance(self, base: str, study: str, series: str, uids: Sequence[str], doubt: str) -> set[str]:
        """The same for instances."""
        if len(uids) > ALONE:
            raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, doubt)
        out = set()
        for uid in uids:
            answer = find_instances(self.client, base, [study], series, 1, uid)
            if any(one.uid == uid for one in answer):
                out.add(uid)
            elif answer.rows or answer.malformed:
                raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, doubt)
        return out


def _total(counts: Iterable[int | None]) -> int | None:
    found = list(counts)
    return None if None in found else sum(x for x in found if x is not None)
