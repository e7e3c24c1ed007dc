"""What is searched before it is replaced: the same text comes out as by replacing everywhere."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.algebra.visible_text import visible
from fhir_eligibility.evaluation import records
from fhir_eligibility.output import summary

TEXTS = st.text(
    st.sampled_from("=+-@\t\r\n;,'\"a1 \uff1d\uff0b\uff0d\uff20\u2028\u2029\u0085\u2026\u00e9"), max_size=12
)


@given(TEXTS | st.text(max_size=20))
@settings(deadline=None, max_examples=500)
def test_cells_are_defused_wherever_a_formula_may_begin(text: str) -> None:
    assert summary.safe(text) == visible(summary._FORMULA.sub("'", text))


@given(TEXTS)
@settings(deadline=None, max_examples=300)
def test_lines_hold_nothing_that_readers_take_for_their_end(text: str) -> None:
    evidence = records.Evidence(resource=text, role="met")
    line = records.lines_of_verdicts([evidence])
    assert line.endswith(b"\n") and len(line.decode().splitlines()) == 1
    assert line.decode() == records.in_one_line(records._encode_lines([evidence]).decode())
