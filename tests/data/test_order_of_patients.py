"""Outputs are the same byte for byte by every way of a run, in the order of the data, also where patients have to be looked at together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.runners.screening import run as running
from fhir_eligibility.runners.screening.run import RunOptions, run
from tests.data.every_way import criteria

Resource = dict[str, Any]
NAMES = tuple("abcdefghijkl")
OUTPUTS = ("verdicts.ndjson", "summary.csv", "problems.ndjson")
WAYS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("memory", running.SMALL, {}),
    ("one process", 0, {"jobs": 1}),
    ("two processes", 0, {"jobs": 2, "memory": 1 << 20}),
)


def patient(name: str, linked: str | None) -> Resource:
    link = [{"type": "seealso", "other": {"reference": f"Patient/{linked}"}}] if linked not in (None, name) else None
    return {"resourceType": "Patient", "id": name, **({"link": link} if link else {})}


def condition(name: str) -> Resource:
    return {
        "resourceType": "Condition",
        "id": f"c{name}",
        "subject": {"reference": f"Patient/{name}"},
        "code": {"text": "x"},
    }


@settings(deadline=None, max_examples=40)
@given(
    links=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(NAMES), max_size=6),
    order=st.permutations(NAMES),
    described=st.sets(st.sampled_from(NAMES), min_size=4),
    merge=st.booleans(),
)
def test_linked_patients(
    tmp_path_factory: pytest.TempPathFactory,
    links: dict[str, str],
    order: list[str],
    described: set[str],
    merge: bool,
) -> None:
    folder = tmp_path_factory.mktemp("order")
    rules = criteria(folder / "criteria", "Condition.exists()", "Patient.link.exists()")
    (folder / "data").mkdir()
    for file, listed in (
        ("1.Condition.ndjson", [condition(name) for name in order]),
        ("2.Patient.ndjson", [patient(name, links.get(name)) for name in NAMES if name in described]),
    ):
        (folder / "data" / file).write_text("".join(json.dumps(one) + "\n" for one in listed), "utf-8")
    texts = {}
    for way, small, options in WAYS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(running, "SMALL", small)
            run(rules, [], [folder / "data"], folder / way, RunOptions(now="2026-06-01", merge_linked=merge, **options))
        texts[way] = {name: (folder / way / name).read_text("utf-8") for name in OUTPUTS}
    assert texts["one process"] == texts["memory"]
    assert texts["two processes"] == texts["memory"]
    seen = [json.loads(line)["patient"] for line in texts["memory"]["verdicts.ndjson"].splitlines()]
    known = [name for name in seen if name.removeprefix("Patient/") in described]
    assert known == sorted(known)
