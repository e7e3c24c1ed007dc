"""FHIR JSON values as CQL values, at run time: what FHIRHelpers does, choices, and elements that profiles take from elsewhere.

Functions take raw JSON or an `Element` (raw JSON with its FHIR type). Nothing here knows where resources come from.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra.values.clinical import Code, Concept, Ratio, ValueSet
from fhir_eligibility.algebra.values.code_systems import ALIASES, same_system
from fhir_eligibility.algebra.values.element import (
    SYSTEM_TYPE,
    UCUM,
    Element,
    malformed,
    remembered,
    to_boolean,
    to_date,
    to_decimal,
    to_integer,
    to_text,
    to_time,
    unit_of,
)
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.quantity import NO_UNIT, UCUM_OF_CALENDAR, Quantity

Request = Any
_CQL_UNITS = "http://hl7.org/fhirpath/CodeSystem/calendar-units"
_CALENDAR = {
    UCUM_OF_CALENDAR[word]: word for word in ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")
}
JsonNames = tuple[tuple[str, str], ...]
PLAIN = ""  # stands for the system of a `code`, which has none


def raw(value: Any) -> Any:
    """The JSON of a value."""
    return value.value if value.__class__ is Element else value


def to_code(value: Any) -> Code | None:
    """A Coding as a Code; a `code` or string keeps only its text."""
    value = raw(value)
    if value.__class__ is str:
        return Code(value)
    if value.__class__ is not dict:
        raise malformed(value, "a Coding")
    return _code(value)


def _code(coding: Any) -> Code:
    """A Coding as a Code. Raises EvaluationError `malformed-data` for one whose elements are not texts."""
    if coding.__class__ is not dict:
        raise malformed(coding, "a Coding")
    parts = coding.get("code"), coding.get("system"), coding.get("version"), coding.get("display")
    for part in parts:
        if part is not None and part.__class__ is not str:
            raise malformed(part, "a string")
    return Code(*parts)


def to_concept(value: Any) -> Concept | None:
    """A CodeableConcept as a Concept."""
    value = raw(value)
    if value.__class__ is not dict:
        raise malformed(value, "a CodeableConcept")
    return Concept(tuple([_code(coding) for coding in _codings(value)]), value.get("text"))


def _codings(concept: dict[str, Any]) -> Sequence[Any]:
    found = concept.get("coding")
    if found.__class__ is not list and found is not None:
        raise malformed(found, "an array of Codings")
    return found or ()


def to_quantity(value: Any) -> Quantity | None:
    """A FHIR Quantity; one whose unit is no UCUM code keeps its text, and compares with nothing but itself.

    None where it has no value, or where a comparator (`<`, `>=`, ...) makes the value a bound.
    """
    value = raw(value)
    if value.__class__ is not dict:
        raise malformed(value, "a Quantity")
    return None if "comparator" in value else quantity_without_comparator(value)


def quantity_without_comparator(value: Any) -> Quantity | None:
    """A FHIR Quantity whose comparator is left out of account (FHIRHelpers: ToQuantityIgnoringComparator)."""
    value = raw(value)
    number = value.get("value")
    if number.__class__ is not Decimal:
        number = to_decimal(number)
    if number is None:
        return None
    unit, calendar = _unit(value.get("code"), value.get("system"), value.get("unit"))
    return Quantity(number, unit, calendar)


@remembered
def _unit(code: Any, system: Any, text: Any) -> tuple[str, bool]:
    """The unit of a quantity as it is written, and whether that is a calendar word."""
    if system not in (None, UCUM, _CQL_UNITS):
        return text or code or NO_UNIT, False
    unit, _ = unit_of({"code": code, "system": system, "unit": text})
    if unit is None:
        return code or text or "1", False
    word = _CALENDAR.get(unit) or (unit if unit in UCUM_OF_CALENDAR else None)
    return (word, True) if word is not None else (unit, False)


def quantity_bounds(value: Any) -> Interval | None:
    """All that a FHIR Quantity with a comparator may be, as an interval (FHIRHelpers: ToInterval); null where it has no value."""
    value = raw(value)
    bound = quantity_without_comparator(value)
    if bound is None:
        return None
    comparator = value.get("comparator")
    low, high = (None if comparator in words else bound for words in (("<", "<="), (">", ">=")))
    return Interval(low, high, comparator != ">", comparator != "<", "Quantity")


def calendar_unit(unit: str) -> str:
    """The word of the calendar for a UCUM unit of time, other units as they are (FHIRHelpers: ToCalendarUnit)."""
    return _CALENDAR.get(unit, unit)


def reference_to(text: str) -> dict[str, Any]:
    """A FHIR Reference to a resource (FHIRHelpers: reference)."""
    return {"reference": text}


def to_period(request: Request, value: Any) -> Interval | None:
    """A Period as an interval: a start that is missing is unknown, an end that is missing has not come (FHIR: Period)."""
    value = raw(value)
    if value.__class__ is not dict:
        raise malformed(value, "a Period")
    start, end = value.get("start"), value.get("end")
    low = None if start is None else request.recorded(start)
    high = None if end is None else request.recorded(end)
    return Interval(low, high, low is not None, True, "DateTime")


def to_range(value: Any) -> Interval | None:
    """A Range as an interval of quantities; a bound that is missing is the last value there is."""
    value = raw(value)
    if value.__class__ is not dict:
        raise malformed(value, "a Range")
    low, high = (to_quantity(x) if (x := value.get(k)) is not None else None for k in ("low", "high"))
    return Interval(low, high, True, True, "Quantity")


def to_interval(request: Request, value: Any) -> Interval | None:
    """A Period or a Range as an interval."""
    kind = value.type if value.__class__ is Element else "Range" if "low" in value or "high" in value else "Period"
    return to_range(value) if kind == "Range" else to_period(request, value)


def to_ratio(value: Any) -> Ratio | None:
    """A FHIR Ratio as a Ratio."""
    value = raw(value)
    if value.__class__ is not dict:
        raise malformed(value, "a Ratio")
    top, bottom = (to_quantity(x) if (x := value.get(k)) is not None else None for k in ("numerator", "denominator"))
    return Ratio(top, bottom)


def to_value_set(value: Any) -> ValueSet | None:
    """The canonical url of a value set as a ValueSet."""
    text = to_text(value)
    if text is None:
        return None
    url, _, version = text.partition("|")
    return ValueSet(url, version or None)


_PRIMITIVES: dict[str, Callable[[Any], Any]] = {
    "String": to_text,
    "Integer": to_integer,
    "Long": to_integer,
    "Boolean": to_boolean,
    "Decimal": to_decimal,
    "Date": to_date,
    "Time": to_time,
    "Quantity": to_quantity,
}
_COMPLEX: dict[str, Callable[[Any], Any]] = {
    "CodeableConcept": to_concept,
    "Coding": to_code,
    "Range": to_range,
    "Ratio": to_ratio,
}


def to_value(request: Request, value: Any) -> Any:
    """An Element as the CQL value that its FHIR type stands for; one that stands for none as it is (FHIRHelpers: ToValue)."""
    if value.__class__ is not Element:
        return value
    kind = value.type
    system = SYSTEM_TYPE.get(kind)
    if system is not None:
        return request.recorded(value.value) if system == "DateTime" else _PRIMITIVES[system](value.value)
    convert = _COMPLEX.get(kind)
    if convert is not None:
        return convert(value)
    return to_period(request, value) if kind == "Period" else value


def choice_of(value: dict[str, Any], names: JsonNames) -> Element | None:
    """The value of a choice element with its type; `names` are its names in JSON with the FHIR type of each."""
    for key, kind in names:
        found = value.get(key)
        if found is not None:
            return Element(found, kind)
    return None


def alternative(value: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """The JSON of one alternative of a choice element, the last of `keys`; None where one before it is there (see `choice_of`)."""
    for key in keys:
        found = value.get(key)
        if found is not None:
            return found if key == keys[-1] else None
    return None


def has_coding(concept: dict[str, Any], wanted: Code) -> bool:
    """Whether a CodeableConcept has a code, whatever its version and display (CQL: Equivalent on Concept)."""
    found = False
    for coding in _codings(concept):
        if coding.__class__ is not dict:
            raise malformed(coding, "a Coding")
        code, system = coding.get("code"), coding.get("system")
        for text in (code, system):
            if text.__class__ is not str and text is not None:
                raise malformed(text, "a string")
        if code == wanted.code and same_system(system, wanted.system):
            found = True
    return found


# -- elements that a profile takes from an extension or a slice


def at_path(value: Any, steps: tuple[Any, ...]) -> list[Any]:
    """Elements at the end of a path; each step is a name with conditions on the elements found there."""
    found = [value]
    for name, conditions in steps:
        following: list[Any] = []
        for item in found:
            following.extend(child for child in _children(item, name) if not conditions or _holds(child, conditions))
        found = following
    return found


_NOT_DONE = (
    "http://hl7.org/fhir/us/qicore/StructureDefinition/qicore-notDoneValueSet",
    "http://hl7.org/fhir/StructureDefinition/cqf-notDoneValueSet",
)


def other_not_done(steps: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The path to a value set that was not done by the other of the two extensions that profiles have for it; None for another path."""
    for mine, other in (_NOT_DONE, _NOT_DONE[::-1]):
        if any(("url", mine) in conditions for _, conditions in steps):
            return tuple((name, tuple((k, other if v == mine else v) for k, v in found)) for name, found in steps)
    return None


