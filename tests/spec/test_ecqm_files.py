"""The measures by way of files: what differs from the published counts does so by a record that names another patient, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.inputs import SHARED
from tests.shared import shared
from tests.spec import __main__ as command
from tests.spec.ecqm_suite import cases, differing, measured, of_others, patient_of, repeats
from tests.spec.gaps import compare_with_gaps, load_gaps
from tests.spec.model import Result, Suite

GAPS = {test: gap for (suite, test), gap in load_gaps().items() if suite == "ecqm-files"}


def measures() -> list[str]:
    listed = sorted({test.partition(".")[0] for test in GAPS})
    return listed if (SHARED / "ecqm" / "open").is_dir() else listed[:1]


@pytest.mark.parametrize("name", measures())
def test_decks_are_as_published_once_their_records_name_their_patient(tmp_path: Path, name: str) -> None:
    path = shared("ecqm", "open", name)
    listed = [case for case in cases(path) if f"{name}.{case['case']}" in GAPS]
    assert len(listed) == sum(test.startswith(f"{name}.") for test in GAPS)
    for case in listed:
        assert GAPS[f"{name}.{case['case']}"].reason == differing(case)
        others = of_others(case)
        assert others
        for one in others:
            one["reference"]["reference"] = f"Patient/{patient_of(case)}"
        for number, resource in enumerate(repeats(case)):
            resource["id"] = f"own-{number}"
    assert [r.detail for r in measured(path, listed, tmp_path) if not r.passed] == []


def test_a_suite_that_ran_no_case_is_not_as_expected() -> None:
    assert not compare_with_gaps("empty", [], ()).as_expected
    assert compare_with_gaps("empty", [], ()).surprises() == ["the suite empty ran no case"]
    assert compare_with_gaps("full", [Result("a", "g", "1 = 1", True, "")], ()).as_expected


@pytest.mark.parametrize(("results", "status"), [([], 1), ([Result("a", "g", "1 = 1", True, "")], 0)])
def test_the_command_fails_where_a_suite_ran_no_case(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    results: list[Result],
    status: int,
) -> None:
    monkeypatch.setenv("CONFORMANCE_DIR", str(tmp_path))
    monkeypatch.setattr(command, "SUITES", (Suite("some", ".", lambda path: results),))
    assert command.main([]) == status
    printed = capsys.readouterr()
    assert printed.out == f"some {len(results)}/{len(results)}\n"
    assert ("the suite some ran no case" in printed.err) is (status == 1)
