"""UIDs checked all at once are those that are valid one by one."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fhir_eligibility.data.archives.uids import all_plain, arrays_of, valid_uid

UIDS = st.one_of(
    st.text(alphabet="0123.", max_size=8),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=12).map(lambda parts: ".".join(map(str, parts))),
    st.sampled_from(
        [
            "1.2.840",
            "1.2.840.",
            ".1",
            "1..2",
            "01.2",
            "1.02",
            "0",
            "00",
            "1.0.2",
            "²",
            "1\n2",
            "",
            "1" * 65,
            "1,2",
            '1"2',
            '1","2',
        ]
    ),
)


@given(st.lists(UIDS, min_size=1, max_size=6))
def test_all_at_once_is_one_by_one(texts: list[str]) -> None:
    assert all_plain(texts) == (all(map(valid_uid, texts)) and len(set(texts)) == len(texts))


def test_what_is_no_text_is_no_uid() -> None:
    assert not all_plain(["1.2", None]) and not all_plain([])


@given(st.lists(st.tuples(UIDS, st.lists(UIDS, max_size=3)), min_size=1, max_size=3))
def test_arrays_are_made_of_valid_ones_only(series: list[tuple[str, list[str]]]) -> None:
    owners, below = [uid for uid, _ in series], [texts for _, texts in series]
    texts = [*owners, *(text for several in below for text in several)]
    plain = all(map(valid_uid, texts)) and len(set(texts)) == len(texts)
    found = arrays_of(owners, below)
    assert (found is None) == (not plain)
    assert found is None or list(map(json.loads, found)) == below


def test_arrays_of_odd_things() -> None:
    assert arrays_of(["1.2", "1.3"], [["1.4", "1.5"], []]) == ['["1.4","1.5"]', "[]"]
    assert arrays_of([], []) is None
    assert arrays_of(["1.2"], [[""]]) is None
    assert arrays_of(["1.2"], [["1.3", None]]) is None
    assert arrays_of(["1.2"], [[["1.3"]]]) is None
