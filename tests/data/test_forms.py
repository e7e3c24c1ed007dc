"""Every form in which FHIR's JSON is found in files gives the same patients and verdicts by every command and way of reading."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fhir_eligibility
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.data.files.forms import TextForm, Values, form_of
from fhir_eligibility.data.patients.reader import read_patients
from fhir_eligibility.data.patients.versions import guess_version_of_paths
from fhir_eligibility.data.records.sources import read_resources
from fhir_eligibility.runners.screening.coverage import coverage
from fhir_eligibility.ui.commands.cli import main
from tests.data.every_way import criteria, outcomes, screened
from tests.data.forms import BOM, FORMS, bundle, cohort, compact, lines, pretty, written, zipped, zstd

EXPRESSION = "Condition.where(code.coding.exists(code = 'WD1')).exists()"
FOLLOWING = "Condition.where(subject.resolve().birthDate.exists()).count() > 1"
NAMES = list(FORMS)
EXPECTED = {
    f"Patient/f{number}-{letter}": (verdict, outcome, outcome)
    for number in range(len(FORMS))
    for letter, verdict, outcome in (("a", "included", "met"), ("b", "excluded", "not met"))
}
HARMLESS = {"commas"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cohort a form, each in a folder of its own with other patients."""
    found = tmp_path_factory.mktemp("forms")
    for number, form in enumerate(NAMES):
        for name, data in written(number, form, cohort(f"f{number}")):
            (found / name).parent.mkdir(exist_ok=True)
            (found / name).write_bytes(data)
    return found


