"""`eligibility show`: a run as a person reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fhir_eligibility.ui.commands.cli import main

FLUTE = Path(__file__).parents[2] / "criteria" / "flute"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    criteria = [str(FLUTE / "mr"), str(FLUTE / "any-modality")]
    assert (
        main(
            ["screen", *criteria, "--data", str(FLUTE / "cohort"), "--out", str(out), "--now", "2026-06-01", "--quiet"]
        )
        == 0
    )
    return out


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def test_a_line_a_patient_and_what_the_criteria_are(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("FLUTE: prostate cancer suspected, MR images")
    assert "example-01 included 1" in lines
    assert "example-02 excluded images: not met; no-recent-images: met" in lines
    assert "example-12 undetermined 1 suspicion: unknown (no-data)" in lines
    assert "images MR images within the year before the biopsy" in lines
    assert (
        "no-recent-images No MR images before the biopsy, or images from more than a year before it (exclusion)"
        in lines
    )
    assert sum(line.startswith("example-") for line in lines) == 24
    assert not any("2.25." in line for line in lines), "no UIDs of 40 digits"


def test_only_some(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), "--verdict", "excluded", "--limit", "2"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line.partition(" ")[0] for line in lines if line.startswith("example-")] == ["example-02", "example-03"] * 2
    assert [line for line in lines if "more; --limit" in line] == [
        "3 more; --limit 5 shows all",
        "2 more; --limit 4 shows all",
    ]


@pytest.mark.parametrize("name", ["example-12", "Patient/example-12"])
def test_all_of_one_patient(name: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), "--patient", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "example-12: undetermined"
    assert "    unknown: PSA of at least 3 ng/mL: there is no record of this kind at all" in lines
    assert "      Procedure/example-12-biopsy (Biopsy, 2026-03-01)" in lines


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--patient", "nobody"], "has no such patient"),
        (["--verdict", "inclded"], "'inclded' is not known; did you mean included?"),
        (["--limit", "0"], "expected a whole number of 1 or more, found '0'"),
    ],
)
def test_what_is_not_there(more: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), *more]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path)]) == 2
    assert "holds no verdicts.ndjson: give the folder that `eligibility screen --out` wrote" in capsys.readouterr().err
    assert main(["show", str(tmp_path / "none")]) == 2
    assert "none does not exist" in capsys.readouterr().err


def test_titles_of_strangers_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    title = "\x1b]0;owned\x07 [red]not markup[/red]"
    criteria = {
        "resourceType": "EvidenceVariable",
        "id": "t",
        "title": title,
        "status": "active",
        "characteristic": [{"description": title, "definitionExpression": {"language": "text/fhirpath", "expression": "Patient.active"}}],
    }  # fmt: skip
    (tmp_path / "criteria.json").write_text(json.dumps(criteria))
    (tmp_path / "p.json").write_text('{"resourceType": "Patient", "id": "p", "active": true}')
    words = [
        "screen",
        str(tmp_path / "criteria.json"),
        "--data",
        str(tmp_path / "p.json"),
        "--out",
        str(tmp_path / "o"),
        "--quiet",
    ]
    main(words)
    assert main(["show", str(tmp_path / "o")]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "[red]not markup[/red]" in shown
