"""`--since`: patients whose records did not change are taken over, and all outputs are those of a full run, byte for byte."""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.runners.run import NothingScreened
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
