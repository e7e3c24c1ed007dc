"""How dates are written is told by a pattern that never goes back, as by one that may."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fhir_eligibility.data.records.record_shape import AS_MOMENT

PLAIN = r"^\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d(\.\d+)?)?)?(Z|[+-]\d\d:?\d\d)?)?)?)?$"
WRITTEN = st.from_regex(PLAIN)


@settings(deadline=None, max_examples=1000)
@given(
    WRITTEN
    | st.text("0123456789-T:.Z+ \n", max_size=30)
    | st.builds(
        lambda text, at, more: text[:at] + more + text[at:],
        WRITTEN,
        st.integers(0, 30),
        st.text("09-T:.Z+", max_size=3),
    )
)
@example("2026-01-01T10:00:00.5-05:00")
@example("2026-01-01T10-0500")
@example("2026-01-01T10:00:00.")
@example("2026-01-\n")
def test_both_patterns_find_the_same(text: str) -> None:
    assert bool(re.search(AS_MOMENT, text)) == bool(re.search(PLAIN, text))
