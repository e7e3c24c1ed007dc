"""Values with a name for their type: what navigation hands around where the static type is not enough.

Emitted code works on raw JSON values wherever the type of an expression is known at compile time. An `Element` wraps a raw value
where it is not (choice elements, `children()`, mixed collections), and where a primitive carries an id or extensions beside
its value. Resources need no wrapper: `resourceType` names their type. System values are their own type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.temporal.recorded import read
from fhir_eligibility.algebra.ucum import UnitError, alias, parse_unit
from fhir_eligibility.algebra.values.quantity import CALENDAR_WORDS, NO_UNIT, UCUM_OF_CALENDAR, Quantity

R = TypeVar("R")


class ElementLike(Protocol):
    """What navigation asks of the definition of an element."""

    @property
    def name(self) -> str: ...
    @property
    def types(self) -> tuple[str, ...]: ...
    @property
    def many(self) -> bool: ...
    @property
    def choice(self) -> bool: ...
    @property
    def json_names(self) -> tuple[tuple[str, str], ...]: ...


class ModelLike(Protocol):
    """What dynamic navigation asks of a model: the elements of a type, and how types descend from each other."""

    @property
    def version(self) -> str: ...
    def element(self, type_name: str, element_name: str) -> ElementLike | None: ...
    def elements(self, type_name: str) -> Any: ...
    def kind(self, name: str) -> str: ...
    def base(self, name: str) -> str | None: ...
    def has_type(self, name: str) -> bool: ...
    def is_subtype(self, name: str, ancestor: str) -> bool: ...


class Element:
    """A raw JSON value with the name of its FHIR type; `sibling` is the `_name` object of a primitive (id, extension)."""

    __slots__ = ("value", "type", "sibling")

    def __init__(self, value: Any, type_name: str, sibling: dict[str, Any] | None = None) -> None:
        self.value = value
        self.type = type_name
        self.sibling = sibling

    def __repr__(self) -> str:
        return f"Element({self.value!r}, {self.type!r})"


STRING_TYPES = frozenset("string uri code oid id uuid markdown base64Binary url canonical xhtml".split())
INTEGER_TYPES = frozenset("integer unsignedInt positiveInt".split())
# FHIR type -> System type that operators see (FHIR: "Using FHIRPath", implicit conversions).
SYSTEM_TYPE: dict[str, str] = {
    **dict.fromkeys(STRING_TYPES, "String"),
    **dict.fromkeys(INTEGER_TYPES, "Integer"),
    "integer64": "Long",
    "boolean": "Boolean",
    "decimal": "Decimal",
    "date": "Date",
    "dateTime": "DateTime",
    "instant": "DateTime",
    "time": "Time",
    "Quantity": "Quantity",
    "Age": "Quantity",
    "Count": "Quantity",
    "Distance": "Quantity",
    "Duration": "Quantity",
    "SimpleQuantity": "Quantity",
}


def malformed(value: Any, what: str) -> EvaluationError:
    """The error for data that does not have the shape its type demands."""
    shown = repr(value)
    return EvaluationError("malformed-data", f"{what} expected, but the data has {shown[:60]}", value=value)


def to_text(value: Any) -> str | None:
    """System.String of a raw string-like primitive."""
    if value.__class__ is str or value is None:
        return value
    if value.__class__ is Element:
        return to_text(value.value)
    raise malformed(value, "a string")


def to_boolean(value: Any) -> bool | None:
    """System.Boolean of a raw boolean primitive."""
    if value is True or value is False or value is None:
        return value
    if value.__class__ is Element:
        return to_boolean(value.value)
    raise malformed(value, "true or false")


def to_integer(value: Any) -> int | None:
    """System.Integer (or Long: FHIR writes integer64 as a JSON string) of a raw integer primitive."""
    if value.__class__ is int or value is None:
        return value
    if value.__class__ is Element:
        return to_integer(value.value)
    if value.__class__ is str and value.lstrip("-").isdigit():
        return int(value)
    if value.__class__ is Decimal and value.adjusted() < 30 and value == value.to_integral_value():
        return int(value)
    raise malformed(value, "an integer")


def to_decimal(value: Any) -> Decimal | None:
    """System.Decimal of a raw decimal primitive; written digits are kept."""
    kind = value.__class__
    if kind is Decimal or value is None:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return Decimal(value)
    if kind is float:
        return Decimal(repr(value))
    if kind is Element:
        return to_decimal(value.value)
    raise malformed(value, "a decimal number")


def _parse(parse: Callable[[str], Any], what: str) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if value.__class__ is str:
            try:
                return parse(value)
            except ValueError as error:
                message = f"{value!r} is not a valid {what}: {error}"
                raise EvaluationError("invalid-date", message, value=value) from None
        if value is None:
            return None
        if value.__class__ is Element:
            return convert(value.value)
        if isinstance(value, (Date, DateTime, Time)):
            return value
        raise malformed(value, f"a {what}")

    convert.__doc__ = f"System value of a raw FHIR {what}."
    return convert


to_date = _parse(Date.parse, "date")
to_datetime = _parse(read, "dateTime")
to_time = _parse(Time.parse, "time")

# FHIR: "Use of FHIR Quantity": these UCUM codes become calendar units when a FHIR Quantity is converted.
_CALENDAR_OF_CODE = {UCUM_OF_CALENDAR[word]: word for word in ("year", "month", "day", "hour", "minute", "second")}
UCUM = "http://unitsofmeasure.org"


def remembered(function: Callable[[Any, Any, Any], R]) -> Callable[[Any, Any, Any], R]:
    """A function of three values from data that remembers its answers: the units of many records are few."""
    known: Any = lru_cache(maxsize=4096, typed=True)(function)

    def answer(a: Any, b: Any, c: Any) -> R:
        try:
            return known(a, b, c)  # type: ignore[no-any-return]
        except TypeError:  # objects and arrays where there should be texts are no keys
            return function(a, b, c)

    return answer


def unit_of(quantity: dict[str, Any]) -> tuple[str | None, str | None]:
    """Unit code of a FHIR Quantity, and a remark where it was not written as UCUM code.

    The unit is `code` where the system is UCUM (or absent); otherwise the `unit` text where that is valid UCUM or a known
    alias. `(None, remark)`: there is a unit, but not a computable one. `(NO_UNIT, None)`: there is no unit at all.
    """
    return _unit(quantity.get("code"), quantity.get("system"), quantity.get("unit"))


@remembered
def _unit(code: Any, system: Any, text: Any) -> tuple[str | None, str | None]:
    if code and (system is None or system == UCUM):
        candidate, remark = code, None
    elif text:
        candidate, remark = text, f"unit read from the text {text!r}: the quantity has no UCUM code"
    elif code:
        return None, f"the unit {code!r} is of system {system}, not UCUM"
    else:
        return NO_UNIT, None
    try:
        parse_unit(candidate)
        return candidate, remark
    except UnitError:
        word = CALENDAR_WORDS.get(candidate)
        meant = UCUM_OF_CALENDAR[word] if word is not None else alias(candidate)
        if meant is not None:
            return meant, f"{candidate!r} is not UCUM; read as {meant!r}"
        return None, f"{candidate!r} is not a UCUM unit"


def to_quantity(value: Any) -> Quantity | None:
    """System.Quantity of a FHIR Quantity object (or a subtype of it).

    None where there is no value, where a comparator makes the value a bound, or where the unit is not computable.
    """
    if value is None or value.__class__ is Quantity:
        return value
    if value.__class__ is Element:
        return to_quantity(value.value)
    if value.__class__ is not dict:
        raise malformed(value, "a Quantity")
    number = value.get("value")
    if number.__class__ is not Decimal:
        number = to_decimal(number)
    if number is None or "comparator" in value:
        return None
    unit, calendar = _computable(value.get("code"), value.get("system"), value.get("unit"))
    return None if unit is None else Quantity(number, unit, calendar)


@remembered
def _computable(code: Any, system: Any, text: Any) -> tuple[str | None, bool]:
    """The unit of a quantity as it is written, and whether that is a calendar word; None where it is not computable."""
    unit, _ = _unit(code, system, text)
    word = None if unit is None else _CALENDAR_OF_CODE.get(unit)
    return (unit, False) if word is None else (word, True)


CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "String": to_text,
    "Boolean": to_boolean,
    "Integer": to_integer,
    "Long": to_integer,
    "Decimal": to_decimal,
    "Date": to_date,
    "DateTime": to_datetime,
    "Time": to_time,
    "Quantity": to_quantity,
}
_CONVERSION_OF_FHIR = {name: CONVERSIONS[system] for name, system in SYSTEM_TYPE.items()}


def to_system(value: Any) -> Any:
    """The System value of a dynamically typed value; complex values come back as they are."""
    if value.__class__ is Element:
        convert = _CONVERSION_OF_FHIR.get(value.type)
        if convert is not None:
            return convert(value.value)
    return value


def system_type(value: Any) -> str | None:
    """Name of the System type of a value (`Integer`, ...), or None for FHIR values."""
    kind = value.__class__
    if kind is bool:
        return "Boolean"
    if kind is str:
        return "String"
    if kind is int:
        return "Integer" if -2147483648 <= value <= 2147483647 else "Long"
    if kind is Decimal:
        return "Decimal"
    if kind in (Date, DateTime, Time, Quantity):
        return str(kind.__name__)
    return None


def type_of(value: Any) -> tuple[str, str]:
    """Namespace and name of the type of a dynamically typed value."""
    if value.__class__ is Element:
        return "FHIR", value.type
    if value.__class__ is dict:
        name = value.get("resourceType")
        if name is not None:
            return "FHIR", str(name)
        return "System", "TypeInfo" if "namespace" in value else "Any"
    return "System", system_type(value) or "Any"


def box_all(values: Iterable[Any], type_name: str) -> list[Any]:
    """Wrap raw values of one FHIR type, so that they can stand in a mixed collection."""
    return [value if value.__class__ is Element else Element(value, type_name) for value in values]


def unbox(value: Any) -> Any:
    """The raw value of a complex Element; a primitive with a sibling stays wrapped, so that nothing is lost."""
    if value.__class__ is Element and value.sibling is None:
        return value.value
    return value
