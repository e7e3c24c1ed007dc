"""Mutated definitions of strangers: each compiles or is refused with a diagnostic, and none brings code of its own.

FUZZ_EXAMPLES sets how many there are of all kinds together; FUZZ_SEED gives others. Every fourth that compiles is evaluated as well.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.compiler import hostile

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "2000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
SHARES = {"cql": 0.3, "elm": 0.4, "fhirpath": 0.15, "model": 0.1, "artifact": 0.05}


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHARES)
def test_no_definition_breaks_out(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended: Counter[str] = Counter()
    faults = []
    for number, mutant in enumerate(hostile.mutants(kind, int(EXAMPLES * SHARES[kind]), SEED)):
        try:
            outcome = mutant.run(number % 4 == 0)
        except Exception as error:
            faults.append(f"{error.__class__.__name__}: {error}\n{mutant.what}")
            continue
        ended[outcome.kind] += 1
        ended["evaluated"] += outcome.evaluated
        if outcome.kind == "foreign":
            faults.append(f"foreign code\n{mutant.what}")
    print(f"{kind}: {dict(ended)}, {len(faults)} faults")
    assert faults == []
    assert not (tmp_path / hostile.SENTINEL).exists()
    assert ended["compiled"] > 0 and (kind == "artifact" or ended["refused"] > 0)


def test_the_payloads_do_what_they_shall_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    eval(hostile.RUNS)
    assert (tmp_path / hostile.SENTINEL).exists()
