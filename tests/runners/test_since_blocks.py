"""`--since`: documents and runs of lines that are the same as in an earlier run are neither searched nor decoded, and all outputs are those of a full run, byte for byte."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.data.bulk import scanning, tracing
from fhir_eligibility.data.bulk.collected import Collected
from fhir_eligibility.data.bulk.records import key_of
from fhir_eligibility.output.pseudonyms import Pseudonyms
from fhir_eligibility.runners.large import bulk
from fhir_eligibility.runners.screening import large
from tests.runners.nights import CHANGES, LATER, NOW, PLAIN_CHANGES, concept, outputs, screened
from tests.runners.test_since import FORMS, Nights

SIZE = 12


@contextmanager
def in_small_blocks(target: int, piece: int, buffer: int) -> Iterator[None]:
    """Blocks of lines, pieces of files and what is read at a time are small, as a small cohort needs to have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "TARGET", target)
        patch.setattr(large, "LEAST", piece)
        patch.setattr(scanning, "BLOCK", buffer)
        yield


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1_000_000),
    form=st.sampled_from((*FORMS, "bundle-lines")),
    targets=st.tuples(st.sampled_from((150, 400, 2000)), st.sampled_from((150, 400, 2000))),
    piece=st.sampled_from((300, 1500, 1 << 20)),
    buffer=st.sampled_from((512, 4096)),
    nights=st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from(PLAIN_CHANGES), max_size=3)), min_size=1, max_size=4
    ),
    odd=st.lists(st.sampled_from(CHANGES), max_size=1),
    key=st.booleans(),
)
def test_night_after_night_the_outputs_are_those_of_a_full_run(
    seed: int, form: str, targets: tuple[int, int], piece: int, buffer: int, nights: Any, odd: Any, key: bool
) -> None:
    """Each night goes by the one before; the last may be odd."""
    chance = random.Random(seed)
    options = {"pseudonyms": Pseudonyms(b"k" * 32)} if key else {}
    with tempfile.TemporaryDirectory() as folder, in_small_blocks(targets[0], piece, buffer):
        found = Nights(Path(folder), form, seed)
        found.cohort.alone = chance.random() < 0.5
        found.cohort.write(found.data, form)
        found.first("files-1", **options)
        for number, (later, changes) in enumerate((*nights, (False, odd))):
            for change in changes:
                change(found.cohort, chance)
            with in_small_blocks(targets[number % 2], piece, buffer):
                found.taken("files-1", now=LATER if later else NOW, **options)
            if (found.folder / "since").exists():
                shutil.rmtree(found.folder / "first")
                (found.folder / "since").rename(found.folder / "first")


def read_again(monkeypatch: pytest.MonkeyPatch, nights: Nights) -> tuple[int, int, int]:
    """How many patients a run takes over without a look at their records, how many blocks it reads again, and whether it had to begin anew."""
    known, blocks, anew = 0, 0, 0
    untouched_of = bulk.untouched_of
    create = bulk.BulkRun._resolve

    def counted(*given: Any) -> Any:
        nonlocal known, blocks
        found = untouched_of(*given)
        known, blocks = len(found.known), sum(map(len, found.again))
        return found

    def begun(run: Any) -> None:
        nonlocal anew
        anew += 1
        create(run)

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "untouched_of", counted)
        patch.setattr(bulk.BulkRun, "_resolve", begun)
        nights.cohort.write(nights.data, nights.form)
        out = nights.folder / "since"
        shutil.rmtree(out, ignore_errors=True)
        screened(nights.criteria, nights.data, out, "files-1", since=nights.folder / "first")
    full = nights.folder / "full"
    shutil.rmtree(full, ignore_errors=True)
    screened(nights.criteria, nights.data, full, "files-1")
    assert outputs(out) == outputs(full)
    return known, blocks, anew - 1


