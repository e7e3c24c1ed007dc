"""QIDO-RS: studies, series and instances by their UIDs, batched and paged (PS3.18 section 10.6).

Answers are rows of DICOM JSON (PS3.18 annex F), read here into what the rest asks of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from engine.data.dicomweb.client import Client, shown
from engine.data.dicomweb.failure import ArchiveFailure, Cause
from engine.data.dicomweb.uids import safe_uid

JSON = "application/dicom+json"
ACCEPT = "application/dicom+json, application/json;q=0.8"
PAGE = 1000
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
PATIENT_ID, OTHER_IDS, OTHER_IDS_SEQUENCE = "00100020", "00101000", "00101002"
DATE, TIME, MODALITIES, MODALITY = "00080020", "00080030", "00080061", "00080060"
DESCRIPTION, NUMBER = "0008103E", "00200013"
STUDY_SERIES, STUDY_INSTANCES, SERIES_INSTANCES = "00201206", "00201208", "00201209"
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class HeldStudy:
    """A study as an archive describes it; what it does not tell is None or empty."""

    uid: str
    patient_ids: tuple[str, ...] = ()
    date: str | None = None
    time: str | None = None
    modalities: tuple[str, ...] = ()
    series_count: int | None = None
    instance_count: int | None = None


@dataclass(frozen=True, slots=True)
class HeldSeries:
    """A series as an archive describes it."""

    study: str
    uid: str
    modality: str | None = None
    description: str | None = None
    instance_count: int | None = None


@dataclass(frozen=True, slots=True)
class HeldInstance:
    """An instance as an archive describes it."""

    study: str
    series: str
    uid: str
    number: int | None = None


def find_studies(client: Client, base: str, uids: Sequence[str]) -> dict[str, HeldStudy]:
    """Studies by Study Instance UID, one request for all of them. Raises ArchiveFailure."""
    fields = [PATIENT_ID, DATE, TIME, MODALITIES, STUDY_SERIES, STUDY_INSTANCES]
    url = _query(f"{base}/studies", [(STUDY, ",".join(uids))], fields)
    wanted = set(uids)
    return {
        uid: HeldStudy(
            uid,
            _patient_ids(row),
            text_of(row, DATE),
            text_of(row, TIME),
            tuple(texts_of(row, MODALITIES)),
            number_of(row, STUDY_SERIES),
            number_of(row, STUDY_INSTANCES),
        )
        for row in rows_of(client, url)
        if (uid := text_of(row, STUDY)) in wanted and uid is not None
    }


def find_series(client: Client, base: str, uids: Sequence[str], count: int | None = None) -> Iterator[HeldSeries]:
    """The series of studies: of one in its own folder, of several by a relational search. `count` tells how many there are."""
    one = uids[0] if len(uids) == 1 else None
    path = f"{base}/studies/{one}/series" if one else f"{base}/series"
    matches = [] if one else [(STUDY, ",".join(uids))]
    for row in _paged(client, path, matches, [MODALITY, DESCRIPTION, SERIES_INSTANCES], SERIES, count):
        study, series = text_of(row, STUDY) or one, text_of(row, SERIES)
        if study is not None and series is not None and safe_uid(series):
            modality, description = text_of(row, MODALITY), text_of(row, DESCRIPTION)
            yield HeldSeries(study, series, modality, description, number_of(row, SERIES_INSTANCES))


def find_instances(
    client: Client, base: str, uids: Sequence[str], series: str | None = None, count: int | None = None
) -> Iterator[HeldInstance]:
    """The instances of studies, or of one series of one study. Raises ArchiveFailure."""
    one = uids[0] if len(uids) == 1 else None
    matches: list[tuple[str, str]] = []
    if one is not None and series is not None:
        path = f"{base}/studies/{one}/series/{series}/instances"
    elif one is not None:
        path = f"{base}/studies/{one}/instances"
    else:
        path, matches = f"{base}/instances", [(STUDY, ",".join(uids))]
    for row in _paged(client, path, matches, [NUMBER], INSTANCE, count):
        study, owner, uid = text_of(row, STUDY) or one, text_of(row, SERIES) or series, text_of(row, INSTANCE)
        if study is not None and owner is not None and uid is not None and safe_uid(uid):
            yield HeldInstance(study, owner, uid, number_of(row, NUMBER))


def _paged(
    client: Client, path: str, matches: list[tuple[str, str]], fields: list[str], key: str, count: int | None
) -> Iterator[Row]:
    """All rows, page by page, however many a server gives at once; a server that ignores the offset ends it."""
    seen: set[str] = set()
    while True:
        url = _query(path, [*matches, ("limit", str(PAGE)), ("offset", str(len(seen)))], fields)
        fresh = 0
        for row in rows_of(client, url):
            uid = text_of(row, key)
            if uid is not None and uid not in seen:
                seen.add(uid)
                fresh += 1
                yield row
        if not fresh or (count is not None and len(seen) >= count):
            return


def _query(path: str, matches: list[tuple[str, str]], fields: list[str]) -> str:
    return f"{path}?{urlencode([*matches, *(('includefield', field) for field in fields)], safe=',')}"


def rows_of(client: Client, url: str) -> list[Row]:
    """The rows of a search; none for 204. Raises ArchiveFailure, also where the answer is no DICOM JSON."""
    status, body = client.search(url, ACCEPT)
    if status == 204 or not body.strip():
        return []
    try:
        rows = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        rows = None
    if not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows):
        raise ArchiveFailure(Cause.MALFORMED_ANSWER, f"{shown(url)}: the answer is no list in DICOM JSON", status)
    return rows


def texts_of(row: Row, tag: str) -> list[str]:
    """The values of an attribute as text, without DICOM padding."""
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list):
        return []
    return [text for value in values if isinstance(value, (str, int, float)) and (text := str(value).strip(" \x00"))]


def text_of(row: Row, tag: str) -> str | None:
    """The first value of an attribute."""
    found = texts_of(row, tag)
    return found[0] if found else None


def number_of(row: Row, tag: str) -> int | None:
    """The first value of an attribute as a number; some servers write it as text."""
    text = text_of(row, tag)
    try:
        return int(float(text)) if text is not None else None
    except (ValueError, OverflowError):
        return None


def _patient_ids(row: Row) -> tuple[str, ...]:
    found = [*texts_of(row, PATIENT_ID), *texts_of(row, OTHER_IDS)]
    others = row.get(OTHER_IDS_SEQUENCE)
    for item in (others.get("Value") or []) if isinstance(others, dict) else []:
        if isinstance(item, dict):
            found += texts_of(item, PATIENT_ID)
    return tuple(dict.fromkeys(found))
