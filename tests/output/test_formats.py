"""Further output formats: found in their folder, asked for by options made of what they say, and in the documentation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fhir_eligibility.output.folder import RUN, OutputFolder
from fhir_eligibility.output.formats import base
from fhir_eligibility.output.formats.base import WrittenVerdicts, chosen_formats, output_formats
from fhir_eligibility.runners.screening.outputs import output_names
from fhir_eligibility.ui.commands.cli import main, parser
from tests.docs import formats as documented
from tests.spec.model import ROOT

FLUTE = ROOT / "criteria" / "flute"


class PatientList:
    """A format that is made up."""

    name = "patient-list"
    help = "write who is included as a list too"
    files = ("patients.txt",)

    def check(self) -> None:
        """It can always be written."""

    def write(self, verdicts: WrittenVerdicts, folder: OutputFolder) -> None:
        included = [one["patient"] for one in verdicts if one["verdict"] == "included"]
        folder.write_text("patients.txt", "".join(f"{patient}\n" for patient in included))


class NeedsMore(PatientList):
    """One that cannot be written here."""

    name = "needs-more"

    def check(self) -> None:
        raise ValueError("--needs-more needs the package more: pip install more")


@pytest.fixture(autouse=True)
def more(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {**output_formats(), "needs-more": NeedsMore(), "patient-list": PatientList()}
    for module in ("fhir_eligibility.ui.commands.screen_options.output_formats", f"{base.__name__}.output_formats"):
        monkeypatch.setattr(module, lambda: found)


def screened(out: Path | str, *options: str) -> int:
    given = [str(FLUTE / "mr"), "--data", str(FLUTE / "cohort"), "--now", "2026-06-01", "--quiet", "--jobs", "1"]
    return main(["screen", *given, "--out", str(out), *options])


def test_a_format_is_asked_for_by_its_option(tmp_path: Path) -> None:
    assert screened(tmp_path / "out", "--patient-list") == 0
    verdicts = [json.loads(line) for line in (tmp_path / "out" / "verdicts.ndjson").read_text("utf-8").splitlines()]
    included = [one["patient"] for one in verdicts if one["verdict"] == "included"]
    assert len(included) == 4
    assert (tmp_path / "out" / "patients.txt").read_text("utf-8").split() == included


def test_a_format_goes_with_the_run_that_is_not_asked_for_it(tmp_path: Path) -> None:
    assert screened(tmp_path / "out", "--patient-list") == 0
    assert screened(tmp_path / "out") == 0
    assert not (tmp_path / "out" / "patients.txt").exists()


def test_an_option_in_a_file_asks_for_a_format(tmp_path: Path) -> None:
    (tmp_path / "options.toml").write_text("[screen]\npatient-list = true\n", "utf-8")
    assert screened(tmp_path / "out", "--config", str(tmp_path / "options.toml")) == 0
    assert (tmp_path / "out" / "patients.txt").exists()


def test_a_format_that_cannot_be_written_is_refused_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert screened(tmp_path / "out", "--needs-more") != 0
    assert "--needs-more needs the package more: pip install more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_format_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert screened("-", "--patient-list") != 0
    assert "--patient-list needs an output folder: --out DIR" in capsys.readouterr().err


def test_the_help_has_each_format(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser("screen").parse_args(["screen", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--patient-list write who is included as a list too" in shown


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^unknown output format 'made-up'; known are ([a-z-]+, )*[a-z-]+$"
    ) as refused:
        chosen_formats(["made-up"])
    known = str(refused.value).partition("; known are ")[2].split(", ")
    assert {"needs-more", "parquet", "patient-list"} <= set(known) and len(known) == len(set(known))


def test_no_two_outputs_have_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = output_names((), output_formats().values(), keep=True)
    assert len(names) == len(set(names)) and RUN in names


def test_the_documentation_has_each_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    page = documented.PAGE.read_text("utf-8")
    assert page == documented.written(page), "`make docs` writes it"
