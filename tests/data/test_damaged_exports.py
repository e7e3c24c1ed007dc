"""Every kind of damage in the benchmark's list: one damaged line in an export, and many, by every way of reading (the whole of it: `python -m tests.benchmarks.damage`)."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.benchmarks import damage
from tests.benchmarks.cohorts import Options, write

TIMES = int(os.environ.get("DAMAGE_TIMES", "1"))


@pytest.mark.parametrize("kind", damage.KINDS)
def test_one_damaged_line_changes_no_verdict_without_a_word(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, criteria = random.Random(kind), damage.rules()
    for number in range(TIMES):
        write(tmp_path / "whole", Options(6, chance.randrange(10**6), "ndjson", small=True))
        before = damage.in_memory(criteria, tmp_path / "whole")
        monkeypatch.setattr(damage, "KINDS", {kind: damage.KINDS[kind]})
        done = damage.spoil(tmp_path / "whole", tmp_path / f"damaged-{number}", 1, chance)
        monkeypatch.undo()
        assert len(done) == 1
        first = None
        for after in damage.every_way(
            criteria, tmp_path / f"damaged-{number}", tmp_path / f"out-{number}", validate=kind == "odd shape"
        ):
            faults = damage.check(done, before.outcomes, after, 0).faults
            if after.account is not None:
                faults += damage.check_account(after.account)
                faults += damage.compared(first, after, problems=True) if first is not None else []
                first = first or after
            assert faults == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_many_damaged_lines(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert damage.main(["--lines", "170", "--patients", "80", "--seed", str(seed)]) == 0, capsys.readouterr().out
