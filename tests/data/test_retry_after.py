"""The Retry-After header: seconds, HTTP dates, and whatever else a server may write there."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.data.http.retry_after import seconds_to_wait

NOW = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("99999999999", 99999999999.0),
        ("9" * 400, math.inf),
        ("Mon, 01 Jun 2026 12:00:30 GMT", 30.0),
        ("Mon, 01 Jun 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("²", None),
        ("١٢", None),
        ("-5", None),
        ("1.5", None),
        ("Mon, 99 Jun 2026 12:00:30 GMT", None),
        ("", None),
        (None, None),
    ],
)
def test_what_a_header_asks_for(text: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(text, NOW) == seconds


@given(
    st.text(max_size=60)
    | st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{1,9} ?[A-Z+0-9]{0,6}")
)
@settings(deadline=None)
def test_any_text_is_a_wait_or_none(text: str) -> None:
    found = seconds_to_wait(text, NOW)
    assert found is None or found >= 0
