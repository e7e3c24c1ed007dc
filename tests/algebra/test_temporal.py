"""Points in time: precision, three-valued comparison, arithmetic, boundaries. Time zone settings of the machine play no part."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from decimal import Decimal as D
from zoneinfo import ZoneInfo

import pytest

from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.temporal import Date, DateTime, Time

P = DateTime.parse


@pytest.fixture(params=["UTC", "Pacific/Kiritimati", "America/Anchorage"], autouse=True)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("text", ["1980-13-45", "2021-02-29", "2021-1-1", "20210101", "2021-01-01T10", "0000"])
def test_not_a_date(text: str) -> None:
    with pytest.raises(ValueError):
        Date.parse(text)


@pytest.mark.parametrize("text", ["2021-02-30T10:00", "2021-01-01T24:00", "2021-01-01T10:60", "2021-01T10:00", "2021Z"])
def test_not_a_datetime(text: str) -> None:
    with pytest.raises(ValueError):
        P(text)


@pytest.mark.parametrize(
    "text", ["2015T", "2015-02T", "2015-02-04T14", "2015-02-04T14:34:28.123+10:00", "2015-02-04T14:34:28Z"]
)
def test_written_form_is_kept(text: str) -> None:
    assert str(P(text)) == text
    assert pickle.loads(pickle.dumps(P(text))) == P(text)


@pytest.mark.parametrize(
    ("a", "b", "order"),
    [
        ("2018-03", "2018-03-01", None),
        ("2018-03", "2018-04-01", -1),
        ("2018-03-01T10:30:00", "2018-03-01T10:30:00.0", 0),
        ("2018-03-01T10:30", "2018-03-01T10:30:00", None),
        ("2021-08-04T02:00Z", "2021-08-03T20:30-05:30", 0),
        ("2012-04-15T15:00:00Z", "2012-04-15T10:00:00", None),
        ("2012-04-18T15:00:00Z", "2012-04-15T10:00:00", 1),
    ],
)
def test_comparison(a: str, b: str, order: int | None) -> None:
    assert t.compare(P(a), P(b)) == order
    assert t.compare(P(b), P(a)) == (None if order is None else -order)


def test_a_zone_for_the_side_without_one() -> None:
    paris = ZoneInfo("Europe/Paris")
    assert t.compare(P("2012-07-15T10:00:00Z"), P("2012-07-15T12:00:00"), paris) == 0


def test_date_and_datetime() -> None:
    assert t.equal(Date.parse("1974-12-25"), P("1974-12-25T12:34:00Z")) is None
    assert t.equal(Date.parse("1974-12-25"), P("1974-12-26T12:34:00Z")) is False
    assert t.equal(Date.parse("1974-12-25"), Time.parse("12:34")) is False


@pytest.mark.parametrize(
    ("start", "amount", "unit", "end"),
    [
        ("2024-02-29T", "1", "year", "2025-02-28T"),
        ("2024-01-31T", "1", "month", "2024-02-29T"),
        ("2014T", "24", "month", "2016T"),
        ("2014T", "25", "month", "2016T"),
        ("2014-03T", "45", "day", "2014-04T"),
        ("1973-12-25T00:00:00.000+10:00", "0.1", "second", "1973-12-25T00:00:00.100+10:00"),
        ("2024-03-01T", "-1", "day", "2024-02-29T"),
    ],
)
def test_arithmetic(start: str, amount: str, unit: str, end: str) -> None:
    assert str(t.add(P(start), D(amount), unit)) == end


def test_beyond_the_calendar() -> None:
    assert t.add(Date.parse("9999-12-31"), D(1), "day") is None
    assert t.add(Date.parse("0001"), D(-1), "year") is None


def test_boundaries() -> None:
    assert str(t.low_boundary(Date.parse("2014"))) == "2014-01-01"
    assert str(t.high_boundary(Date.parse("2014-02"))) == "2014-02-28"
    assert str(t.high_boundary(P("2014-02T"), 17)) == "2014-02-28T23:59:59.999-12:00"
    assert t.low_boundary(Date.parse("2014"), 5) is None
