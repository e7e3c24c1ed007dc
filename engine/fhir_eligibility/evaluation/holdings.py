"""The record of a study beside what an archive holds of it: present, partly, another's, or not there.

Pure: archives are asked elsewhere. A study may lie in several archives, any of which will do, and series of it in archives of their own, all
of which are needed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause
from fhir_eligibility.data.archives.presence import Found, Need, StudyPresence
from fhir_eligibility.evaluation.verdict import Holding, HoldingState, ImagingLink, MissingInstances

_OFFSETS = (dt.timedelta(hours=-12), dt.timedelta(hours=14))
Ask = Callable[[str, Need], Found]


@dataclass(frozen=True, slots=True)
class ExpectedSeries:
    """A series as the record lists it."""

    uid: str
    modality: str | None = None
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeriesPart:
    """Some series of a study, and the archives that should have them, any of which will do."""

    archives: tuple[str, ...]
    series: tuple[ExpectedSeries, ...] = ()

    def need(self, study: str) -> Need:
        """What an archive is asked for."""
        return Need(study, {series.uid: series.instances for series in self.series})


@dataclass(frozen=True, slots=True)
class Expected:
    """A study as the record describes it. `identifiers` are those of the patient."""

    patient: str
    resource: str
    study: str | None
    parts: tuple[SeriesPart, ...] = ()
    identifiers: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    started: str | None = None
    series_count: int | None = None
    instance_count: int | None = None
    remarks: tuple[str, ...] = field(default=(), compare=False)

    @property
    def question(self) -> str:
        """A hash of all that the answer depends on."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]


def expected_of(
    patient: str,
    links: Sequence[ImagingLink],
    identifiers: Iterable[str],
    *,
    dicomweb: str | None = None,
    ignore_endpoints: bool = False,
) -> Expected:
    """The links to one study, of whatever criteria, as one record of it.

    Archives are those of the links, `dicomweb` where they name none or are to be ignored.
    """
    first = links[0]
    study = next((link.study for link in links if link.study), None)
    default = (dicomweb.rstrip("/"),) if dicomweb else ()
    named = tuple(dict.fromkeys(base for link in links for url in link.urls if (base := base_of(url))))
    main = default if ignore_endpoints else named or default
    series: dict[str, ExpectedSeries] = {}
    places: dict[str, str | None] = {}
    for link in links:
        for one in link.series:
            if one.uid is None:
                continue
            known = series.get(one.uid, ExpectedSeries(one.uid))
            instances = tuple(dict.fromkeys([*known.instances, *one.instances]))
            series[one.uid] = ExpectedSeries(one.uid, known.modality or one.modality, instances)
            own = base_of(one.url) if one.url and not ignore_endpoints else None
            places.setdefault(one.uid, None if own is None or own in main else own)
    parts = [SeriesPart(main, tuple(s for uid, s in series.items() if places[uid] is None))]
    for place in dict.fromkeys(p for p in places.values() if p is not None):
        parts.append(SeriesPart((place,), tuple(s for uid, s in series.items() if places[uid] == place)))
    if len(parts) > 1 and not parts[0].series:
        parts = parts[1:]
    return Expected(
        patient,
        first.resource,
        study,
        tuple(parts),
        tuple(dict.fromkeys(identifiers)),
        tuple(dict.fromkeys(code for link in links for code in link.modality)),
        next((link.started for link in links if link.started), None),
        first.series_count,
        first.instance_count,
        tuple(dict.fromkeys(remark for link in links for remark in link.warnings)),
    )


def base_of(url: str) -> str | None:
    """The archive of a WADO-RS address of a study or series."""
    base, found, _ = url.rpartition("/studies/")
    return base if found and base else None


def holding_of(expected: Expected, ask: Ask, asked: str | None = None) -> Holding:
    """What archives hold of a study. `ask` answers for one archive; an archive is asked only while others did not decide it."""
    if expected.study is None:
        detail = "; ".join(expected.remarks) or "no Study Instance UID"
        return _holding(expected, HoldingState.UNIDENTIFIED, detail=detail)
    return all_of(expected, [any_of(expected, part, ask) for part in expected.parts], asked)


_GOOD = (HoldingState.PRESENT, HoldingState.MISMATCH)
_BEST_FIRST = (
    HoldingState.PRESENT,
    HoldingState.MISMATCH,
    HoldingState.UNREACHABLE,
    HoldingState.PARTIAL,
    HoldingState.PATIENT_MISMATCH,
    HoldingState.ABSENT,
)
_WORST_FIRST = (
    HoldingState.PATIENT_MISMATCH,
    HoldingState.UNREACHABLE,
    HoldingState.ABSENT,
    HoldingState.PARTIAL,
    HoldingState.MISMATCH,
    HoldingState.PRESENT,
)


def any_of(expected: Expected, part: SeriesPart, ask: Ask) -> Holding:
    """Archives that should each hold the same: the first that has all of it settles it."""
    if not part.archives:
        detail = "the data names no archive, and none was given (--dicomweb)"
        return _holding(expected, HoldingState.UNREACHABLE, reason=FailureCause.NO_ARCHIVE, detail=detail)
    assert expected.study is not None
    answers = []
    for archive in part.archives:
        answer = compare(expected, part, ask(archive, part.need(expected.study)), archive)
        answers.append(answer)
        if answer.state in _GOOD:
            break
    best = min(answers, key=lambda holding: _BEST_FIRST.index(HoldingState(holding.state)))
    others = [f"{h.archive}: {h.state}" for h in answers if h is not best]
    if others and best.state not in _GOOD:
        detail = "; ".join([*([best.detail] if best.detail else []), *others])
        return best.model_copy(update={"detail": detail})
    return best


