"""Every official suite does what gaps.toml says: what is listed fails, everything else passes."""

from __future__ import annotations

import pytest

from tests.spec.gaps import compare_with_gaps, load_gaps
from tests.spec.model import Suite
from tests.spec.suites import SUITES


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_suite_is_as_listed(suite: Suite) -> None:
    if reason := suite.missing():
        pytest.skip(reason)
    report = compare_with_gaps(suite.name, suite.run(suite.path()), load_gaps().values())
    assert report.results, "the suite has no tests"
    assert report.surprises() == []


def test_every_gap_is_of_a_suite_that_we_run() -> None:
    assert {suite for suite, _ in load_gaps()} <= {suite.name for suite in SUITES}
