"""`eligibility cql` and `eligibility compile`: values as text and JSON, conversations, parameters, exit statuses."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.clinical import Code, Concept, Ratio, Tuple
from fhir_eligibility.algebra.values.element import Element
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Long, Uncertainty
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.runtime.printing import as_json, text_of
from fhir_eligibility.ui.commands.cli import main
from fhir_eligibility.ui.commands.cql_repl import converse, reply, words
from fhir_eligibility.ui.commands.cql_session import Session

FLUTE = Path(__file__).parents[2] / "criteria" / "flute"


@pytest.mark.parametrize(
    ("value", "text", "plain"),
    [
        (None, "null", None),
        (True, "true", True),
        ("it's", "'it\\'s'", "it's"),
        (Decimal("2"), "2.0", 2),
        (Long(3), "3L", 3),
        (Date(2024, 2), "@2024-02", "2024-02"),
        (DateTime.parse("2024-02-03T04:05:06.000Z"), "@2024-02-03T04:05:06.000Z", "2024-02-03T04:05:06.000Z"),
        (Time(12, 30), "@T12:30", "12:30"),
        (Quantity(Decimal("1.5"), "mg", False), "1.5 'mg'", {"value": 1.5, "unit": "mg"}),
        (Quantity(Decimal(2), "day", True), "2 day", {"value": 2, "unit": "day"}),
        (Uncertainty(3, 5), "between 3 and 5", {"between": [3, 5]}),
        (
            Interval(1, None, True, False),
            "Interval[1, null)",
            {"low": 1, "high": None, "lowClosed": True, "highClosed": False},
        ),
        ([1, None, "a"], "{ 1, null, 'a' }", [1, None, "a"]),
        ([], "{ }", []),
        (Tuple({"a": 1}), "Tuple { a: 1 }", {"a": 1}),
        (Code("x", "http://s"), "Code { code: 'x', system: 'http://s' }", {"code": "x", "system": "http://s"}),
        (
            Concept((Code("x"),), "X"),
            "Concept { codes: { Code { code: 'x' } }, display: 'X' }",
            {"codes": [{"code": "x"}], "display": "X"},
        ),
        (Ratio(Quantity(Decimal(1), "mg"), Quantity(Decimal(2), "mL")), "1 'mg':2 'mL'", "1 'mg':2 'mL'"),
        ({"resourceType": "Patient", "id": "p"}, "Patient/p", {"resourceType": "Patient", "id": "p"}),
        (Element("final", "code"), "'final'", "final"),
        (Element({"text": "t"}, "CodeableConcept"), 'CodeableConcept {"text": "t"}', {"text": "t"}),
    ],
)
def test_values_as_text_and_json(value: Any, text: str, plain: Any) -> None:
    assert text_of(value) == text
    assert as_json(value) == plain


def test_a_long_list_stands_on_several_lines() -> None:
    assert text_of(["x" * 60, "y" * 60]).splitlines() == ["{", f"  '{'x' * 60}',", f"  '{'y' * 60}'", "}"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    out, err = capsys.readouterr()
    return status, out, err


def test_every_define_of_a_library_for_a_patient(capsys: pytest.CaptureFixture[str]) -> None:
    library, data = str(FLUTE / "cql" / "FluteCriteria.cql"), str(FLUTE / "cohort" / "example-01.json")
    status, out, _ = run(capsys, "cql", "--library", library, "--data", data, "--json")
    values = json.loads(out)
    assert (status, values["Elevated PSA"], values["Abnormal Digital Rectal Examination"]) == (0, True, False)
    status, out, _ = run(capsys, "cql", '"Biopsies" B return B.id.value', "--library", library, "--data", data)
    assert (status, out.strip()) == (0, "{ 'example-01-biopsy' }  (List<String>)")


def test_an_error_in_one_define_does_not_stop_the_others(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "L.cql").write_text("library L\ndefine A: singleton from { 1, 2 }\ndefine B: 2\n")
    status, out, err = run(capsys, "cql", "--library", str(tmp_path / "L.cql"))
    assert (status, out.strip()) == (3, "B: 2")
    assert "L.cql:2:11: error[not-a-singleton]" in err


def test_parameters_in_cql(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "L.cql").write_text("library L\nparameter P Integer default 1\ndefine A: P + 1\n")
    library = ["--library", str(tmp_path / "L.cql")]
    assert run(capsys, "cql", "A", *library)[1].strip() == "2  (Integer)"
    assert run(capsys, "cql", "A", *library, "--parameter", "P=41")[1].strip() == "42  (Integer)"
    status, _, err = run(capsys, "cql", "A", *library, "--parameter", "P='x'")
    assert (status, err.strip()) == (
        2,
        "error[parameter-type]: --parameter: the parameter 'P' of L must be Integer, but is 'x'",
    )
    status, _, err = run(capsys, "cql", "A", *library, "--parameter", "P")
    assert (status, err.strip()) == (2, "eligibility: --parameter P: write Name=value, the value in CQL")


def test_a_conversation_of_lines() -> None:
    lines = io.StringIO(
        "define X: { 1, 2 }\nSum(X)\n\nX +\n:type X\n:defines\n:what\ndefine X: { 5 }\nSum(X)\n:quit\n1\n"
    )
    out = io.StringIO()
    assert converse(Session(), lines, out) == 2
    answers = out.getvalue()
    assert answers.splitlines()[:2] == ["defined 'X'", "3  (Integer)"]
    assert "List<Integer>\n\"X\"\n:what is not a command; :help lists them\ndefined 'X'\n5  (Integer)\n" in answers


def test_a_definition_that_does_not_fit_is_not_kept() -> None:
    session = Session()
    assert reply(session, "define A: 1 + true")[1] is True
    assert reply(session, "define B: 2") == ("defined 'B'", False)
    assert reply(session, "B + 1") == ("3  (Integer)", False)
    assert reply(session, "singleton from { 1, 2 }")[1] is True
    assert {"exists", "Count", "where", '"B"'} <= set(words(session))


def test_compile_tells_what_a_library_defines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "L.cql").write_text(
        "library L version '2'\ninclude M\ndefine A: M.B\ndefine function f(x Integer): x\n"
    )
    (tmp_path / "M.cql").write_text("library M\ndefine B: 'b'\n")
    status, out, _ = run(capsys, "compile", str(tmp_path / "L.cql"))
    assert (status, out.splitlines()) == (
        0,
        [
            "library L version 2",
            "  includes M",
            "  define 'A': String  (unfiltered)",
            "  function f(Integer): Integer",
            "1 defines; 0 errors, 0 warnings",
        ],
    )
    status, out, _ = run(capsys, "compile", str(tmp_path / "L.cql"), "--show", "python")
    assert "def define_2(ev):" in out and "once(ev.run, of_0)" in out and "# of_0 is define_1 of 'M" in out
    assert run(capsys, "compile", str(tmp_path / "L.cql"), "--elm", str(tmp_path / "L.json"))[0] == 0
    status, out, _ = run(capsys, "cql", "--library", str(tmp_path / "L.json"))
    assert (status, out.strip()) == (0, "A: 'b'")


def test_compile_tells_all_that_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "L.cql").write_text("library L\ndefine A: 1 + true\ndefine B: Nothing\n")
    status, _, err = run(capsys, "compile", str(tmp_path / "L.cql"))
    assert status == 2
    assert "L.cql:2:11: error[no-overload]" in err and "L.cql:3:11: error[unknown-name]" in err
    assert err.splitlines()[-1].endswith("2 errors, 0 warnings")


def test_what_is_not_there_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "compile", str(tmp_path / "no.cql"))[0] == 2
    (tmp_path / "p.json").write_text('{"resourceType": "Patient"}')
    status, _, err = run(capsys, "compile", str(tmp_path / "p.json"))
    assert (status, err.strip()) == (2, f"eligibility: {tmp_path / 'p.json'} holds no library with CQL or ELM")
    status, _, err = run(capsys, "cql", "1", "--data", str(FLUTE / "cohort"))
    assert (status, err.strip()) == (
        2,
        "eligibility: the data holds 12 patients: give the data of one patient, or name one (--patient)",
    )