def _children(item: Any, name: str) -> list[Any]:
    inner = raw(item)
    if inner.__class__ is not dict:
        return [item] if name == "value" else []  # `.value` of a primitive is the primitive
    direct = inner.get(name)
    if direct is not None:
        return direct if direct.__class__ is list else [direct]
    length = len(name)
    for key, child in inner.items():
        if key.startswith(name) and len(key) > length and key[length].isupper():
            kind = key[length:]
            simple = kind[0].lower() + kind[1:]
            return [Element(child, simple if simple in SYSTEM_TYPE else kind)]
    return []


def _holds(child: Any, conditions: tuple[tuple[str, str], ...]) -> bool:
    inner = raw(child)
    if inner.__class__ is not dict:
        return False
    below: dict[str, list[tuple[str, str]]] = {}
    for path, wanted in conditions:
        name, dot, rest = path.partition(".")
        if dot:
            below.setdefault(name, []).append((rest, wanted))
        elif inner.get(name) != wanted and not str(inner.get(name, "")).endswith(f"/{wanted}"):
            return False
    return all(any(_holds(item, tuple(own)) for item in listed(inner.get(name))) for name, own in below.items())


def listed(value: Any) -> list[Any]:
    """The elements of a JSON value that may repeat."""
    if value is None:
        return []
    return value if value.__class__ is list else [value]


