"""The exit statuses: their numbers are a promise to schedulers, and so is which one is told where several apply."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path

import pytest

from fhir_eligibility.ui.commands.cli import main
from fhir_eligibility.ui.options.statuses import MEANINGS, Status, worst


def test_the_numbers_stay() -> None:
    assert {status.name: int(status) for status in Status} == {
        "OK": 0,
        "INCOMPLETE": 1,
        "FAILED": 2,
        "CRITERIA_ERRORS": 3,
        "NOTHING_SCREENED": 4,
        "THRESHOLD_EXCEEDED": 5,
        "INTERRUPTED": 130,
    }


def test_which_is_told_where_several_apply() -> None:
    order = [130, 2, 4, 3, 5, 1, 0]
    for first, second in permutations(order, 2):
        assert worst([Status(first), Status(second)]) == min(first, second, key=order.index)
    assert worst([]) == 0


def test_the_page_lists_them() -> None:
    page = (Path(__file__).parents[2] / "docs" / "verdicts.md").read_text("utf-8").partition("## Exit statuses")[2]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", page.partition("\n## ")[0], re.MULTILINE)
    assert {int(number): text for number, text in rows} == {int(status): text for status, text in MEANINGS.items()}


def test_an_error_of_the_program_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> int:
        raise KeyError("what\nnobody foresaw")

    monkeypatch.setattr("fhir_eligibility.ui.commands.schema.schema_command", broken)
    assert main(["schema"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "KeyError" in line and "nobody foresaw" in line and "FHIR_ELIGIBILITY_TRACEBACK=1" in line
    monkeypatch.setenv("FHIR_ELIGIBILITY_TRACEBACK", "1")
    with pytest.raises(KeyError):
        main(["schema"])
