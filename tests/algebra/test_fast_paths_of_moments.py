"""Fast paths that the usual values take give what the plain ways give."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fhir_eligibility.algebra.temporal import DateTime
from fhir_eligibility.algebra.temporal.arithmetic import add, moved
from fhir_eligibility.algebra.temporal.recorded import read, to_the_millisecond
from fhir_eligibility.algebra.temporal.values import _aligned, _compare, _far_apart
from fhir_eligibility.algebra.temporal.values import compare as compare_moments
from fhir_eligibility.algebra.ucum import exact_convert
from fhir_eligibility.algebra.values.quantity import Quantity, compare
from fhir_eligibility.compiler.criteria.library import PRECISION, Precise

DAYS = st.dates().map(str)
TIMES = st.sampled_from(["", "T", "T10", "T10:30", "T10:30:15", "T10:30:15.000", "T10:30:15.250", "T23:59:59.999"])
ZONES = st.sampled_from(["", "Z", "+00:00", "+14:00", "-11:30"])


def _text(day: str, length: int, time: str, zone: str) -> str:
    text = day[:length]
    if length < 10:
        return text
    return text + time + (zone if len(time) > 1 else "")


MOMENTS = st.builds(_text, DAYS | st.just("2026-06-01"), st.sampled_from([4, 7, 10, 10]), TIMES, ZONES).map(
    DateTime.parse
)


@given(MOMENTS, MOMENTS)
@example(DateTime.parse("2026-06-01T00:30:00+14:00"), DateTime.parse("2026-05-31T10:30:00Z"))
@example(DateTime.parse("2026-06-01"), DateTime.parse("2026-06-01T10:00:00Z"))
@example(DateTime.parse("2026-06-01T10:30:15Z"), DateTime.parse("2026-06-01T10:30:15.250Z"))
def test_moments_compare_as_component_by_component(a: DateTime, b: DateTime) -> None:
    pair = _aligned(a, b, None)
    assert compare_moments(a, b) == (_far_apart(a, b) if pair is None else _compare(*pair))


@given(MOMENTS, st.integers(-500, 500), st.sampled_from(["year", "month", "week", "day", "hour", "second"]))
def test_moved_moments_are_remembered_as_they_are(value: DateTime, amount: int, unit: str) -> None:
    known = moved(value, Decimal(amount), unit)
    for _ in range(2):
        found = add(value, Decimal(amount), unit)
        assert str(found) == str(known) and found == known


def test_what_is_remembered_tells_an_offset_that_is_not_written() -> None:
    written, implied = DateTime.parse("2026-06-01T10:00:00+02:00"), DateTime.parse("2026-06-01T10:00:00").at_offset(120)
    found = [str(add(value, Decimal(1), "year")) for value in (written, implied, DateTime.parse("2026-06-01T10:00:00"))]
    assert found == ["2027-06-01T10:00:00+02:00", "2027-06-01T10:00:00", "2027-06-01T10:00:00"]


def _long(text: str) -> DateTime | None:
    try:
        return DateTime.parse.__wrapped__(text)
    except ValueError:
        return None


def _short(text: str) -> DateTime | None:
    try:
        return read(text)
    except ValueError:
        return None


def _alike(a: DateTime | None, b: DateTime | None) -> bool:
    if a is None or b is None:
        return a is b
    fields = "offset_minutes implied moment".split()
    return str(a) == str(b) and a == b and a.utc() == b.utc() and all(getattr(a, f) == getattr(b, f) for f in fields)


WRITTEN = st.builds(
    lambda year, day, time, zone: f"{year}-{day}T{time}{zone}",
    st.sampled_from(["0001", "2024", "2026", "9999", "-026", "20 6"]),
    st.sampled_from(["01-01", "02-29", "12-31", "13-01", "1-011", "W1-1"]),
    st.sampled_from(
        ["00:00:00", "23:59:59", "10:30:15", "24:00:00", "10:60:00", "10:30:60", "1:030:15", "10:30:15.250"]
    ),
    st.sampled_from(["Z", "z", "+00:00", "-00:00", "+14:00", "-14:01", "+05:30", "-11:60", "+2:000", "", "+05"]),
)


@given(WRITTEN | MOMENTS.map(str))
@example("2026-01-01T00:00:00-11:60")
@example("0001-01-01T00:00:00+05:30")
@example("0401-01-01T00:00:00+14:00")
def test_what_data_writes_is_read_as_any_text(text: str) -> None:
    found, expected = _short(text), _long(text)
    assert _alike(found, expected)
    for value in (found, None if found is None else found.at_offset(120)):
        if value is None or value.second is None or value.millisecond is not None:
            assert value is None or to_the_millisecond(value) is value
        else:
            whole = DateTime.of((*value._parts[:6], 0), value.offset_minutes, value.implied)
            assert _alike(to_the_millisecond(value), whole)


UNITS = [
    "ng/mL",
    "ug/L",
    "pg/mL",
    "g/L",
    "mmol/L",
    "Cel",
    "K",
    "[degF]",
    "[iU]/L",
    "m[iU]/L",
    "%",
    "1",
    "{cells}/uL",
    "no unit",
]


@given(
    st.decimals(-1000, 1000, places=3),
    st.sampled_from(UNITS),
    st.decimals(-1000, 1000, places=3),
    st.sampled_from(UNITS),
)
@example(Decimal("3000"), "pg/mL", Decimal("3"), "ng/mL")
@example(Decimal("3000.0000000000000000000000000000000000000000001"), "pg/mL", Decimal("3"), "ng/mL")
@example(Decimal("0"), "Cel", Decimal("273.15"), "K")
def test_quantities_compare_as_their_exact_values(x: Decimal, unit: str, y: Decimal, other: str) -> None:
    found = compare(Quantity(x, unit), Quantity(y, other))
    try:
        converted = exact_convert(Fraction(x), unit, other)
    except ValueError:
        converted = None
    arbitrary = unit != other and ("[iU]" in unit or "[iU]" in other)
    if converted is None or arbitrary:
        assert found is None or unit == other
    else:
        assert found == (converted > Fraction(y)) - (converted < Fraction(y))


def test_precision_is_given_back() -> None:
    with localcontext() as context:
        context.prec = 9
        with pytest.raises(ZeroDivisionError), Precise():
            assert len(str(Decimal(1) / 3)) == PRECISION + 2
            with Precise():
                pass
            assert context.prec == PRECISION
            raise ZeroDivisionError
        assert context.prec == 9
