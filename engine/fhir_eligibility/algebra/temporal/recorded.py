"""DateTimes as data writes them: most are whole to the second and tell their offset, and each is written once or a few times.

What is made here is what `DateTime.parse` and `DateTime.of` make, in fewer steps.
"""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

from fhir_eligibility.algebra.temporal.values import WIDEST_EAST, DateTime


@lru_cache(maxsize=16384)
def read(text: str) -> DateTime:
    """As `DateTime.parse`. Raises ValueError."""
    return _whole(text) or DateTime.parse(text)


def _whole(text: str) -> DateTime | None:
    """A DateTime that is written `YYYY-MM-DDThh:mm:ss` with `Z` or an offset; None for any other, and for what is none."""
    size = len(text)
    if (size != 20 or text[19] != "Z") and (size != 25 or text[22] != ":" or text[19:] == "-00:00" or text[23:] > "59"):
        return None
    if text[11:13] == "24" or text[4] != "-" or text[7] != "-" or text[10] != "T" or text[13] != ":" or text[16] != ":":
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
        offset = moment.utcoffset()
        if offset is None:
            return None
        minutes = offset.days * 1440 + offset.seconds // 60
        if abs(minutes) > WIDEST_EAST:
            return None
        utc = moment - offset if minutes else moment
    except (ValueError, OverflowError):
        return None
    found = DateTime.__new__(DateTime)
    found._parts = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second, None)
    found._utc = (utc.year, utc.month, utc.day, utc.hour, utc.minute, utc.second, None) if minutes else found._parts
    found._text = text
    found.offset_minutes = minutes
    found.implied = False
    found.moment = None
    return found


def to_the_millisecond(value: DateTime) -> DateTime:
    """A DateTime that is known to the second, with a millisecond of zero where none is written."""
    parts = value._parts
    if parts[5] is None or parts[6] is not None:
        return value
    found = DateTime.__new__(DateTime)
    found._parts = (*parts[:6], 0)
    found.offset_minutes, found.implied = value.offset_minutes, value.implied
    zone = value._text[19:]
    found._text = f"{value._text[:19]}.000{'+00:00' if zone == 'Z' else zone}"
    found._utc = (*value.utc()[:6], 0)
    found.moment = None if found.offset_minutes is None else found._utc
    return found
