"""The generator of the benchmark cohorts: the same seed gives the same bytes, sizes are as said, and every verdict occurs often."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from tests.benchmarks.cohorts import Options, main, size_of, write

NOW = "2026-06-01"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def lines(folder: Path) -> list[bytes]:
    """Every line of an export, compressed or not."""
    found = []
    for path in folder.glob("*.ndjson*"):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found += raw.splitlines()
    return found


def verdicts(folder: Path) -> dict[str, tuple[str, tuple[str, ...], Any]]:
    """Patient -> verdict, deciding criteria, and studies with their instances, from the criteria of FLUTE."""
    found: dict[str, tuple[str, tuple[str, ...], Any]] = {}
    for verdict in fhir_eligibility.screen(fhir_eligibility.load_criteria("criteria/flute/mr"), folder, now=NOW):
        links = sorted((link.study, link.criterion, [s.instances for s in link.series]) for link in verdict.imaging)
        found[verdict.patient] = (verdict.verdict, tuple(verdict.deciding), links)
    return found


@pytest.mark.parametrize(
    "options",
    [
        Options(30),
        Options(30, form="bundles"),
        Options(30, scatter=True),
        Options(30, gzip=True),
        Options(30, scatter=True, gzip=True, files=2),
        Options(30, small=True),
        Options(30, form="bundles", gzip=True),
    ],
)
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, options: Options) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, options)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    write(tmp_path / "c", Options(**{n: getattr(options, n) for n in Options.__slots__} | {"seed": 2}))
    assert first != contents(tmp_path / "c")


def test_a_patient_does_not_depend_on_the_number_of_patients(tmp_path: Path) -> None:
    write(tmp_path / "few", Options(5, form="bundles"))
    write(tmp_path / "more", Options(8, form="bundles"))
    few, more = contents(tmp_path / "few"), contents(tmp_path / "more")
    assert len(few) == 5 and few.items() < more.items()


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        (Options(200), 29_000, 36_000),
        (Options(100, form="bundles"), 60_000, 72_000),
        (Options(200, kilobytes=50), 46_000, 54_000),
        (Options(300, small=True), 900, 1_500),
    ],
)
def test_sizes(tmp_path: Path, options: Options, low: int, high: int) -> None:
    made = write(tmp_path / "cohort", options)
    assert low < made.bytes / options.patients < high
    assert made.bytes == sum(map(len, contents(tmp_path / "cohort").values()))


def test_an_export_is_one_resource_a_line_in_the_file_of_its_type(tmp_path: Path) -> None:
    made = write(tmp_path / "cohort", Options(40))
    counted: Counter[str] = Counter()
    for path in (tmp_path / "cohort").iterdir():
        for line in path.read_bytes().splitlines():
            resource = json.loads(line)
            assert resource["resourceType"] == path.stem
            counted[path.stem] += 1
    assert counted == made.resources
    assert {"Claim", "Encounter", "Endpoint", "ExplanationOfBenefit", "ImagingStudy", "MedicationRequest"} < set(
        counted
    )


def test_a_study_has_four_series_of_twenty_instances_with_uids_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "cohort", Options(20))
    studies = [json.loads(line) for line in (tmp_path / "cohort" / "ImagingStudy.ndjson").read_bytes().splitlines()]
    assert all([len(s["instance"]) for s in study["series"]] == [20] * 4 for study in studies)
    uids = [one["uid"] for study in studies for series in study["series"] for one in (series, *series["instance"])]
    assert len(set(uids)) == len(uids)
    assert all(len(uid) <= 64 for uid in uids)


def test_scattered_is_the_same_lines_in_another_order(tmp_path: Path) -> None:
    write(tmp_path / "plain", Options(60))
    write(tmp_path / "scattered", Options(60, scatter=True, gzip=True, files=3))
    assert sorted(lines(tmp_path / "plain")) == sorted(lines(tmp_path / "scattered"))
    files: dict[str, set[str]] = defaultdict(set)
    for path in (tmp_path / "scattered").glob("[OC]*.gz"):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            resource = json.loads(line)
            if "subject" in resource:
                files[resource["subject"]["reference"]].add(path.name)
    assert len(files) == 60
    assert sum(len(found) > 3 for found in files.values()) > 40


def test_files_a_type_hold_the_patients_in_order(tmp_path: Path) -> None:
    write(tmp_path / "cohort", Options(10, files=2))
    parts = [(tmp_path / "cohort" / f"Patient.000{part}.ndjson").read_bytes().splitlines() for part in (0, 1)]
    names = [[json.loads(line)["id"] for line in part] for part in parts]
    assert names == [[f"p{number:07}" for number in range(a, a + 5)] for a in (1, 6)]


def test_every_verdict_occurs_often_and_is_the_same_in_every_form(tmp_path: Path) -> None:
    write(tmp_path / "ndjson", Options(300, kilobytes=16))
    write(tmp_path / "bundles", Options(300, form="bundles", kilobytes=16))
    write(tmp_path / "scattered", Options(300, kilobytes=18, scatter=True, gzip=True))
    plain = verdicts(tmp_path / "ndjson")
    counted = Counter(verdict for verdict, _, _ in plain.values())
    assert counted.total() == 300
    assert counted["included"] > 80
    assert counted["excluded"] > 80
    assert counted["undetermined"] > 30
    assert verdicts(tmp_path / "bundles") == plain
    assert verdicts(tmp_path / "scattered") == plain


def test_small_patients_have_the_same_verdicts(tmp_path: Path) -> None:
    write(tmp_path / "small", Options(150, small=True))
    write(tmp_path / "plain", Options(150, kilobytes=10))
    small = {patient: found[:2] for patient, found in verdicts(tmp_path / "small").items()}
    assert small == {patient: found[:2] for patient, found in verdicts(tmp_path / "plain").items()}


@pytest.mark.parametrize(("text", "size"), [("2GB", 2_000_000_000), ("1.5 MB", 1_500_000), ("10k", 10_000), ("77", 77)])
def test_sizes_in_words(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "2 XB", "1,5MB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        size_of(text)


def test_by_size_and_into_a_folder_that_holds_something_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cohort"
    assert main(["--size", "600kB", "--form", "bundles", "--out", str(out)]) == 0
    assert len(contents(out)) == 9
    assert main(["--patients", "3", "--small", "--out", str(out)]) == 0
    assert "3 patients" in capsys.readouterr().out
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("kept")
    assert main(["--patients", "3", "--out", str(tmp_path / "letters")]) == 2
    assert "holds something else than a cohort" in capsys.readouterr().err
    assert (tmp_path / "letters" / "letter.txt").read_text() == "kept"
