"""Each script in examples/ runs, from the folder of the checkout, and prints what it says."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.docs.world import world

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# What each prints, in part: lines that have to be there as they are.
PRINTED = {
    "screen_a_folder.py": [
        "Patient/example-01: included",
        "Patient/example-11: excluded",
        "  Suspicion of prostate cancer: abnormal digital rectal examination, or PSA of at least 3 ng/mL: not met",
        "Patient/example-07: undetermined",
    ],
    "criteria_of_your_own.py": [
        "Patient/anna included by adult, anaemia, dialysis",
        "Patient/boris included by adult, anaemia, dialysis",
        "Patient/clara undetermined by adult",
        "Patient/dora excluded by anaemia",
    ],
    "criteria_in_cql.py": [
        "Patient/example-01 included",
        "  suspicion: met Observation/example-01-psa 2026-02-10 5.2 ng/mL",
        "  images: met ImagingStudy/example-01-images 2026-01-20T09:00:00Z",
        "error[unknown-function] in line 5, column 15: there is no function 'AgeInYear'",
    ],
    "images_of_included_patients.py": [
        "patient\tmodality\tstudy\tseries\tinstances",
        "Patient/example-01\tMR\t2.25.333650358997191352604425732550118470160\t2.25.287126679091637524714511633374476865314\t2",
    ],
    "table_of_verdicts.py": [
        "patient,verdict,suspicion,images,no-recent-images",
        "Patient/example-05,undetermined,met,imprecise-date,imprecise-date",
        "Patient/example-11,excluded,not met,met,not met",
        "Patient/example-12,undetermined,no-data,met,not met",
    ],
}
# Those with a test of their own below.
APART = {"screen_a_server.py", "test_data_quality.py"}


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True, timeout=120
    )


def test_each_example_is_run() -> None:
    assert {path.name for path in EXAMPLES} == set(PRINTED) | APART
    listed = re.findall(r"^\| `(\w+\.py)`", (ROOT / "examples" / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == [path.name for path in EXAMPLES]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_each_says_what_it_shows_and_how_it_is_run(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    assert "\nShows " in said and f"examples/{path.name}" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", PRINTED)
def test_what_is_printed(name: str) -> None:
    done = run(f"examples/{name}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in PRINTED[name] if line not in lines] == []


@pytest.mark.slow
def test_patients_of_a_server(tmp_path: Path) -> None:
    pytest.importorskip("urllib3")
    pytest.importorskip("pydicom")
    with world(tmp_path / "world") as made:
        done = run("examples/screen_a_server.py", made.real("https://fhir.hospital.example/r4"), TOKEN="secret")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    group = json.loads(done.stdout)
    found = [member["entity"]["reference"] for member in group["member"]]
    assert found == [f"Patient/example-{number}" for number in ("01", "06", "09", "10")]


@pytest.mark.slow
def test_checks_of_data() -> None:
    done = run("-m", "pytest", "-q", "examples/test_data_quality.py", "-p", "no:cacheprovider")
    assert done.returncode == 0 and "5 passed" in done.stdout, done.stdout
