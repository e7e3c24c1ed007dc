"""What options take: each type with values that it reads, and values that it refuses with a sentence that says what to write."""

from __future__ import annotations

import argparse
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhir_eligibility.runners.large import machine
from fhir_eligibility.ui.options import argument_types as types
from fhir_eligibility.ui.options.argument_types import ArgumentType, Limit, number, whole_number

ALL = {name: kind for name, kind in vars(types).items() if isinstance(kind, ArgumentType)}

READ: list[tuple[ArgumentType[Any], str, Any]] = [
    (types.MEMORY, "800MB", 800_000_000),
    (types.MEMORY, "800 mb", 800_000_000),
    (types.MEMORY, "1.5G", 1_500_000_000),
    (types.MEMORY, "2GiB", 2 << 30),
    (types.MEMORY, "1000000B", 1_000_000),
    (types.JOBS, "1", 1),
    (types.JOBS, "8", 8),
    (types.COUNT, "0", 0),
    (types.LIMIT, "20", Limit(20)),
    (types.LIMIT, "2%", Limit(2, percent=True)),
    (types.LIMIT, "0.5 %", Limit(0.5, percent=True)),
    (types.LIMIT, "0", Limit(0)),
    (types.SECONDS, "0", 0.0),
    (types.SECONDS, "2.5", 2.5),
    (types.MOMENT, "2026-03-01", "2026-03-01"),
    (types.MOMENT, "2026-03-01T09:00:00+01:00", "2026-03-01T09:00:00+01:00"),
    (types.INSTANT, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"),
    (types.ZONE, "Europe/Paris", "Europe/Paris"),
    (types.ADDRESS, "https://server/fhir", "https://server/fhir"),
    (types.ADDRESS, "HTTP://server", "HTTP://server"),
    (types.PATH, "a folder/file.json", "a folder/file.json"),
    (types.PATH_OR_ADDRESS, "C:/data", "C:/data"),
    (types.PATH_OR_ADDRESS, "data", "data"),
    (types.PATH_OR_ADDRESS, "https://server/fhir", "https://server/fhir"),
    (whole_number(1, 64), "64", 64),
]

REFUSED: list[tuple[ArgumentType[Any], str, str]] = [
    (types.MEMORY, "800", "800 bytes? write 800MB"),
    (types.MEMORY, "800000000", "800000000 bytes? write 800MB"),
    (types.MEMORY, "0MB", "0MB is too little"),
    (types.MEMORY, "10KB", "10KB is too little"),
    (types.MEMORY, "900TB", "900TB is more than this machine has ("),
    (types.MEMORY, "much", "expected an amount of memory such as 800MB or 6GB, found 'much'"),
    (types.MEMORY, "-1GB", "expected an amount of memory"),
    (types.MEMORY, "1iB", "expected an amount of memory"),
    (types.JOBS, "0", "0 processes cannot run; leave the option out"),
    (types.JOBS, "-2", "-2 processes cannot run"),
    (types.JOBS, "100000", "too many processes; this machine has"),
    (types.JOBS, "two", "expected a whole number of processes, found 'two'"),
    (types.JOBS, "1.5", "expected a whole number of processes"),
    (types.COUNT, "-1", "expected a whole number of 0 or more, found '-1'"),
    (types.LIMIT, "2.5", "did you mean 2.5%?"),
    (types.LIMIT, "101%", "a share is at most 100%"),
    (types.LIMIT, "few", "expected a count such as 20, or a share such as 2%, found 'few'"),
    (types.LIMIT, "-1%", "expected a count"),
    (types.SECONDS, "nan", "expected a number of seconds, 0 or more, found 'nan'"),
    (types.SECONDS, "-1", "expected a number of seconds"),
    (types.SECONDS, "1e999", "expected a number of seconds"),
    (types.MOMENT, "soon", "'soon' is not a date or time; write 2026-03-01"),
    (types.MOMENT, "2026-13-01", "is not a date or time"),
    (types.MOMENT, "01.03.2026", "is not a date or time"),
    (types.INSTANT, "2026-03-01", "must be whole and have a time zone"),
    (types.INSTANT, "yesterday", "is not a point in time; write 2026-03-01T00:00:00Z"),
    (types.ZONE, "Europe/Pariss", "unknown time zone 'Europe/Pariss'; did you mean Europe/Paris?"),
    (types.ZONE, "Mars", "unknown time zone 'Mars'"),
    (types.ZONE, "../etc/passwd", "unknown time zone"),
    (types.ADDRESS, "htp://x", "'htp://x': addresses begin with https:// or http://; did you mean http://x?"),
    (types.ADDRESS, "htps://x/y", "did you mean https://x/y?"),
    (types.ADDRESS, "https:/x/y", "did you mean https://x/y?"),
    (types.ADDRESS, "ftp://x", "addresses begin with https:// or http://"),
    (types.ADDRESS, "server/fhir", "'server/fhir' is not an address; write https://host/..."),
    (types.PATH_OR_ADDRESS, "htp://x", "did you mean http://x?"),
    (types.PATH, " ", "a path is empty; write . for the current folder"),
    (whole_number(1, 64), "65", "expected a whole number from 1 to 64, found '65'"),
    (number(0, "a number of minutes above 0", above=True), "0", "expected a number of minutes above 0, found '0'"),
]


@pytest.mark.parametrize(("kind", "text", "value"), READ)
def test_what_is_read(kind: ArgumentType[Any], text: str, value: Any) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(("kind", "text", "message"), REFUSED)
def test_what_is_refused(kind: ArgumentType[Any], text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as found:
        kind(text)
    assert message in str(found.value)


@pytest.mark.parametrize("kind", ALL.values(), ids=ALL)
def test_every_type_has_an_example_that_is_read_and_one_that_is_refused(kind: ArgumentType[Any]) -> None:
    assert any(one is kind for one, _, _ in READ)
    assert any(one is kind for one, _, _ in REFUSED)


@pytest.mark.parametrize(("kind", "text", "value"), READ)
def test_what_is_written_is_read_again(kind: ArgumentType[Any], text: str, value: Any) -> None:
    assert kind(str(kind.write(value))) == value


@pytest.mark.parametrize("kind", ALL.values(), ids=ALL)
@given(text=st.text(max_size=30))
@settings(deadline=None, max_examples=60)
def test_any_text_is_read_or_refused_in_words(kind: ArgumentType[Any], text: str) -> None:
    try:
        kind(text)
    except argparse.ArgumentTypeError as error:
        assert str(error)


def test_credentials_are_not_repeated() -> None:
    for kind in (types.ADDRESS, types.PATH_OR_ADDRESS):
        with pytest.raises(argparse.ArgumentTypeError) as found:
            kind("htp://me:hunter2@server/fhir")
        assert "hunter2" not in str(found.value)


def test_a_limit_is_exceeded_by_more_not_by_as_many() -> None:
    assert [Limit(2).exceeded(count, 10) for count in (1, 2, 3)] == [False, False, True]
    assert [Limit(20, percent=True).exceeded(count, 10) for count in (1, 2, 3)] == [False, False, True]
    assert not Limit(0, percent=True).exceeded(0, 0)
    assert Limit(0).exceeded(1, 1) and Limit(0, percent=True).exceeded(1, 1000)


def test_far_more_processes_than_cores_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(types, "cores", lambda: 2)
    assert types.too_many_jobs(8) is None
    assert types.too_many_jobs(9) == (
        "--jobs 9: this machine has 2 cores; more processes take more memory and are not faster"
    )


def test_the_memory_of_a_container_counts(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_LIMITS", (tmp_path / "none", limit))
    limit.write_text("max\n")
    whole = machine.machine_memory()
    assert whole == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit.write_text("1000000000\n")
    assert machine.machine_memory() == 1_000_000_000
    monkeypatch.setattr(types, "machine_memory", machine.machine_memory)
    with pytest.raises(argparse.ArgumentTypeError, match="2GB is more than this machine has"):
        types.MEMORY("2GB")
