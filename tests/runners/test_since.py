"""`--since`: patients whose records did not change are taken over, and all outputs are those of a full run, byte for byte."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.data.bulk.decoding import FactDecoder
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.output.pseudonyms import Pseudonyms
from fhir_eligibility.runners.large.earlier import Unusable, described
from fhir_eligibility.runners.large.workspace import WORK
from fhir_eligibility.runners.screening.outputs import Outputs
from fhir_eligibility.runners.screening.run import NothingScreened, RunOptions, run
from fhir_eligibility.runners.screening.since import FOLLOWS
from fhir_eligibility.ui.commands.cli import main
from tests.runners.nights import CHANGES, LATER, NOW, Cohort, criteria, outputs, screened

WAYS = ("memory", "files-1", "files-2")
FORMS = ("ndjson", "bundles")
SIZE = 12


class Nights:
    """A folder with criteria and data that change from one night to the next."""

    def __init__(self, folder: Path, form: str, seed: int = 1, **made: Any) -> None:
        self.folder, self.form, self.data = folder, form, folder / "data"
        self.cohort = Cohort(seed, SIZE)
        self.criteria = criteria(folder / "criteria", **made)
        self.cohort.write(self.data, form)

    def first(self, way: str = "memory", **options: Any) -> None:
        """The run that the later one goes by."""
        screened(self.criteria, self.data, self.folder / "first", way, **options)

    def taken(self, way: str = "memory", **options: Any) -> int:
        """How many patients a run takes over whose outputs are those of a full one."""
        self.cohort.write(self.data, self.form)
        full, since = self.folder / "full", self.folder / "since"
        for out in (full, since):
            shutil.rmtree(out, ignore_errors=True)
        try:
            screened(self.criteria, self.data, full, way, **options)
        except NothingScreened:
            with pytest.raises(NothingScreened):
                screened(self.criteria, self.data, since, way, since=self.folder / "first", **options)
            return 0
        result = screened(self.criteria, self.data, since, way, since=self.folder / "first", **options)
        assert outputs(since) == outputs(full)
        assert result.record.since is not None
        self.why = result.record.since.why_not
        return result.record.since.taken


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    form=st.sampled_from(FORMS),
    ways=st.tuples(st.sampled_from(WAYS), st.sampled_from(WAYS)),
    before=st.lists(st.sampled_from(CHANGES), max_size=3),
    changes=st.lists(st.sampled_from(CHANGES), min_size=1, max_size=4),
    clock=st.booleans(),
    later=st.booleans(),
    merge=st.booleans(),
    tolerate=st.integers(0, 1),
)
def test_the_outputs_are_those_of_a_full_run(
    seed: int, form: str, ways: tuple[str, str], before: Any, changes: Any, clock: bool, later: bool, merge: bool, tolerate: int
) -> None:  # fmt: skip
    """Whatever changed, and whatever was odd before."""
    with tempfile.TemporaryDirectory() as folder:
        chance = random.Random(seed)
        nights = Nights(Path(folder), form, seed, clock=clock)
        for change in before:
            change(nights.cohort, chance)
        nights.cohort.write(nights.data, form)
        options = {"merge_linked": merge, "tolerate": tolerate}
        try:
            nights.first(ways[0], **options)
        except NothingScreened:
            return
        for change in changes:
            change(nights.cohort, chance)
        nights.taken(ways[1], now=LATER if later else NOW, **options)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
def test_those_whose_records_did_not_change_are_taken_over(tmp_path: Path, form: str, way: str) -> None:
    nights = Nights(tmp_path, form)
    nights.first("memory")
    assert nights.taken(way) == SIZE
    nights.cohort.patients["p3"][0]["birthDate"] = "1950-01-01"
    nights.cohort.patients["p5"].append(dict(nights.cohort.patients["p5"][-1], id="more"))
    del nights.cohort.patients["p7"]
    assert nights.taken(way) == SIZE - 3


@pytest.mark.parametrize("form", FORMS)
def test_a_fingerprint_is_the_same_by_every_way(tmp_path: Path, form: str) -> None:
    nights = Nights(tmp_path, form)
    for way in WAYS:
        screened(nights.criteria, nights.data, tmp_path / way, way)
    found = {way: outputs(tmp_path / way) for way in WAYS}
    assert found["memory"] == found["files-1"] == found["files-2"]


def test_other_criteria_options_or_records_of_nobody_have_all_judged_anew(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "ndjson")
    nights.first()
    for options, why in (
        ({"absent": "unknown"}, "--absent"),
        ({"strict_cql": True}, "--strict-cql"),
        ({"tolerate": 3}, "--tolerate"),
        ({"timezone": "Europe/Paris", "now": "2026-06-01T10:00:00+02:00"}, "time zone"),
        ({"criterion_seconds": 9.0}, "--criterion-seconds"),
    ):
        assert nights.taken(**options) == 0
        assert nights.why is not None and why in nights.why
    nights.cohort.nobodys[0]["code"]["text"] = "another"
    assert nights.taken("files-1") == 0
    assert nights.why == "changed since then: records of no patient"
    nights.cohort.nobodys[0]["code"].pop("text")
    assert nights.taken() == SIZE
    nights.criteria = criteria(tmp_path / "criteria", more="Patient.exists()")
    assert nights.taken() == 0
    assert nights.why == "changed since then: criteria, criteria as they were read"
    criteria(tmp_path / "criteria")  # the files as they were, read otherwise, as other options may have it
    assert nights.taken() == 0
    assert nights.why == "changed since then: criteria as they were read"


@pytest.mark.parametrize("way", WAYS)
def test_what_is_missing_of_all_has_all_judged_anew(tmp_path: Path, way: str) -> None:
    nights = Nights(tmp_path, "ndjson")
    nights.first()
    nights.cohort.lines["Condition.0.ndjson"] = ['{"resourceType": "Condition", "id": "x"']
    assert nights.taken(way) == 0
    assert nights.why == "changed since then: what is known to be missing"


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_record_has_its_patient_judged_anew(tmp_path: Path, way: str) -> None:
    nights = Nights(tmp_path, "ndjson")
    nights.first()
    damaged = '{"resourceType": "Condition", "id": "x", "subject": {"reference": "Patient/p4"}, "code": '
    nights.cohort.lines["Condition.0.ndjson"] = [damaged]
    assert nights.taken(way) == SIZE - 1
    shutil.rmtree(tmp_path / "first")
    nights.first()
    nights.cohort.lines.clear()
    assert nights.taken(way) == SIZE - 1  # who lacked something then has no fingerprint


@pytest.mark.parametrize("clock", (False, True))
def test_another_time_of_evaluation_matters_where_the_clock_is_read(tmp_path: Path, clock: bool) -> None:
    nights = Nights(tmp_path, "ndjson", clock=clock)
    nights.first()
    assert nights.taken(now=LATER) == (0 if clock else SIZE)
    assert nights.why == ("changed since then: time of evaluation" if clock else None)
    assert nights.taken(now=NOW) == SIZE


@pytest.mark.parametrize(
    "name, cut",
    [("verdicts.ndjson", 0), ("summary.csv", 0), ("fingerprints.bin", 0), ("fingerprints.bin", 3)]
    + [(name, None) for name in ("verdicts.ndjson", "summary.csv", "fingerprints.bin", "run.json")],
)
def test_nothing_is_taken_from_outputs_that_are_not_as_they_were_written(
    tmp_path: Path, name: str, cut: int | None
) -> None:
    """A byte changed in the middle, a file cut short, or missing."""
    nights = Nights(tmp_path, "ndjson")
    nights.first()
    path = tmp_path / "first" / name
    if cut is None:
        path.unlink()
    else:
        text = bytearray(path.read_bytes())
        text[len(text) // 2] ^= 1
        path.write_bytes(text if not cut else text[:-cut])
    assert nights.taken() == 0
    assert nights.why is not None and name in nights.why


def test_any_byte_of_the_fingerprints_that_is_changed_is_noticed(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "ndjson")
    nights.first()
    path = tmp_path / "first" / "fingerprints.bin"
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(Unusable):
            described(tmp_path / "first")


@pytest.mark.parametrize("way", WAYS)
def test_codes_and_the_list_of_them_are_taken_over(tmp_path: Path, way: str) -> None:
    key, listed = Pseudonyms(b"k" * 32), tmp_path / "list.csv"
    nights = Nights(tmp_path, "ndjson")
    nights.first(pseudonyms=key)
    nights.cohort.patients["p2"][0]["birthDate"] = "1999-01-01"
    assert nights.taken(way, pseudonyms=key, pseudonym_list=listed) == SIZE - 1
    found = listed.read_bytes()
    listed.unlink()
    screened(nights.criteria, nights.data, tmp_path / "more", way, pseudonyms=key, pseudonym_list=listed)
    assert found == listed.read_bytes()
    assert nights.taken(way, pseudonyms=Pseudonyms(b"l" * 32)) == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_run_may_go_by_the_one_whose_place_it_takes(tmp_path: Path, way: str) -> None:
    nights = Nights(tmp_path, "ndjson")
    out = tmp_path / "out"
    result = screened(nights.criteria, nights.data, out, way, since=out)
    assert result.record.since is not None and result.record.since.why_not is not None  # the first night
    nights.cohort.patients["p2"][0]["birthDate"] = "1999-01-01"
    nights.cohort.write(nights.data, nights.form)
    result = screened(nights.criteria, nights.data, out, way, since=out)
    assert result.record.since is not None and result.record.since.taken == SIZE - 1
    screened(nights.criteria, nights.data, tmp_path / "full", way)
    assert outputs(out) == outputs(tmp_path / "full")


def _flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [None, _flip, _cut, Path.unlink])
def test_a_run_that_goes_by_another_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None] | None
) -> None:
    nights = Nights(tmp_path, "ndjson")
    nights.first("files-1")
    nights.cohort.patients["p2"][0]["birthDate"] = "1999-01-01"
    nights.cohort.write(nights.data, nights.form)
    out = tmp_path / "since"
    with monkeypatch.context() as patch:
        patch.setattr(Outputs, "write_bulk", _fail)
        with pytest.raises(OSError, match="no room"):
            screened(nights.criteria, nights.data, out, "files-1", since=tmp_path / "first")
    with pytest.raises(ValueError, match="--since"):
        screened(nights.criteria, nights.data, out, "files-1", resume=True)
    kept = sorted((out / WORK).glob("taken-*"))
    assert kept
    if damage is not None:
        damage(kept[0])
    result = screened(nights.criteria, nights.data, out, "files-1", since=tmp_path / "first", resume=True)
    assert result.record.since is not None and result.record.since.taken == SIZE - 1
    screened(nights.criteria, nights.data, tmp_path / "full", "files-1")
    assert outputs(out) == outputs(tmp_path / "full")


def _fail(outputs: Outputs, bulk: object) -> None:
    raise OSError("no room")


def test_criteria_that_follow_references_have_all_judged_anew(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "ndjson", more="Observation.subject.resolve().exists()")
    nights.first()
    for way in WAYS:
        assert nights.taken(way) == 0
        assert nights.why == FOLLOWS


def test_patients_who_do_not_come_from_files_are_refused(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "ndjson")
    with pytest.raises(ValueError, match="--keep-fingerprints goes with files"):
        run(nights.criteria, [], [Compartment(None, "Patient/p")], tmp_path / "out", RunOptions(keep_fingerprints=True))


def test_without_the_option_nothing_is_kept(tmp_path: Path) -> None:
    nights = Nights(tmp_path, "ndjson")
    nights.first()
    screened(nights.criteria, nights.data, tmp_path / "first", "memory", keep_fingerprints=False)
    assert not (tmp_path / "first" / "fingerprints.bin").exists()
    assert nights.taken() == 0
    assert nights.why is not None and "--keep-fingerprints" in nights.why


def test_the_command_says_what_was_taken_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights = Nights(tmp_path, "ndjson")
    command = ["screen", str(tmp_path / "criteria"), "--data", str(nights.data), "--now", NOW]
    first, out = str(tmp_path / "first"), str(tmp_path / "out")
    assert main([*command, "--out", first, "--keep-fingerprints"]) == 0
    assert main([*command, "--out", out, "--since", first]) == 0
    assert f"--since {first}: 12 of 12 patients were taken over" in capsys.readouterr().err
    assert main([*command, "--out", out, "--since", str(tmp_path / "none")]) == 2
    assert "does not exist; name the output folder of an earlier run" in capsys.readouterr().err
    assert main([*command, "--out", "-", "--since", first]) == 2
    assert "--since and --keep-fingerprints need an output folder" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", (1, 2))
def test_lines_of_those_who_are_taken_over_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    """Only those of patients whose records changed, and the records of nobody."""
    nights = Nights(tmp_path, "ndjson")
    nights.first("files-1")
    changed = nights.cohort.patients["p5"]
    changed[0]["birthDate"] = "1950-01-01"
    nights.cohort.write(nights.data, nights.form)
    decoded = tmp_path / "decoded"
    before = FactDecoder.packed

    def packed(decoder: FactDecoder, raw: bytes) -> Any:
        with decoded.open("ab") as stream:
            stream.write(bytes(raw) + b"\n")
        return before(decoder, raw)

    with monkeypatch.context() as patch:
        patch.setattr(FactDecoder, "packed", packed)
        out, way = tmp_path / "since", f"files-{jobs}"
        result = screened(nights.criteria, nights.data, out, way, since=tmp_path / "first")
    assert result.record.since is not None and result.record.since.taken == SIZE - 1
    kinds = {"Observation", "Condition", "Procedure", "MedicationRequest", "Patient"}
    expected = [one for one in changed if one["resourceType"] in kinds]
    found = [json.loads(line) for line in decoded.read_bytes().splitlines()]
    shared = [one for one in found if one["resourceType"] == "Medication"]
    assert len(shared) == 2
    assert sorted((one for one in found if one not in shared), key=str) == sorted(expected, key=str)


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize(
    "line",
    [
        '{"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/p3"}, "status": ',
        '{"resourceType": "Observation", "id": "o", "subject": {"identifier": {"value": "x"}}}',
        '{"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/p3/_history/1"}}',
        '{"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/p3"}, "subject": {"reference": "Patient/p4"}}',
        '{"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/stranger"}}',
        '{"resourceType": "Observation", "id": "p1-0", "subject": {"reference": "Patient/p3"}}',
        '{"resourceType": "Patient", "id": "p3", "link": [{"type": "seealso", "other": {"reference": "Patient/p4"}}]}',
        '{"resourceType": "Patient", "id": "new", "link": [{"type": "replaces", "other": {"reference": "Patient/p4"}}]}',
        '{"resourceType": "Bundle", "type": "transaction", "entry": [{"request": {"method": "DELETE", "url": "Patient/p4"}}]}',
        '{"resourceType": "Observation", "id": "o", "subject": {"reference": "Patient/p3"}, "modifierExtension": [{"url": "u"}]}',
        '{"id": "o", "resourceType": "Observation", "subject": {"reference": "Patient/p3"}, "status": "final"}',
        "[]",
    ],
)
def test_an_unusual_line_changes_no_byte_of_what_a_full_run_gives(tmp_path: Path, way: str, line: str) -> None:
    nights = Nights(tmp_path, "ndjson")
    nights.first("files-1")
    nights.cohort.lines["Observation.0.ndjson"] = [line]
    nights.taken(way)
