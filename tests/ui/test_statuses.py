"""The exit statuses: their numbers are a promise to schedulers, and so is which one is told where several apply."""

from __future__ import annotations

from itertools import permutations

from engine.ui.statuses import Status, worst


def test_the_numbers_stay() -> None:
    assert {status.name: int(status) for status in Status} == {
        "OK": 0,
        "INCOMPLETE": 1,
        "FAILED": 2,
        "CRITERIA_ERRORS": 3,
        "NOTHING_SCREENED": 4,
        "THRESHOLD_EXCEEDED": 5,
        "INTERRUPTED": 130,
    }


def test_which_is_told_where_several_apply() -> None:
    order = [130, 2, 4, 3, 5, 1, 0]
    for first, second in permutations(order, 2):
        assert worst([Status(first), Status(second)]) == min(first, second, key=order.index)
    assert worst([]) == 0
