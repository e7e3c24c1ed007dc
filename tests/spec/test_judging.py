"""The judge is strict: what it lets pass and what it does not."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from fhir_eligibility.algebra.temporal import Date, DateTime
from tests.spec.fhirpath_cases import FhirPathCase, Output, read_cases
from tests.spec.fhirpath_compare import difference, types_for
from tests.spec.fhirpath_suite import run_case
from tests.spec.gaps import compare_with_gaps, load_gaps
from tests.spec.model import Result


class Item(NamedTuple):
    value: object
    type: str


ONE = Item(1, "System.Integer")
TWO = Item(2, "System.Integer")


@pytest.mark.parametrize(
    ("items", "outputs", "ordered"),
    [
        ([], [], True),
        ([ONE, TWO], [Output("integer", "1"), Output("integer", "2")], True),
        ([TWO, ONE], [Output("integer", "1"), Output("integer", "2")], False),
        ([Item(True, "FHIR.boolean")], [Output("boolean", "true")], True),
        ([Item("male", "FHIR.code")], [Output("code", "male")], True),
        ([Item("male", "FHIR.string")], [Output("string", "male")], True),
        ([Item(Decimal("1.50"), "System.Decimal")], [Output(None, "1.50")], True),
        ([Item(Date.parse("2014-01"), "System.Date")], [Output("dateTime", "@2014-01")], True),
        ([Item(DateTime.parse("2014-01-01T"), "System.DateTime")], [Output(None, "@2014-01-01")], True),
    ],
)
def test_right_results(items: list[Item], outputs: list[Output], ordered: bool) -> None:
    assert difference(items, outputs, ordered) == ""


@pytest.mark.parametrize(
    ("items", "outputs", "ordered"),
    [
        ([], [Output("boolean", "false")], True),
        ([ONE], [], True),
        ([TWO, ONE], [Output("integer", "1"), Output("integer", "2")], True),
        ([ONE, ONE], [Output("integer", "1"), Output("integer", "2")], False),
        ([Item("1", "System.String")], [Output("integer", "1")], True),
        ([Item(Decimal(1), "System.Decimal")], [Output("integer", "1")], True),
        ([Item(True, "System.Boolean")], [Output("integer", "1")], True),
        ([Item("male", "FHIR.code")], [Output("string", "male")], True),
        ([Item("male", "FHIR.string")], [Output("code", "male")], True),
        ([Item("a ", "System.String")], [Output("string", "a")], True),
        ([Item(Decimal("1.5"), "System.Decimal")], [Output(None, "1.50")], True),
        ([Item(DateTime.parse("2014-01-01"), "System.DateTime")], [Output("date", "@2014-01-01")], True),
        ([Item(Date.parse("2014-01-01"), "System.Date")], [Output("dateTime", "@2014-01-02")], True),
    ],
)
def test_wrong_results(items: list[Item], outputs: list[Output], ordered: bool) -> None:
    assert difference(items, outputs, ordered).startswith("expected ")


def test_an_unknown_output_type_is_an_error() -> None:
    with pytest.raises(ValueError, match="canonical"):
        types_for(Output("canonical", "x"))


SUITE = """<tests><group name="g">
  <test name="twice"><expression>1</expression></test>
  <test name="twice" inputfile="patient.xml" mode="strict" ordered="false">
    <expression invalid="semantic">name.x</expression><output type="string">a</output></test>
</group></tests>"""


def test_reading_a_suite(tmp_path: Path) -> None:
    file = tmp_path / "suite.xml"
    file.write_text(SUITE, encoding="utf-8")
    first, second = read_cases(file)
    assert (first.name, first.group, first.input, first.outputs, first.invalid) == ("twice", "g", None, (), None)
    assert (second.name, second.input, second.invalid) == ("twice#2", "patient.xml", "semantic")
    assert (second.strict, second.ordered, second.lenient) == (True, False, False)


@pytest.mark.parametrize(
    ("expression", "right"),
    [
        ("2 +", "syntax"),
        ("@T14:34:28Z", "execution"),
        ("Patient.nam", "semantic"),
        ("(1 | 2).single()", "execution"),
    ],
)
def test_only_the_right_stage_may_refuse(expression: str, right: str, tmp_path: Path) -> None:
    (tmp_path / "patient.json").write_text('{"resourceType": "Patient"}', encoding="utf-8")
    for stage in ("syntax", "semantic", "execution", None):
        case = FhirPathCase(
            name="case",
            group="",
            expression=expression,
            input="patient.xml",
            outputs=(),
            invalid=stage,
            ordered=True,
            predicate=False,
            strict=False,
            lenient=False,
        )
        # The analysis may see beforehand what would go wrong while evaluating; the suites accept that as execution.
        accepted = stage == right or (right == "semantic" and stage == "execution")
        if expression != "@T14:34:28Z" or stage != "syntax":
            assert run_case(case, "r4", tmp_path).passed is accepted, stage


def test_gaps_are_held_against_results() -> None:
    gaps = load_gaps()
    gap = next(iter(gaps.values()))
    passing = Result(gap.test, "", "", True, "")
    failing = Result("unlisted", "", "", False, "expected 1; got 2")
    report = compare_with_gaps(gap.suite, [passing, failing], [gap])
    assert report.unexpected_passes == [passing]
    assert report.unlisted_failures == [failing]
    assert not report.as_expected
    assert compare_with_gaps(gap.suite, [], [gap]).stale_gaps == [gap.test]


@pytest.mark.parametrize(
    "entry",
    [
        'suite = "s"\ntest = "t"\nkind = "bug"\nreason = "r"',
        'suite = "s"\ntest = "t"\nkind = "lazy"\nreason = "r"\nlink = "l"',
        'suite = "s"\ntest = "t"\nkind = "bug"\nreason = ""\nlink = "l"',
    ],
)
def test_a_gap_without_a_reason_is_refused(entry: str, tmp_path: Path) -> None:
    file = tmp_path / "gaps.toml"
    file.write_text(f"[[gap]]\n{entry}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="gap 1"):
        load_gaps(file)