def plainly_coded(resources: list[dict[str, Any]], key: str, codes: Collection[Any]) -> list[dict[str, Any]] | None:
    """Resources whose CodeableConcept has one of some codes.

    None unless each coding of all of them has a code, and a system by its usual address, as texts.
    """
    rows = []
    for resource in resources:
        concept = resource.get(key)
        if concept.__class__ is list and len(concept) == 1:
            concept = concept[0]
        if concept.__class__ is not dict or "concept" in concept:
            return None
        codings = concept.get("coding")
        if codings.__class__ is not list or not codings:
            return None
        found = False
        for coding in codings:
            if coding.__class__ is not dict:
                return None
            system, code = coding.get("system"), coding.get("code")
            if not system or system.__class__ is not str or code.__class__ is not str:
                return None
            if (system, code) in codes:
                found = True
            elif system in ALIASES:
                return None
        if found:
            rows.append(resource)
    return rows


_OF_CODING = frozenset(("code", "system", "display", "version", "userSelected"))
"""What tells a Coding from a CodeableConcept; one that is only called something may be any code."""


def codes_at(resource: dict[str, Any], keys: tuple[str, ...]) -> list[tuple[str | None, str | None]]:
    """Codes (system, code) that stand at a path of JSON names: of CodeableConcepts, Codings, and codes without a system."""
    items: list[Any] = [resource]
    for key in keys:
        following: list[Any] = []
        for item in items:
            child = item.get(key) if item.__class__ is dict else None
            if child is not None:
                following.extend(child if child.__class__ is list else [child])
        items = following
    found: list[tuple[str | None, str | None]] = []
    for item in items:
        if item.__class__ is not dict:
            found.append((PLAIN, item))
        else:
            concept = item.get("concept")
            item = concept if concept.__class__ is dict else item  # R5: CodeableReference
            codings = listed(item.get("coding"))
            if not codings and not item.keys().isdisjoint(_OF_CODING):
                codings = [item]
            found.extend((coding.get("system"), coding.get("code")) for coding in codings)
    return found
