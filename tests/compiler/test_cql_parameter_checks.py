"""`eligibility cql --parameter`: a name that no library declares and a value of another type are errors, in every way of the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from fhir_eligibility.ui.commands.cli import main

LIBRARY = """library Own version '1'
include Shared
parameter Threshold Integer default 5
parameter "Measurement Period" Interval<DateTime>
parameter Names List<String>
define A: 7 > Threshold
define B: start of "Measurement Period"
define C: Shared.D
"""
INCLUDED = "library Shared\nparameter Limit Decimal default 1.0\ndefine D: Limit\n"


@pytest.fixture
def library(tmp_path: Path) -> str:
    (tmp_path / "Shared.cql").write_text(INCLUDED)
    path = tmp_path / "Own.cql"
    path.write_text(LIBRARY)
    return str(path)


@pytest.mark.parametrize("expression", [[], ["Threshold + 1"]], ids=["every define", "an expression"])
@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ("threshold=9", "unknown-parameter", "no library has a parameter 'threshold'"),
        ("Other.Threshold=9", "unknown-parameter", "'Other.Threshold'"),
        ("Shared.Threshold=9", "unknown-parameter", "'Shared.Threshold'"),
        ("Threshold='x'", "parameter-type", "must be Integer, but is 'x'"),
        ("Threshold=9.5", "parameter-type", "must be Integer, but is 9.5"),
        ("Measurement Period=2024", "parameter-type", "must be Interval<DateTime>, but is 2024"),
        ("Names='x'", "parameter-type", "must be List<String>, but is 'x'"),
        ("Names={1}", "parameter-type", "must be List<String>, but is { 1 }"),
        ("Limit=true", "parameter-type", "must be Decimal, but is true"),
    ],
)
def test_what_does_not_fit_is_an_error(
    library: str, expression: list[str], given: str, code: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cql", *expression, "--library", library, "--parameter", given]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"error[{code}]" in err and says in err


@pytest.mark.parametrize("given", ["Threshold=9", "Own.Threshold=9", "Limit=2.5", "Shared.Limit=2.5", "Names={'x'}"])
def test_what_fits_is_used(library: str, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cql", "--library", library, "--parameter", given]) == 0
    name = given.partition("=")[0].rpartition(".")[2]
    changed = {"Threshold": "A: false", "Limit": "C: 2.5"}.get(name, "A: true")
    assert changed in capsys.readouterr().out


def test_without_a_library_there_is_no_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cql", "1 + 1", "--parameter", "x=1"]) == 2
    assert "no library has a parameter 'x'" in capsys.readouterr().err
