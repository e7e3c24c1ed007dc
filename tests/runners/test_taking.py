"""What the lines of a patient come to who is taken over is told by codes and by their beginning as by the whole of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.runners.screening.taking import VerdictCodes, Verdicts, come_to, patient_of

NAMES = st.sampled_from(["a", "b", "c", "\u00e9", ""])
RULES = st.lists(NAMES, max_size=4)
ONE = st.tuples(
    st.sampled_from(["included", "excluded", "undetermined"]),
    st.none() | NAMES | st.just("elsewhere"),
    st.none() | st.lists(st.just("Observation"), max_size=1),
)


def codes_of(*rules: list[str]) -> VerdictCodes:
    """The codes of artifacts with such criteria."""
    sets: Any = [SimpleNamespace(rules=[SimpleNamespace(id=name) for name in names]) for names in rules]
    return VerdictCodes(cast(Any, sets))


@settings(deadline=None, max_examples=500)
@given(st.lists(st.tuples(RULES, ONE), min_size=1, max_size=4))
def test_codes_tell_the_verdicts_or_nothing(found: list[tuple[list[str], Any]]) -> None:
    codes = codes_of(*(rules for rules, _ in found))
    verdicts: Verdicts = [(number, *one) for number, (_, one) in enumerate(found)]
    coded = codes.of(verdicts)
    assert len(coded) == codes.size
    told = all(
        incomplete is None and (deciding is None or deciding in rules) for rules, (_, deciding, incomplete) in found
    )
    assert codes.verdicts(coded) == (verdicts if told else None)


def test_an_artifact_of_very_many_criteria_is_not_told_by_codes() -> None:
    codes = codes_of([f"c{number}" for number in range(30_000)])
    first: Verdicts = [(0, "excluded", "c20000", None)]
    last: Verdicts = [(0, "excluded", "c29999", None)]
    assert codes.verdicts(codes.of(first)) == first
    assert codes.verdicts(codes.of(last)) is None


@settings(deadline=None, max_examples=500)
@given(st.text(max_size=250), st.text(max_size=9))
def test_the_beginning_of_a_line_names_the_patient(name: str, artifact: str) -> None:
    line = msgspec.json.encode({"patient": name, "artifact": artifact, "verdict": "included", "criteria": []}) + b"\n"
    assert patient_of(memoryview(line)) == come_to(memoryview(line))[0] == name
