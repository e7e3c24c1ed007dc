"""Fast paths are there, and held to the slow way by tests that are there."""

from __future__ import annotations

from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest

from fhir_eligibility.compiler.runtime import fhir_values
from fhir_eligibility.evaluation import tracing
from tests.paths import cql_generator, fhirpath_generator
from tests.paths.fast_paths import FAST_PATHS
from tests.paths.patients import patients
from tests.paths.test_cql_ways import compiled as compiled_cql
from tests.paths.test_fhirpath_ways import compiled
from tests.paths.ways import Cohort, from_memory, rule_set
from tests.spec.model import ROOT


@pytest.mark.parametrize("name", sorted(FAST_PATHS))
def test_what_holds_a_fast_path_is_there(name: str) -> None:
    module, _, path = name.partition(":")
    assert reduce(getattr, path.split("."), import_module(module)) is not None
    assert FAST_PATHS[name] and all((ROOT / test).is_file() for test in FAST_PATHS[name])


def test_few_rows_are_looked_through_as_the_index_of_many_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = Cohort(patients(900, 8), tmp_path)
    codes = [
        code
        for seed in range(40_000, 40_200)
        if "coding" in (text := fhirpath_generator.expression(seed)) and (code := compiled(text))
    ]
    texts = (cql_generator.expression(seed) for seed in range(40_000, 40_100))
    rules = [
        rule_set(code)
        for code in [*codes[:60], *(compiled_cql(text) for text in texts if ": " in text and "not Count" not in text)]
    ]
    assert len(rules) > 60
    few = [from_memory(one, cohort) for one in rules]
    for module in (tracing, fhir_values):
        monkeypatch.setattr(module, "plainly_coded", lambda *_: None)
    assert [from_memory(one, cohort) for one in rules] == few
