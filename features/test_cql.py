"""The steps of cql.feature: the command line as an author uses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pytest_bdd import given, parsers, scenarios, then, when

import fhir_eligibility
from fhir_eligibility.ui.commands.cli import main

scenarios("cql.feature")
FLUTE = Path(__file__).parents[1] / "criteria" / "flute"


@dataclass
class Desk:
    """What the author has and sees."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    out: str = ""
    err: str = ""
    status: int = 0
    verdicts: list[list[Any]] = field(default_factory=list)

    def run(self, *arguments: str) -> None:
        self.status = main(arguments)
        self.out, self.err = self.capsys.readouterr()


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


@when(parsers.parse('I evaluate "{text}" for the first patient of the example cohort'))
def _(desk: Desk, text: str) -> None:
    desk.run("cql", text, "--now", "2026-06-01", "--data", str(FLUTE / "cohort" / "example-01.json"))


@when(parsers.re(r'I evaluate "(?P<text>[^"]*)"$'))
def _(desk: Desk, text: str) -> None:
    desk.run("cql", text, "--now", "2026-06-01")


@given("a library")
def _(desk: Desk, docstring: str) -> None:
    (desk.folder / "Broken.cql").write_text(docstring)


@when("I compile it")
def _(desk: Desk) -> None:
    desk.run("compile", str(desk.folder / "Broken.cql"))


@then(parsers.parse('the answer is "{text}"'))
def _(desk: Desk, text: str) -> None:
    assert (desk.out.strip(), desk.status) == (text, 0)


@then(parsers.parse('it is refused with "{text}"'))
def _(desk: Desk, text: str) -> None:
    assert desk.status == 2
    assert text in desk.err


@then(parsers.parse('the hint is "{text}"'))
def _(desk: Desk, text: str) -> None:
    assert f"= hint: {text}" in desk.err


@when("the example cohort is screened with criteria/flute/mr and with criteria/flute/cql/mr")
def _(desk: Desk) -> None:
    for path, libraries in ((FLUTE / "mr", ()), (FLUTE / "cql" / "mr", (FLUTE / "cql",))):
        criteria = fhir_eligibility.load_criteria(path, libraries=libraries)
        found = fhir_eligibility.screen(criteria, FLUTE / "cohort", now="2026-06-01")
        desk.verdicts.append(
            [(v.patient, v.verdict, [(i.criterion, i.role, i.study) for i in v.imaging]) for v in found]
        )


@then("both give every patient the same verdict and the same images")
def _(desk: Desk) -> None:
    assert len(desk.verdicts[0]) == 12
    assert desk.verdicts[0] == desk.verdicts[1]