def by_form(rows: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Rows that differ from what is expected, with the name of their form."""
    wrong = {name: rows.get(name) for name in {*rows, *expected} if rows.get(name) != expected.get(name)}
    return {f"{NAMES[int(name[9:].partition('-')[0])]}: {name}": row for name, row in wrong.items()}


@pytest.mark.parametrize(
    "expressions", [(EXPRESSION, EXPRESSION), (EXPRESSION, FOLLOWING)], ids=["by plan", "following"]
)
def test_every_way_of_screening_reads_every_form(folder: Path, tmp_path: Path, expressions: tuple[str, ...]) -> None:
    rules = criteria(tmp_path / "criteria", *expressions)
    for way, found, problems in screened(rules, folder, tmp_path):
        assert by_form(found, EXPECTED) == {}, way
        assert [p for p in problems if p.code not in HARMLESS] == [], way
        files = {p.file for p in problems}
        with_commas = [n for n, form in enumerate(NAMES) if "commas" in form]
        assert {int(Path(f or "").parent.name) for f in files} == set(with_commas), way
        assert all(p.severity == "warning" for p in problems), way


@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_python_reads_every_form(folder: Path, tmp_path: Path, number: int) -> None:
    rules = criteria(tmp_path / "criteria", EXPRESSION, EXPRESSION)
    data = folder / f"{number:02}"
    expected = {name: row for name, row in EXPECTED.items() if name.startswith(f"Patient/f{number}-")}
    assert outcomes(fhir_eligibility.screen(rules, data, now="2026-06-01")) == expected
    problems: list[Any] = []
    names = [one.name for one in read_resources([data], problems.append) if one.name.partition("/")[0] in KINDS]
    assert sorted(names) == sorted(f"{one['resourceType']}/{one['id']}" for one in cohort(f"f{number}"))
    found = read_patients([data], model=load_model("r4"), on_problem=problems.append)
    assert sorted(one.reference for one in found) == sorted(expected)
    assert [p for p in problems if p.code not in HARMLESS] == []
    assert coverage(rules, [data]).patients == 2


KINDS = {"Patient", "Condition", "Organization"}


def test_commands_read_every_form(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = tmp_path / "Forms.cql"
    library.write_text(
        "library Forms version '1'\nusing FHIR version '4.0.1'\ncontext Patient\n"
        "define Has: exists ([Condition] C where exists (C.code.coding D where D.code = 'WD1'))\n"
    )
    assert main(["measure", str(library), "--data", str(folder), "--out", str(tmp_path / "m"), "--quiet"]) == 0
    results = [json.loads(line) for line in (tmp_path / "m" / "results.ndjson").read_text().splitlines()]
    counted = {one["patient"]: one["groups"][0]["populations"][0]["count"] for one in results}
    assert by_form(counted, {name: int(row[1] == "met") for name, row in EXPECTED.items()}) == {}
    capsys.readouterr()
    for number in range(len(NAMES)):
        arguments = [
            "cql",
            "[Condition] C return C.id.value",
            "--data",
            str(folder / f"{number:02}"),
            "--patient",
            f"f{number}-a",
        ]
        assert main(arguments) == 0
        assert re.findall(r"f\d+-c\d", capsys.readouterr().out) == [f"f{number}-c1", f"f{number}-c2"], NAMES[number]
    rules = criteria(tmp_path / "criteria", EXPRESSION)
    assert main(["check", str(tmp_path / "criteria"), "--data", str(folder), "--json"]) == 0
    assert rules.rules and json.loads(capsys.readouterr().out)["data"]["patients"] == len(EXPECTED)


def test_the_version_is_told_by_every_form(tmp_path: Path) -> None:
    study = {"resourceType": "Encounter", "id": "e", "class": [{"text": "x"}], "status": "completed"}
    for number, form in enumerate(NAMES):
        for name, data in written(number, form, [study] * 4):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(data)
        assert guess_version_of_paths([tmp_path / f"{number:02}"]) == "r5", form


PATIENT = {"resourceType": "Patient", "id": "p", "birthDate": "1950-01-01"}
ONE: dict[str, tuple[str, bytes]] = {
    "compact": ("p.json", compact(PATIENT)),
    "pretty-printed": ("p.json", pretty(PATIENT)),
    "with a mark": ("p.json", BOM + pretty(PATIENT)),
    "a line": ("p.ndjson", lines([PATIENT])),
    "a sequence": ("p", b"\x1e" + pretty(PATIENT)),
    "gzip": ("p.json", gzip.compress(pretty(PATIENT))),
    "zstd": ("p.json.zst", zstd(pretty(PATIENT))),
    "a zip": ("p.zip", zipped({"x/p.json": pretty(PATIENT)})),
}


@pytest.mark.parametrize("kind", sorted(ONE))
def test_fhirpath_reads_one_resource_in_every_form(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    name, text = ONE[kind]
    (tmp_path / name).write_bytes(text)
    assert main(["fhirpath", "birthDate.toString()", str(tmp_path / name)]) == 0
    assert capsys.readouterr().out == "1950-01-01  (System.String)\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert main(["fhirpath", "birthDate.toString()", "-"]) == (2 if kind == "a zip" else 0)
    told = capsys.readouterr()
    assert "unpack it" in told.err if kind == "a zip" else told.out == "1950-01-01  (System.String)\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.json", b"", "the file is empty"),
        ("x.json", b"<html></html>", "a web page"),
        ("x.json", "{}".encode("utf-16"), "UTF-16"),
        ("x.ndjson", lines([PATIENT, PATIENT]), "several resources, one behind the other"),
        ("x.json", pretty(PATIENT) + pretty(PATIENT), "several resources, one behind the other"),
        ("x.json", pretty(PATIENT)[:-5], "not valid JSON"),
        ("x.ndjson", compact(PATIENT)[:-5], "not valid JSON"),
        ("x.zip", zipped({"a.json": b"{}", "b.json": b"{}"}), "a zip of 2 files is not read; unpack it"),
        ("x.json", "{'ü'}".encode("latin-1"), "not valid JSON"),
    ],
)
def test_fhirpath_says_what_is_wrong_with_a_file(tmp_path: Path, name: str, text: bytes, words: str, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    (tmp_path / name).write_bytes(text)
    assert main(["fhirpath", "birthDate", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert words in error and name in error


# -- the same cohort in any form


@st.composite
def cohorts(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Patients with conditions whose texts may hold anything."""
    text = st.text(alphabet=st.sampled_from('ab{}[]":,\\/\n\x1e é\u2028\U0001f600'), max_size=12)
    found: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 4))):
        found.append({"resourceType": "Patient", "id": f"p{number}", "name": [{"text": draw(text)}]})
        for index in range(draw(st.integers(0, 2))):
            coding = {"code": draw(st.sampled_from(("WD1", "WD2"))), "display": draw(text)}
            found.append(
                {
                    "resourceType": "Condition",
                    "id": f"c{number}-{index}",
                    "subject": {"reference": f"Patient/p{number}"},
                    "code": {"coding": [coding], "text": draw(text)},
                }
            )
    return found