@pytest.mark.parametrize("form", (*FORMS, "bundle-lines"))
def test_who_did_not_change_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Of lines, those of others in the block of one that changed are looked at, but not decoded; documents by themselves."""
    with in_small_blocks(400, 1 << 20, 4096):
        nights = Nights(tmp_path, form)
        nights.first("files-1")
        assert read_again(monkeypatch, nights) == (SIZE, 0, 0)
        nights.cohort.patients["p3"][0]["birthDate"] = "1950-01-01"
        known, blocks, anew = read_again(monkeypatch, nights)
        assert (known, anew) == (SIZE - 1, 0)
        assert (blocks > 0) is (form == "ndjson")
        del nights.cohort.patients["p7"]
        assert read_again(monkeypatch, nights)[::2] == (SIZE - 2, 0)


@pytest.mark.parametrize("form", FORMS)
def test_with_another_key_nothing_is_known(tmp_path: Path, form: str) -> None:
    """What is kept is kept under the key of the codes."""
    kept = {}
    for name, options in (
        ("none", {}),
        ("one", {"pseudonyms": Pseudonyms(b"a" * 32)}),
        ("other", {"pseudonyms": Pseudonyms(b"b" * 32)}),
    ):
        nights = Nights(tmp_path / name, form)
        shutil.move(nights.data, tmp_path / "data") if not kept else shutil.rmtree(nights.data)
        screened(nights.criteria, tmp_path / "data", tmp_path / name / "first", "files-1", **options)
        kept[name] = (tmp_path / name / "first" / "blocks.bin").read_bytes()
        text = kept[name]
        assert b"Patient/p" not in text and b"Medication/" not in text and b"data/" not in text
    assert len(set(kept.values())) == 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("change", ["cut", "byte", "missing", "empty", "other run"])
def test_damaged_blocks_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, change: str) -> None:
    nights = Nights(tmp_path, form)
    nights.first("files-1")
    path = tmp_path / "first" / "blocks.bin"
    text = path.read_bytes()
    if change == "missing":
        path.unlink()
    elif change == "other run":
        nights.cohort.patients["p3"][0]["birthDate"] = "1950-01-01"
        nights.cohort.write(nights.data, form)
        screened(nights.criteria, nights.data, tmp_path / "second", "files-1")
        shutil.copy(tmp_path / "second" / "blocks.bin", path)
    else:
        places = range(0, len(text), max(1, len(text) // 10)) if change == "byte" else (0,)
        for place in places:
            cut = {"cut": text[:-1], "empty": b"", "byte": text[:place] + bytes([text[place] ^ 1]) + text[place + 1 :]}
            path.write_bytes(cut[change])
            assert read_again(monkeypatch, nights)[0] == 0
    assert read_again(monkeypatch, nights)[0] == 0


@pytest.mark.parametrize("how", ["packed", "no line feed", "by identifier", "linked", "long line"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_record_of_which_no_block_told_touches_its_patient_when_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, alone: bool
) -> None:
    """It stands in a file by itself, or with one of another patient."""
    monkeypatch.setattr(tracing, "LARGEST", 5000)
    monkeypatch.setattr(tracing, "TARGET", 400)
    nights = Nights(tmp_path, "ndjson")
    cohort, path = nights.cohort, "Condition.7.ndjson"
    cohort.patients["p4"] = [one for one in cohort.patients["p4"] if one["resourceType"] != "Condition"]
    subject = {"reference": "Patient/p4"}
    if how == "by identifier":
        cohort.patients["p4"][0]["identifier"] = [{"system": "http://example.org/ids", "value": "4"}]
        subject = {"identifier": {"system": "http://example.org/ids", "value": "4"}}
    record = {"resourceType": "Condition", "id": "only", "subject": subject, "code": concept("cancer")}
    if how == "long line":
        record["note"] = [{"text": "x" * 6000}]
    if how == "linked":
        link = [{"other": {"reference": "Patient/p5"}, "type": "seealso"}]
        cohort.patients["p4"][0]["link"] = link
    if how == "packed":
        cohort.packed = [path]
    if how == "no line feed":
        cohort.unended = [path]
    other = {"resourceType": "Condition", "id": "other", "subject": {"reference": "Patient/p9"}, "code": concept("psa")}
    cohort.lines[path] = [json.dumps(one) for one in ([] if alone else [other]) + [record]]
    cohort.write(nights.data, "ndjson")
    nights.first("files-1")
    before = (tmp_path / "first" / "verdicts.ndjson").read_bytes()
    cohort.lines[path] = [] if alone else [json.dumps(other)]
    cohort.patients["p4"][0].pop("link", None)
    if alone:
        del cohort.lines[path]
    known, _, _ = read_again(monkeypatch, nights)
    assert known >= (0 if how in ("by identifier", "linked") else SIZE - 2)
    assert (tmp_path / "since" / "verdicts.ndjson").read_bytes() != before


def test_blocks_tell_all_that_reading_comes_to() -> None:
    """What is added to `Collected` has to be told by blocks, or to keep a block from being known again (`tracing._special`)."""
    told = {"used", "passed", "kept", "seen", "shared", *tracing.COUNTS}
    special = {"problems", "deleted", "named", "persons", "unsure", "special", "aliases", "odd", "noted", "pages"}
    assert set(Collected.__struct_fields__) == told | special | {"by_file"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", [True, False])
def test_a_manifest_that_tells_that_elements_are_missing_has_all_read(tmp_path: Path, form: str, first: bool) -> None:
    nights = Nights(tmp_path, form)
    name = "manifest.json"
    types = ("Patient", "Observation", "Condition", "Procedure", "MedicationRequest", "Medication")
    output = [{"type": kind, "url": f"https://x.example/{kind}.0.ndjson"} for kind in types]
    manifest = {
        "transactionTime": "2026-01-01T00:00:00Z",
        "request": "https://x.example/$export?_elements=id",
        "output": output,
        "error": [],
    }
    if form == "bundles":
        manifest["output"] = [
            {"type": "Bundle", "url": f"https://x.example/{path.name}"} for path in sorted(nights.data.iterdir())
        ]
    nights.cohort.lines[name] = [json.dumps(manifest)] if first else []
    nights.cohort.write(nights.data, form)
    nights.first("files-1")
    nights.cohort.lines[name] = [] if first else [json.dumps(manifest)]
    if not nights.cohort.lines[name]:
        del nights.cohort.lines[name]
    nights.taken("files-1")


def test_numbers_for_ids_are_kept_under_the_key(tmp_path: Path) -> None:
    numbers = {}
    for name, options in (("none", {}), ("key", {"pseudonyms": Pseudonyms(b"a" * 32)})):
        nights = Nights(tmp_path / name, "ndjson")
        nights.first("files-1", **options)
        text = (nights.folder / "first" / "blocks.bin").read_bytes()
        numbers[name] = [key_of(f"p{number}").to_bytes(8, "little") in text for number in range(SIZE)]
    assert numbers == {"none": [True] * SIZE, "key": [False] * SIZE}
