"""Cases from public bug reports about EvidenceVariable: what must not become "everyone is included"."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import fhir_eligibility
from tests.shared import reported

WORDS = {"indeterminate": "undetermined"}


def verdicts(artifact: dict[str, Any], patients: list[dict[str, Any]], folder: Path) -> dict[str, str]:
    path = folder / "artifact.json"
    path.write_text(json.dumps(artifact), encoding="utf-8")
    criteria = fhir_eligibility.load_criteria(path, on_error="keep")
    found = fhir_eligibility.screen(criteria, list(fhir_eligibility.compartments_of(patients)), now="2026-01-01")
    return {verdict.patient.removeprefix("Patient/"): verdict.verdict for verdict in found}


def expected(values: dict[str, str]) -> dict[str, str]:
    return {name: WORDS.get(value, value) for name, value in values.items()}


def test_no_characteristic_includes_nobody(tmp_path: Path) -> None:
    case = reported("EV-R6-NO-CHARACTERISTIC")
    for name in ("evidence_variable_r6", "evidence_variable_r5_empty"):
        assert verdicts(case["input"][name], case["input"]["patients"], tmp_path) == {}
        criteria = fhir_eligibility.load_criteria(tmp_path / "artifact.json", on_error="keep")
        assert [d.code for d in criteria.errors] == ["artifact-without-criteria"]


def test_combination_union(tmp_path: Path) -> None:
    case = reported("EV-COMBINATION-UNION")
    artifact, patients = case["input"]["evidence_variable_r4b"], case["input"]["patients"]
    assert verdicts(artifact, patients, tmp_path) == expected(case["expected"]["union"])
    for combination in ("intersection", None):
        other = copy.deepcopy(artifact)
        other["characteristicCombination"] = combination
        if combination is None:
            del other["characteristicCombination"]
        assert verdicts(other, patients, tmp_path) == expected(case["expected"]["if_intersection_or_absent"])


def test_threshold_in_three_valued_logic(tmp_path: Path) -> None:
    case = reported("EV-AT-LEAST-THRESHOLD")
    artifact, patients = case["input"]["evidence_variable"], case["input"]["patients"]
    assert verdicts(artifact, patients, tmp_path) == expected(case["expected"]["at_least_2"])
    at_most = copy.deepcopy(artifact)
    at_most["characteristic"][0]["definitionByCombination"] |= {"code": "at-most", "threshold": 1}
    assert verdicts(at_most, patients, tmp_path) == expected(case["expected"]["at_most_1"])