@settings(max_examples=60, deadline=None)
@given(resources=cohorts(), form=st.sampled_from(NAMES))
def test_a_cohort_in_any_form_gives_the_same_verdicts(tmp_path_factory: pytest.TempPathFactory, resources: list[dict[str, Any]], form: str) -> None:  # fmt: skip
    base = tmp_path_factory.mktemp("any")
    rules = criteria(base / "criteria", EXPRESSION)
    expected = outcomes(
        fhir_eligibility.screen(rules, list(fhir_eligibility.compartments_of(resources)), now="2026-06-01")
    )
    for name, data in written(0, form, resources):
        (base / name).parent.mkdir(exist_ok=True)
        (base / name).write_bytes(data)
    problems: list[Any] = []
    by_plan = outcomes(fhir_eligibility.screen(rules, base / "00", now="2026-06-01", on_problem=problems.append))
    whole = read_patients([base / "00"], model=load_model("r4"), on_problem=problems.append)
    assert by_plan == outcomes(fhir_eligibility.screen(rules, list(whole), now="2026-06-01")) == expected
    assert [p for p in problems if p.code not in HARMLESS] == []


# -- texts


@settings(max_examples=400, deadline=None)
@given(
    resources=cohorts(),
    behind=st.lists(st.sampled_from((b"\n", b" ", b",", b"\x1e", b"\r\n", BOM, b"")), min_size=8, max_size=8),
    seed=st.integers(0, 1000),
)
def test_values_are_told_apart_however_the_text_comes(resources: list[dict[str, Any]], behind: list[bytes], seed: int) -> None:  # fmt: skip
    """Read in parts of any size, damaged values between them, each value is found where it stands."""
    chance = random.Random(seed)
    values = [chance.choice((compact, pretty))(one) for one in resources]
    text, places = b"", []
    for index, value in enumerate(values):
        places.append(len(text))
        text += value + behind[index % len(behind)]
    cut = chance.randrange(len(text) + 1)

    class Slow:
        left = text[cut:]

        def read(self, size: int) -> bytes:
            part, self.left = self.left[:7], self.left[7:]
            return part

    found = [(offset, line, value) for offset, line, value in Values(text[:cut], Slow())]  # type: ignore[arg-type]
    expected = [(at, text.count(b"\n", 0, at) + 1, value) for at, value in zip(places, values, strict=True)]
    assert found == expected


@pytest.mark.parametrize("named", [True, False])
def test_what_is_damaged_ends_where_another_value_begins(named: bool) -> None:
    whole = [pretty(one) for one in cohort("x")]
    text = b"\n".join((whole[0], whole[1][:-30], whole[2], whole[3]))
    assert form_of(text, True, named) is (TextForm.VALUES if named else TextForm.DOCUMENT)
    found = [value for _, _, value in Values(text)]
    assert found[0] == whole[0] and found[2:] == whole[2:4] and found[1] == whole[1][:-30].rstrip()
    text = b"\x1e" + compact(cohort("x")[0])[:20] + b"\x1e" + compact(cohort("x")[1])
    assert [value for _, _, value in Values(text)][1] == compact(cohort("x")[1])


def test_a_value_that_is_too_long_is_told_and_others_are_read() -> None:
    long = pretty({"resourceType": "Basic", "id": "x", "text": ["y" * 1000] * 100})
    text = b"\n".join((pretty({"a": 1}), long, pretty({"b": 2})))

    class Stream:
        left = text

        def read(self, size: int) -> bytes:
            part, self.left = self.left[:5000], self.left[5000:]
            return part

    found = [(offset, value) for offset, _, value in Values(b"", Stream(), most=20_000)]  # type: ignore[arg-type]
    assert found == [
        (0, pretty({"a": 1})),
        (text.index(long), None),
        (len(text) - len(pretty({"b": 2})), pretty({"b": 2})),
    ]


FORM_OF = [
    (lines(cohort("x")), TextForm.LINES, TextForm.LINES),
    (compact(cohort("x")[0]), TextForm.LINES, TextForm.DOCUMENT),
    (compact(cohort("x")[0]) + b"\n \n", TextForm.LINES, TextForm.DOCUMENT),
    (pretty(cohort("x")[0]), TextForm.DOCUMENT, TextForm.DOCUMENT),
    (b'{"resourceType":"Condition","code":"86\n' + lines(cohort("x")), TextForm.LINES, TextForm.DOCUMENT),
    (b"502 Bad Gateway\n" + lines(cohort("x")), TextForm.LINES, TextForm.DOCUMENT),
    (b"\x1e" + compact(cohort("x")[0]), TextForm.VALUES, TextForm.VALUES),
    (pretty(bundle("collection", cohort("x"))), TextForm.DOCUMENT, TextForm.DOCUMENT),
]


@pytest.mark.parametrize(("text", "named", "other"), FORM_OF)
def test_the_form_of_a_text(text: bytes, named: TextForm, other: TextForm) -> None:
    assert (form_of(text, True, True), form_of(text, True, False)) == (named, other)
