"""Does a result equal the outputs of an official FHIRPath test? Strictly: count, order, type and value.

*Type.* Where an output names a type, an item must be of the System type or of the FHIR primitive of that name: `boolean`,
`integer`, `decimal`, `string`, `date`, `dateTime`, `time` and `Quantity` take both, `code` and `id` exist in FHIR only. Subtypes
do not satisfy (a FHIR.code is no `string`). One attribute of the suites is not reliable: a literal without a `T` cannot be told
apart by its text, and the R5 file calls the Date `@2014-01` a `dateTime`. So `dateTime` on a literal without `T` takes a Date or a
DateTime; with a `T` it must be a DateTime, and `date` must be a Date.
Where an output names no type (53 in R4), the type follows from the literal: `true`, `1` (Integer or Decimal), `1.0` (Decimal),
`1 'cm'`, `@2014` (Date or DateTime), `@2014-01T` (DateTime), `@T10` (Time).

*Value.* The item written as a literal must be the expected text, character for character: the digits of a decimal, the
precision and the offset of a date are part of the value. The only freedom is the closing `T` of a DateTime without a time of
day, which the suites leave out.

*Order* counts, unless the test says `ordered="false"`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Protocol

from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.quantity import Quantity
from tests.spec.fhirpath_cases import Output

_BOTH = ("boolean", "integer", "decimal", "string", "date", "dateTime", "time")
SATISFIED_BY: dict[str, frozenset[str]] = {
    **{name: frozenset((f"System.{name[0].upper()}{name[1:]}", f"FHIR.{name}")) for name in _BOTH},
    "Quantity": frozenset(("System.Quantity", "FHIR.Quantity")),
    "code": frozenset(("FHIR.code",)),
    "id": frozenset(("FHIR.id",)),
}
_INTEGER = re.compile(r"[+-]?\d+")
_DECIMAL = re.compile(r"[+-]?\d+\.\d+")
_QUANTITY = re.compile(r"[+-]?\d+(\.\d+)? ('[^']*'|[a-z]+)")


class ItemLike(Protocol):
    """An item of a result: a Python value and the name of its type."""

    @property
    def value(self) -> Any: ...
    @property
    def type(self) -> str: ...


def literal(item: ItemLike) -> str:
    """An item as the suites write it."""
    value = item.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Time):
        return f"@T{str(value).removeprefix('T')}"
    if isinstance(value, (Date, DateTime)):
        return f"@{str(value).removesuffix('T')}"
    if isinstance(value, (str, int, Quantity)):
        return str(value)
    return repr(value)


def types_for(output: Output) -> frozenset[str]:
    """The names of the types that satisfy an output. Raises ValueError for a type that we do not know."""
    text = output.text.strip()
    if output.type is None:
        names = _types_of_literal(text)
    elif output.type == "dateTime" and "T" not in text:
        names = ("date", "dateTime")
    elif output.type in SATISFIED_BY:
        names = (output.type,)
    else:
        raise ValueError(f"unknown output type {output.type!r}")
    return frozenset().union(*(SATISFIED_BY[name] for name in names))


def _types_of_literal(text: str) -> tuple[str, ...]:
    if text in ("true", "false"):
        return ("boolean",)
    if text.startswith("@T"):
        return ("time",)
    if text.startswith("@"):
        return ("dateTime",) if "T" in text else ("date", "dateTime")
    if _INTEGER.fullmatch(text):
        return ("integer", "decimal")
    if _DECIMAL.fullmatch(text):
        return ("decimal",)
    if _QUANTITY.fullmatch(text):
        return ("Quantity",)
    return ("string",)


def matches(item: ItemLike, output: Output) -> bool:
    """Whether one item is what an output demands."""
    expected = output.text if output.type in ("string", "code", "id") else output.text.strip()
    if expected.startswith("@"):
        expected = expected.removesuffix("T")
    return item.type in types_for(output) and literal(item) == expected


def difference(items: Sequence[ItemLike], outputs: Sequence[Output], ordered: bool) -> str:
    """What is wrong with a result, in one line; empty where it is what the outputs demand."""
    if len(items) == len(outputs):
        if ordered and all(matches(item, output) for item, output in zip(items, outputs, strict=True)):
            return ""
        if not ordered and _same_bag(items, outputs):
            return ""
    wanted = ", ".join(f"{output.text} ({output.type or 'untyped'})" for output in outputs) or "empty"
    got = ", ".join(f"{literal(item)[:200]} ({item.type})" for item in items[:20]) or "empty"
    return f"expected {wanted}; got {got}"


def _same_bag(items: Sequence[ItemLike], outputs: Sequence[Output]) -> bool:
    left = list(outputs)
    for item in items:
        found = next((output for output in left if matches(item, output)), None)
        if found is None:
            return False
        left.remove(found)
    return True
