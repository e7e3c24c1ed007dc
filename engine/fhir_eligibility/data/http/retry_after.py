"""The Retry-After header of an answer, as archives and FHIR servers send it (RFC 9110 section 10.2.3)."""

from __future__ import annotations

import datetime as dt
import math
import re
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]+", re.ASCII)
MOST_DIGITS = 12


def seconds_to_wait(text: str | None, now: dt.datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for: a number of seconds or an HTTP date; None where it is neither.

    `now` is an aware datetime, the present where it is not given. A number of more digits than any wait has is infinite, so that it is
    longer than whatever the caller allows.
    """
    text = (text or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text) if len(text) <= MOST_DIGITS else math.inf
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - (now or dt.datetime.now(dt.UTC))).total_seconds())
