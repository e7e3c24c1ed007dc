"""QIDO-RS: studies, series and instances by their UIDs, batched and paged (PS3.18 section 10.6).

Answers are rows of DICOM JSON (PS3.18 annex F), read here into what the rest asks of them. Archives limit how many rows they give at once, some
refuse a larger limit, ignore the offset or what is searched for, or write rows that cannot be read: what they then do not list is not absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Struct, field

from fhir_eligibility.data.archives.failure import ArchiveFailure, FailureCause
from fhir_eligibility.data.archives.uids import safe_uid
from fhir_eligibility.data.http.address import shown

if TYPE_CHECKING:
    from fhir_eligibility.data.archives.client import Client

JSON = "application/dicom+json"
ACCEPT = "application/dicom+json, application/json;q=0.8"
SIZES = (1000, 200, 50, 0)
"""Rows of a page that are asked for, the next where an archive refuses one; 0: as many as it gives by itself."""
MOST = 2_000_000
"""Rows of one listing."""
STUDY, SERIES, INSTANCE = "0020000D", "0020000E", "00080018"
PATIENT_ID, OTHER_IDS, OTHER_IDS_SEQUENCE = "00100020", "00101000", "00101002"
DATE, TIME, MODALITIES, MODALITY = "00080020", "00080030", "00080061", "00080060"
DESCRIPTION, NUMBER = "0008103E", "00200013"
STUDY_SERIES, STUDY_INSTANCES, SERIES_INSTANCES = "00201206", "00201208", "00201209"
Row = dict[str, Any]


T = TypeVar("T")


class ArchiveListing(Struct, Generic[T]):
    """What an archive lists. `malformed` and `unsure` tell why something that is not listed may be there all the same.

    `malformed` is about rows that cannot be read, `unsure` about pages that may have been left out.
    """

    rows: list[T] = field(default_factory=list)
    malformed: str | None = None
    unsure: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)

    @property
    def doubt(self) -> str | None:
        """Either of both."""
        return self.malformed or self.unsure


class HeldStudy(Struct, frozen=True):
    """A study as an archive describes it; what it does not tell is None or empty."""

    uid: str
    patient_ids: tuple[str, ...] = ()
    date: str | None = None
    time: str | None = None
    modalities: tuple[str, ...] = ()
    series_count: int | None = None
    instance_count: int | None = None


class HeldSeries(Struct, frozen=True):
    """A series as an archive describes it."""

    study: str
    uid: str
    modality: str | None = None
    description: str | None = None
    instance_count: int | None = None


class HeldInstance(Struct, frozen=True):
    """An instance as an archive describes it."""

    study: str
    series: str
    uid: str
    number: int | None = None


def find_studies(client: Client, base: str, uids: Sequence[str]) -> dict[str, HeldStudy]:
    """Studies by Study Instance UID, one request for all of them. Of several, those that it does not bring are not yet absent.

    Raises ArchiveFailure, `malformed-answer` where one study is asked for and the rows are not about it.
    """
    fields = [PATIENT_ID, DATE, TIME, MODALITIES, STUDY_SERIES, STUDY_INSTANCES]
    url = _query(f"{base}/studies", [(STUDY, ",".join(uids))], fields)
    wanted = set(uids)
    rows = rows_of(client, url)
    found = {
        uid: HeldStudy(
            uid,
            _patient_ids(row),
            text_of(row, DATE),
            text_of(row, TIME),
            tuple(texts_of(row, MODALITIES)),
            number_of(row, STUDY_SERIES),
            number_of(row, STUDY_INSTANCES),
        )
        for row in rows
        if (uid := text_of(row, STUDY)) in wanted and uid is not None
    }
    if rows and not found and len(uids) == 1:
        others = all(safe_uid(text_of(row, STUDY) or "") for row in rows)
        why = "the answer is about other studies than the one that was asked for" if others else _why(rows, STUDY)
        raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, f"{shown(url)}: {why}", 200)
    return found


def find_series(
    client: Client,
    base: str,
    uids: Sequence[str],
    count: int | None = None,
    series: str | None = None,
    *,
    last_page: bool = False,
) -> ArchiveListing[HeldSeries]:
    """The series of studies: of one in its own folder (with `series`, that one only), of several by a relational search.

    `count` tells how many there are; pages end there, or, with `last_page`, where the archive gives no more. Raises ArchiveFailure.
    """
    one = uids[0] if len(uids) == 1 else None
    path = f"{base}/studies/{one}/series" if one else f"{base}/series"
    matches = [(SERIES, series)] if series is not None else [] if one else [(STUDY, ",".join(uids))]
    fields = [MODALITY, DESCRIPTION, SERIES_INSTANCES]

    def read(row: Row, uid: str) -> HeldSeries | None:
        study = text_of(row, STUDY) or one
        if study is None or study not in uids:
            return None
        return HeldSeries(
            study, uid, text_of(row, MODALITY), text_of(row, DESCRIPTION), number_of(row, SERIES_INSTANCES)
        )

    return _listing(client, base, path, matches, fields, SERIES, read, count, last_page)


def find_instances(
    client: Client,
    base: str,
    uids: Sequence[str],
    series: str | None = None,
    count: int | None = None,
    instance: str | None = None,
    *,
    last_page: bool = False,
) -> ArchiveListing[HeldInstance]:
    """The instances of studies, or of one series of one study (with `instance`, that one only); pages as for `find_series`.

    Raises ArchiveFailure.
    """
    one = uids[0] if len(uids) == 1 else None
    matches: list[tuple[str, str]] = [] if instance is None else [(INSTANCE, instance)]
    if one is not None and series is not None:
        path = f"{base}/studies/{one}/series/{series}/instances"
    elif one is not None:
        path = f"{base}/studies/{one}/instances"
    else:
        path, matches = f"{base}/instances", [(STUDY, ",".join(uids))]

    def read(row: Row, uid: str) -> HeldInstance | None:
        study, owner = text_of(row, STUDY) or one, text_of(row, SERIES) or series
        if study is None or owner is None or study not in uids or series not in (None, owner):
            return None
        return HeldInstance(study, owner, uid, number_of(row, NUMBER))

    return _listing(client, base, path, matches, [NUMBER], INSTANCE, read, count, last_page)


def _listing(
    client: Client,
    base: str,
    path: str,
    matches: list[tuple[str, str]],
    fields: list[str],
    key: str,
    read: Callable[[Row, str], T | None],
    count: int | None,
    last_page: bool,
) -> ArchiveListing[T]:
    """All rows with a UID, page by page, however many an archive gives at once. `read` gives None for a row about something else."""
    out: ArchiveListing[T] = ArchiveListing()
    seen: set[str] = set()
    received = 0
    while last_page or count is None or len(seen) < count:
        refused: str | None = None
        try:
            page = _page(client, base, path, matches, fields, received)
        except ArchiveFailure as failure:
            if not received or failure.cause not in (FailureCause.REQUEST_REFUSED, FailureCause.NOT_FOUND):
                raise
            page, refused = [], failure.message
        fresh = 0
        for row in page:
            uid = text_of(row, key)
            if uid is None or not safe_uid(uid):
                out.malformed = out.malformed or f"{shown(path)}: {_why([row], key)}"
            elif uid not in seen:
                seen.add(uid)
                fresh += 1
                item = read(row, uid)
                if item is not None:
                    out.rows.append(item)
                elif out.malformed is None:
                    out.malformed = f"{shown(path)}: a row of the answer does not tell that it is of what was asked for"
        received += len(page)
        if received > MOST:
            raise ArchiveFailure(
                FailureCause.MALFORMED_ANSWER, f"{shown(path)}: the archive lists more than {MOST:,} rows"
            )
        if not fresh:
            if refused is not None and (count is None or len(seen) < count):
                out.unsure = f"the archive gives no rows beyond {received}: {refused}"
            elif page and count != len(seen):
                out.unsure = f"{shown(path)}: the archive gives the same rows whatever the offset, and may have more"
            elif count is not None and len(seen) < count:
                out.unsure = f"{shown(path)}: the archive counts {count}, but lists {len(seen)}"
            break
    return out


def _page(
    client: Client, base: str, path: str, matches: list[tuple[str, str]], fields: list[str], offset: int
) -> list[Row]:
    """One page, as large as the archive takes; what it takes is remembered."""
    first: ArchiveFailure | None = None
    for size in SIZES[SIZES.index(client.page_sizes.get(base, SIZES[0])) :]:
        limit = [("limit", str(size))] if size else []
        url = _query(path, [*matches, *limit, ("offset", str(offset))], fields)
        try:
            rows = rows_of(client, url)
        except ArchiveFailure as failure:
            if failure.cause is not FailureCause.REQUEST_REFUSED:
                raise first or failure from None
            first = first or failure
        else:
            client.page_sizes[base] = size
            return rows
    assert first is not None
    raise first


def _why(rows: Sequence[Row], key: str) -> str:
    """Why rows have no UID, in words."""
    name = {STUDY: "Study Instance UID", SERIES: "Series Instance UID", INSTANCE: "SOP Instance UID"}[key]
    row = next((row for row in rows if not safe_uid(text_of(row, key) or "")), {})
    if any(tag != tag.upper() and tag.upper() == key for tag in row):
        return f"a row of the answer writes tags in small letters ({key.lower()}); DICOM JSON has capital ones (PS3.18 annex F)"
    found = text_of(row, key)
    if found is not None:
        return f"a row of the answer: expected a {name} ({key}), found {found[:80]!r}"
    return f"a row of the answer has no {name} ({key})"


def _query(path: str, matches: list[tuple[str, str]], fields: list[str]) -> str:
    return f"{path}?{urlencode([*matches, *(('includefield', field) for field in fields)], safe=',')}"


def rows_of(client: Client, url: str) -> list[Row]:
    """The rows of a search; none for 204. Raises ArchiveFailure, also where the answer is no DICOM JSON."""
    status, body = client.search(url, ACCEPT)
    if status == 204:
        return []
    try:
        rows = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        rows = None
    if not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows):
        raise ArchiveFailure(FailureCause.MALFORMED_ANSWER, f"{shown(url)}: expected a list in DICOM JSON", status)
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
