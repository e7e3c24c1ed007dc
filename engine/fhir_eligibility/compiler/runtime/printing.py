"""CQL values as text: as an author would write them, resources by reference, what is only known to lie in a range as such."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra.limits import shown
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.clinical import Code, CodeSystem, Concept, Ratio, Tuple, ValueSet
from fhir_eligibility.algebra.values.element import Element
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Long, Uncertainty
from fhir_eligibility.algebra.values.quantity import Quantity

_LONGEST = 100


def text_of(value: Any, indent: int = 0) -> str:
    """A value in CQL notation."""
    kind = value.__class__
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is str:
        return quoted(value)
    if kind is int:
        return str(value)
    if kind is Long:
        return f"{int(value)}L"
    if kind is Decimal:
        text = shown(value)
        return text if "." in text else f"{text}.0"
    if kind in (Date, DateTime):
        return f"@{value}"
    if kind is Time:
        return f"@T{value}"
    if kind is Uncertainty:
        return f"between {text_of(value.low)} and {text_of(value.high)}"
    if kind is list:
        return _several("{", [text_of(item, indent + 2) for item in value], "}", indent)
    if kind is Tuple:
        parts = [f"{name}: {text_of(item, indent + 2)}" for name, item in value.items()]
        return _several("Tuple {", parts, "}", indent)
    if kind is Interval:
        opened, closed = "[" if value.low_closed else "(", "]" if value.high_closed else ")"
        return f"Interval{opened}{text_of(value.low)}, {text_of(value.high)}{closed}"
    clinical = _clinical(value)
    return clinical if clinical is not None else _fhir(value)


def quoted(text: str) -> str:
    """A CQL string literal."""
    for plain, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(plain, escaped)
    return f"'{text}'"


def _several(opened: str, parts: list[str], closed: str, indent: int) -> str:
    if not parts:
        return f"{opened} {closed}"
    line = f"{opened} {', '.join(parts)} {closed}"
    if len(line) + indent <= _LONGEST and "\n" not in line:
        return line
    pad = " " * (indent + 2)
    return f"{opened}\n{pad}" + f",\n{pad}".join(parts) + f"\n{' ' * indent}{closed}"


def _clinical(value: Any) -> str | None:
    if isinstance(value, Quantity):
        number = shown(value.value)
        return f"{number} {value.unit}" if value.calendar else f"{number} {quoted(value.unit)}"
    if isinstance(value, Ratio):
        return f"{text_of(value.numerator)}:{text_of(value.denominator)}"
    if isinstance(value, Code):
        fields = {"code": value.code, "system": value.system, "version": value.version, "display": value.display}
        parts = [f"{name}: {quoted(text)}" for name, text in fields.items() if text is not None]
        return f"Code {{ {', '.join(parts)} }}"
    if isinstance(value, Concept):
        display = f", display: {quoted(value.display)}" if value.display else ""
        return f"Concept {{ codes: {{ {', '.join(map(text_of, value.codes))} }}{display} }}"
    if isinstance(value, (ValueSet, CodeSystem)):
        return f"{value.__class__.__name__} {quoted(value.id or '')}"
    return None


def _fhir(value: Any) -> str:
    if value.__class__ is Element:
        if value.value.__class__ in (dict, list):
            return f"{value.type} {_json(value.value)}"
        return text_of(value.value)
    if value.__class__ is dict:
        if "resourceType" in value:
            return f"{value['resourceType']}/{value.get('id', '')}".rstrip("/")
        return _json(value)
    return str(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else text_of(value)


def as_json(value: Any) -> Any:
    """A value as JSON: System values plain, dates as text, tuples as objects, FHIR values as they are."""
    kind = value.__class__
    if value is None or kind in (bool, int, str):
        return value
    if kind is Long:
        return int(value)
    if kind is Decimal:
        return int(value) if value == value.to_integral_value() and abs(value) < 10**15 else float(value)
    if kind is list:
        return [as_json(item) for item in value]
    if kind is Element:
        return as_json(value.value)
    if isinstance(value, dict):
        return {name: as_json(item) for name, item in value.items()}
    if kind in (Date, DateTime, Time):
        return str(value).removesuffix("T")
    if kind is Quantity:
        return {"value": as_json(value.value), "unit": str(value.unit)}
    if kind is Interval:
        low, high = as_json(value.low), as_json(value.high)
        return {"low": low, "high": high, "lowClosed": value.low_closed, "highClosed": value.high_closed}
    if kind is Uncertainty:
        return {"between": [as_json(value.low), as_json(value.high)]}
    if kind is Code:
        fields = {"code": value.code, "system": value.system, "version": value.version, "display": value.display}
        return {name: text for name, text in fields.items() if text is not None}
    if kind is Concept:
        return {"codes": [as_json(code) for code in value.codes], "display": value.display}
    return text_of(value)
