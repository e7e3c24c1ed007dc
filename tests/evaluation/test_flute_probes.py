"""The published probe patients, screened one file at a time with criteria/flute in both forms and both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

import fhir_eligibility
from tests.shared import shared

CRITERIA = Path(__file__).parents[2] / "criteria" / "flute"
EXPECTED = {
    "mri-6mo-before": ("included", None),
    "psa-5000-pg": ("included", None),
    "psa-5-ug-L": ("included", None),
    "psa-3.0": ("included", None),
    "mri-18mo-before": ("excluded", None),
    "mri-after-biopsy": ("excluded", None),
    "mri-registered": ("excluded", None),
    "biopsy-no-date": ("undetermined", "missing-value"),
    "biopsy-year-only": ("undetermined", "imprecise-date"),
    "mri-no-started": ("undetermined", "missing-value"),
    "mri-month-2023-06": ("undetermined", "imprecise-date"),
    "mri-year-only-2023": ("undetermined", "imprecise-date"),
    "mri-exactly-1y-day": ("undetermined", "imprecise-date"),
}


@pytest.mark.parametrize("version", ["", "r4"])
@pytest.mark.parametrize("probe", sorted(EXPECTED))
def test_any_modality(probe: str, version: str) -> None:
    criteria = fhir_eligibility.load_criteria(CRITERIA / version / "any-modality")
    (verdict,) = fhir_eligibility.screen(criteria, shared("flute", "probes", f"{probe}.json"), now="2026-03-01")
    reasons = {criterion.reason for criterion in verdict.criteria if criterion.reason is not None}
    outcome, reason = EXPECTED[probe]
    assert verdict.verdict == outcome
    assert reasons == ({reason} if reason else set())


@pytest.mark.parametrize("version", ["", "r4"])
@pytest.mark.parametrize("probe", sorted(EXPECTED))
def test_mr_excludes_all_and_says_that_ct_was_seen(probe: str, version: str) -> None:
    criteria = fhir_eligibility.load_criteria(CRITERIA / version / "mr")
    (verdict,) = fhir_eligibility.screen(criteria, shared("flute", "probes", f"{probe}.json"), now="2026-03-01")
    assert verdict.verdict == "excluded"
    assert {(link.role, tuple(link.modality)) for link in verdict.imaging} == {("examined", ("CT",))}
    assert all(link.study is None and "STUDY-12345" in " ".join(link.warnings) for link in verdict.imaging)
    assert all(len(link.series) == 2 for link in verdict.imaging)