def all_of(expected: Expected, found: Sequence[Holding], asked: str | None) -> Holding:
    """Parts of a study in several archives, all of which are needed, as one answer."""
    worst = min(found, key=lambda holding: _WORST_FIRST.index(HoldingState(holding.state)))
    state = HoldingState(worst.state)
    lacking = [
        series.uid
        for part, h in zip(expected.parts, found, strict=True)
        if h.state == "absent"
        for series in part.series
    ]
    if state is HoldingState.ABSENT and any(holding.state != HoldingState.ABSENT for holding in found):
        state = HoldingState.PARTIAL
    missing = [uid for holding in found for uid in holding.missing_series]
    if state is HoldingState.PARTIAL:
        missing += [uid for uid in lacking if uid not in missing]
    return worst.model_copy(
        update={
            "state": state.value,
            "missing_series": missing,
            "missing_instances": [item for holding in found for item in holding.missing_instances],
            "differences": list(dict.fromkeys(text for holding in found for text in holding.differences)),
            "asked": asked,
        }
    )


def compare(expected: Expected, part: SeriesPart, found: Found, archive: str) -> Holding:
    """A part of a record beside the answer of one archive."""
    if isinstance(found, ArchiveFailure):
        return _holding(expected, HoldingState.UNREACHABLE, reason=found.cause, detail=found.message, archive=archive)
    if found is None:
        return _holding(expected, HoldingState.ABSENT, archive=archive)
    missing_series = [series.uid for series in part.series if series.uid not in found.series]
    missing_instances = [
        MissingInstances(series=series.uid, instances=lacking)
        for series in part.series
        if series.uid in found.series
        and (lacking := [uid for uid in series.instances if uid not in found.instances.get(series.uid, set())])
    ]
    state, detail = HoldingState.PRESENT, None
    whole = len(expected.parts) == 1
    differences = differences_of(expected, part, found, whole)
    held_for = [identifier for identifier in found.study.patient_ids if identifier]
    if held_for and expected.identifiers and not set(held_for) & set(expected.identifiers):
        state = HoldingState.PATIENT_MISMATCH
        detail = f"held for Patient ID {held_for[0]}, which is none of the patient's identifiers"
    elif missing_series or missing_instances:
        state = HoldingState.PARTIAL
    elif differences:
        state = HoldingState.MISMATCH
    elif not held_for:
        detail = "the archive names no patient, so that the patient was not compared"
    elif not expected.identifiers:
        detail = "the patient has no identifiers, so that the patient was not compared"
    return _holding(
        expected,
        state,
        detail=detail,
        archive=archive,
        missing_series=missing_series,
        missing_instances=missing_instances,
        differences=differences,
    )


def differences_of(expected: Expected, part: SeriesPart, held: StudyPresence, whole: bool) -> list[str]:
    """In what a study that is held differs from its record: counts (of a whole study only), modality, date."""
    out = []
    study = held.study
    if whole:
        for name, said, has in (
            ("series", expected.series_count, study.series_count),
            ("instances", expected.instance_count, study.instance_count),
        ):
            if said is not None and has is not None and said != has:
                out.append(f"number of {name}: the record says {said}, the archive has {has}")
        lacking = [code for code in expected.modality if code not in study.modalities]
        if study.modalities and lacking:
            has_text = ", ".join(study.modalities)
            out.append(f"modality: the record says {', '.join(lacking)}, the archive has {has_text}")
    for series in part.series:
        found = held.series.get(series.uid)
        if found is not None and series.modality and found.modality and series.modality != found.modality:
            said_text = f"the record says {series.modality}, the archive has {found.modality}"
            out.append(f"modality of series {series.uid}: {said_text}")
    if not same_day(expected.started, study.date):
        out.append(f"date: the record says {expected.started}, the archive has {study.date}")
    return out


def same_day(started: str | None, date: str | None) -> bool:
    """Whether a FHIR dateTime and a DICOM date can be the same day; what is not given cannot differ.

    The archive's date has no time zone: any from UTC-12 to UTC+14 may be meant.
    """
    if not started or not date or len(date) != 8 or not date.isdigit():
        return True
    shown = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    day = started.partition("T")[0]
    if shown.startswith(day):
        return True
    if "T" not in started:
        return False
    try:
        moment = dt.datetime.fromisoformat(started)
        local = dt.datetime.strptime(date, "%Y%m%d")
    except ValueError:
        return True
    if moment.tzinfo is None:
        return False
    instant = moment.astimezone(dt.UTC).replace(tzinfo=None)
    earliest, latest = instant + _OFFSETS[0], instant + _OFFSETS[1]
    return earliest.date() <= local.date() <= latest.date()


def _holding(expected: Expected, state: HoldingState, **more: object) -> Holding:
    return Holding.model_validate(
        {"patient": expected.patient, "resource": expected.resource, "study": expected.study, "state": state, **more}
    )
