"""Which of several things that are said of one record counts: versions of it, and deletions, each with what tells when it was said.

The newest counts: by the instants that the data gives (`meta.lastUpdated`, the time of a deletion), else by `meta.versionId`, by the place in a history
bundle (FHIR R4: http.html#history, newest first), and by the time of the export that it stands in (Bulk Data: transactionTime). Where nothing tells, none is
taken for the newest.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

_EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)
# Time zones reach from UTC-12 to UTC+14.
_BEFORE, _AFTER = dt.timedelta(hours=14), dt.timedelta(hours=12)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
FEW = 64
"""Of so many each is compared with each."""


class Moment(Struct, frozen=True):
    """An instant, as far as it is known: between two (inclusive), which are the same for an instant as FHIR writes it."""

    low: dt.datetime
    high: dt.datetime

    def after(self, other: Moment) -> bool:
        """Whether it certainly was later than another."""
        return self.low > other.high


def moment_of(text: Any) -> Moment | None:
    """The moment that a text gives; without a time zone, or of a day, it is known less precisely. None for what is not a date and time."""
    if text.__class__ is not str:
        return None
    try:
        found = dt.datetime.fromisoformat(text.strip())
        if found.tzinfo is not None:
            instant = found.astimezone(dt.UTC)
            return Moment(instant, instant)
        start = found.replace(tzinfo=dt.UTC)
        end = start + dt.timedelta(days=1) if _DAY.fullmatch(text.strip()) else start
        return Moment(start - _BEFORE, end + _AFTER)
    except (ValueError, OverflowError):
        return None


def version_number(value: Any) -> int | None:
    """The number of a version, None where it is none: other names of versions have no order."""
    text = str(value) if value.__class__ in (str, int) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 40 else None


class Said(Struct, frozen=True):
    """One thing that is said of a record: that it is so, or (`gone`) that it was deleted.

    `moment` is when that came to be, `seen` the time of the export that says so, `folder` (of the export) and `bundle` where it stands; `rank` is the place in a history
    bundle, later ones higher. `content` tells different contents apart. A deletion with `contested` stands in a bundle that writes the same record.
    """

    gone: bool = False
    moment: Moment | None = None
    version: int | None = None
    seen: Moment | None = None
    folder: str = ""
    bundle: tuple[Any, ...] | None = None
    rank: int | None = None
    content: bytes = b""
    contested: bool = False


def newer(one: Said, other: Said) -> bool | None:
    """Whether the first was said after the other; None where that cannot be told."""
    if one.gone is not other.gone:
        if other.gone:
            later = newer(other, one)
            return None if later is None else not later
        return _deleted_after(one, other)
    later = _after(one.moment, other.moment)
    if later is None:
        later = _by_number(one, other)
    if later is None:
        later = _after(one.seen, other.seen)
    if later is None and (one.moment is None) is not (other.moment is None):
        # what an export has without a time was so when it was made
        later = _after(one.moment or one.seen, other.moment or other.seen)
    return later


def _after(one: Moment | None, other: Moment | None) -> bool | None:
    """Whether a moment was after another; None where that cannot be told."""
    if one is None or other is None or not (one.after(other) or other.after(one)):
        return None
    return one.after(other)


def _by_number(one: Said, other: Said) -> bool | None:
    """By the numbers of versions, then by the places in one history bundle."""
    for a, b in ((one.version, other.version), (one.rank, other.rank)):
        if a is one.rank and b is other.rank and (one.bundle is None or one.bundle != other.bundle):
            return None
        if a is not None and b is not None and a != b:
            return a > b
    return None


def _deleted_after(deletion: Said, record: Said) -> bool | None:
    """Whether a record was deleted after it was as it is said to be."""
    deleted = deletion.moment or deletion.seen
    if deletion.contested and deletion.bundle == record.bundle:
        return None
    if deleted is not None and record.moment is not None:
        if record.moment.after(deleted):
            return False
        if deleted.after(record.moment):
            # an export that is made later than the deletion, and still has the record, tells that it is there again
            return not (record.seen is not None and record.seen.after(deleted))
    if deleted is not None and record.moment is None and record.seen is not None:
        if record.seen.after(deleted):
            return False
        if deleted.after(record.seen):
            return True
    if deletion.version is not None and deletion.version == record.version:
        return True
    found = _by_number(deletion, record)
    if found is not None:
        return found
    # what is deleted is told beside what there is
    return True if deletion.folder == record.folder else None


def newest(said: Sequence[Said]) -> list[int]:
    """Which of what is said of a record nothing else comes after, by their places; all, where they go round in a circle.

    A deletion that nothing dates counts as told after what stands in the same folder, but where several versions stand there: it may lie between them.
    """
    if len(said) == 1:
        return [0]
    several = len({(one.content, one.moment, one.version) for one in said if not one.gone}) > 1

    def after(one: Said, other: Said) -> bool:
        found = newer(one, other)
        if found and several and one.gone and not other.gone and one.moment is None and one.seen is None:
            found = _by_number(one, other)
        return found is True

    places: dict[Said, list[int]] = {}
    for place, one in enumerate(said):
        places.setdefault(one, []).append(place)
    different = list(places)
    if len(different) > FEW:
        different = _last_of_many(different, after)
    left = [one for one in different if not any(after(other, one) for other in different if other is not one)]
    return sorted(place for one in left or different for place in places[one])


def _last_of_many(said: list[Said], after: Callable[[Said, Said], bool]) -> list[Said]:
    """Those that may count of many, without comparing each with each."""
    left: list[Said] = []
    for one in sorted(said, key=_known):
        if not any(after(other, one) for other in left):
            left = [other for other in left if not after(one, other)]
            left.append(one)
    return left


def _known(said: Said) -> tuple[Any, ...]:
    """An order that does not depend on that of the data."""
    moments = (one.low if one is not None else _EARLIEST for one in (said.moment, said.seen))
    return (*moments, said.version or -1, said.gone, said.content, said.folder, repr(said.bundle), said.rank or 0)
