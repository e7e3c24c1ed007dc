"""What emitted CQL calls, and the request and patient that it is handed. Plain Python over the algebra; nothing here knows where patients come from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cmp_to_key
from typing import Any
from zoneinfo import ZoneInfo

from engine.algebra import points as p
from engine.algebra.clinical import Code, CodeSystem, Concept, Ratio, Tuple, ValueSet
from engine.algebra.diagnostic import EvaluationError
from engine.algebra.element import (
    Element,
    to_boolean,
    to_date,
    to_datetime,
    to_decimal,
    to_integer,
    to_quantity,
    to_text,
    to_time,
    unbox,
)
from engine.algebra.interval import Interval
from engine.algebra.operators.datetimes import make_date, make_datetime, make_time
from engine.algebra.operators.equality import sign
from engine.algebra.operators.lists import distinct
from engine.algebra.points import Long
from engine.algebra.quantity import Quantity
from engine.algebra.temporal import Date, DateTime, Time
from engine.artifacts.models import Model
from engine.compiler.cql.types import ChoiceType, IntervalType, ListType, Named, TupleType, Type
from engine.compiler.runtime import box

MISSING: Any = object()


class Failed:
    """An error kept in place of the value of a definition."""

    __slots__ = ("error", "traceback")

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.traceback = error.__traceback__


class Run:
    """What all patients of a run share: the request's clock and offset, parameters, definitions without a patient."""

    def __init__(
        self,
        now: dt.datetime | None = None,
        timezone: str = "UTC",
        parameters: Mapping[tuple[str, str], Any] | None = None,
        messages: Callable[[str, str, str, Any], None] | None = None,
    ) -> None:
        moment = now if now is not None else dt.datetime.now(ZoneInfo(timezone))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(timezone))
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        self.moment = moment
        self.now = DateTime.parse(moment.isoformat(timespec="milliseconds"))
        self.today = Date(moment.year, moment.month, moment.day)
        self.time_of_day = Time(moment.hour, moment.minute, moment.second, moment.microsecond // 1000)
        offset = moment.utcoffset()
        assert offset is not None
        self.offset_minutes = int(offset.total_seconds() // 60)
        self.parameters: Mapping[tuple[str, str], Any] = parameters or {}
        self.messages = messages
        self.memo: dict[Any, Any] = {}
        self.run = self

    def at(self, value: DateTime | None) -> DateTime | None:
        """A DateTime with the offset of the request where none is written (CQL: "Time Zones")."""
        return value if value is None or value.offset_minutes is not None else value.at_offset(self.offset_minutes)

    def parameter(self, library: str, name: str) -> Any:
        """The value given for a parameter, MISSING where there is none."""
        found = self.parameters.get((library, name), MISSING)
        return self.parameters.get(("", name), MISSING) if found is MISSING else found

    def message(self, source: Any, condition: Any, code: Any, severity: Any, text: Any) -> Any:
        """Message: passes its source on; raises EvaluationError `message` for the severity Error (CQL: Message)."""
        if condition is not True:
            return source
        level = severity or "Message"
        if level == "Error":
            raise EvaluationError("message", f"{code or 'Error'}: {text}")
        if self.messages is not None:
            self.messages(level, code, text, source)
        return source

    # -- data and terminology: what is not given cannot be told

    subject: Any = None

    def retrieve(self, resource_type: str) -> list[Any]:
        """The resources of a type. Raises EvaluationError `no-data`, since there is no patient here."""
        raise EvaluationError("no-data", f"[{resource_type}] asks for a patient's data, and there is none")

    def in_value_set(self, code: Any, value_set: ValueSet) -> bool | None:
        raise EvaluationError("no-terminology", f"the value set {value_set.name or value_set.id!r} was not given")

    def in_code_system(self, code: Any, code_system: CodeSystem) -> bool | None:
        """Whether a code is of a code system: by its url, for what codes it has is not known."""
        raise EvaluationError("no-terminology", f"the code system {code_system.name or code_system.id!r} was not given")

    def expand_value_set(self, value_set: ValueSet) -> list[Code]:
        raise EvaluationError("no-terminology", f"the value set {value_set.name or value_set.id!r} was not given")


class Patient(Run):
    """One patient of a run: definitions are evaluated once each. `resources` are those of the patient, as decoded JSON."""

    def __init__(self, run: Run, subject: Any = None, resources: Iterable[dict[str, Any]] = ()) -> None:
        self.run = run
        self.now, self.today, self.time_of_day = run.now, run.today, run.time_of_day
        self.offset_minutes = run.offset_minutes
        self.moment = run.moment
        self.parameters = run.parameters
        self.messages = run.messages
        self.memo = {}
        self.subject = subject
        self._by_type: dict[str, list[Any]] = {}
        for resource in resources:
            self._by_type.setdefault(str(resource.get("resourceType")), []).append(resource)

    def retrieve(self, resource_type: str) -> list[Any]:
        """The patient's resources of a type."""
        return self._by_type.get(resource_type, [])


def once(environment: Any, define: Callable[[Any], Any]) -> Any:
    """The value of a definition, computed at its first use; an error is kept like a value."""
    memo = environment.memo
    found = memo.get(define, MISSING)
    if found is MISSING:
        try:
            found = define(environment)
        except Exception as error:
            memo[define] = Failed(error)
            raise
        memo[define] = found
    elif found.__class__ is Failed:
        raise found.error.with_traceback(found.traceback)
    return found


# -- types at run time

_CLASSES: dict[str, tuple[type, ...]] = {
    "Boolean": (bool,), "Integer": (int, p.Uncertainty), "Long": (Long,), "Decimal": (Decimal,), "String": (str,),
    "Date": (Date,), "DateTime": (DateTime,), "Time": (Time,), "Quantity": (Quantity,), "Ratio": (Ratio,),
    "Code": (Code,), "Concept": (Concept,), "ValueSet": (ValueSet,), "CodeSystem": (CodeSystem,),
    "Vocabulary": (ValueSet, CodeSystem),
}  # fmt: skip


class TypeTest:
    """Whether a value is of a type; null is of none (CQL: Is)."""

    def __init__(self, kind: Type, model: Model | None = None) -> None:
        self.kind = kind
        self.model = model

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeTest) and self.kind == other.kind and self.model is other.model

    def __hash__(self) -> int:
        return hash(self.kind)

    def __str__(self) -> str:
        return str(self.kind)

    def __call__(self, value: Any) -> bool:
        return value is not None and self._is(value, self.kind)

    def _is(self, value: Any, kind: Type) -> bool:
        if isinstance(kind, Named):
            return self._is_named(value, kind.name)
        if isinstance(kind, ListType):
            return value.__class__ is list and all(x is None or self._is(x, kind.element) for x in value)
        if isinstance(kind, IntervalType):
            if value.__class__ is not Interval:
                return False
            point = kind.point.name.removeprefix("System.") if isinstance(kind.point, Named) else ""
            return bool(value.point in (point, "Any"))
        if isinstance(kind, TupleType):
            return value.__class__ is Tuple and {name for name, _ in kind.elements} == set(value)
        return isinstance(kind, ChoiceType) and any(self._is(value, option) for option in kind.options)

    def _is_named(self, value: Any, name: str) -> bool:
        namespace, _, short = name.partition(".")
        if namespace == "System":
            return short == "Any" or value.__class__ in _CLASSES[short]
        if value.__class__ is Element:
            found = value.type
        elif value.__class__ is dict:
            found = value.get("resourceType", "")
        else:
            return False
        return found == short or (self.model is not None and self.model.is_subtype(found, short))


def as_type(value: Any, test: TypeTest) -> Any:
    """`value as T`: null where it is not of the type."""
    return value if test(value) else None


def cast_to(value: Any, test: TypeTest) -> Any:
    """`cast value as T`. Raises EvaluationError `cast` where it is not of the type."""
    if value is None or test(value):
        return value
    raise EvaluationError("cast", f"cast as {test}: the value is of another type: {value!r}")


def with_point(value: Interval, point: str) -> Interval:
    """The same interval under another point type: that of its boundaries where they are null."""
    if value.point == point:
        return value
    return Interval(value.low, value.high, value.low_closed, value.high_closed, point)


def convert_interval(value: Interval, bound: Callable[[Any], Any], point: str) -> Interval:
    """An interval with both boundaries converted."""
    low = None if value.low is None else bound(value.low)
    high = None if value.high is None else bound(value.high)
    return Interval(low, high, value.low_closed, value.high_closed, point)


def coalesce(values: list[Any] | None) -> Any:
    """The first element that is not null (CQL: Coalesce)."""
    return next((value for value in values or () if value is not None), None)


def element_of(value: Any, name: str) -> Any:
    """An element of a value whose type is known only now."""
    if value.__class__ is Tuple:
        return value.get(name)
    if value.__class__ is Element:
        value = value.value
    if value.__class__ is dict:
        return value.get(name)
    return None if value is None else getattr(value, name, None)


def choice_of(value: dict[str, Any], names: tuple[tuple[str, str], ...]) -> Any:
    """The value of a choice element, with its type."""
    for key, kind in names:
        found = value.get(key)
        if found is not None:
            return Element(found, kind)
    return None


_SYSTEM_CLASSES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "System.Quantity": lambda x: (
        Quantity(x["value"], x.get("unit") or "1", False) if x.get("value") is not None else None
    ),
    "System.Code": lambda x: Code(x.get("code"), x.get("system"), x.get("version"), x.get("display")),
    "System.Concept": lambda x: Concept(tuple(x.get("codes") or ()), x.get("display")),
    "System.Ratio": lambda x: Ratio(x.get("numerator"), x.get("denominator")),
    "System.ValueSet": lambda x: ValueSet(
        x.get("id"), x.get("version"), x.get("name"), tuple(x.get("codesystems") or ())
    ),
    "System.CodeSystem": lambda x: CodeSystem(x.get("id"), x.get("version"), x.get("name")),
}


def new_instance(name: str, elements: dict[str, Any]) -> Any:
    """An instance of a class type from its elements (CQL: "Structured Values"). Raises EvaluationError `unsupported`."""
    build = _SYSTEM_CLASSES.get(name)
    if build is None:
        raise EvaluationError("unsupported", f"instances of {name} cannot be made")
    return build(elements)


def descendents(value: Any, deep: bool) -> list[Any]:
    """What a value holds, and with `deep` what that holds in turn (CQL: Descendents)."""
    if value is None:
        return []
    found: list[Any] = []
    stack = _parts(value)
    while stack:
        part = stack.pop(0)
        found.append(part)
        if deep:
            stack[:0] = _parts(part)
    return found


def _parts(value: Any) -> list[Any]:
    if value.__class__ is Element:
        value = value.value
    if isinstance(value, dict):
        parts: list[Any] = list(value.values())
    elif value.__class__ is list:
        parts = value
    else:
        parts = [getattr(value, name, None) for name in getattr(value, "__slots__", ()) if not name.startswith("_")]
    flat: list[Any] = []
    for part in parts:
        flat.extend(part if part.__class__ in (list, tuple) else [part])
    return [part for part in flat if part is not None]


def sort_rows(rows: list[Any], keys: Iterable[tuple[Callable[[Any], Any] | None, bool]]) -> list[Any]:
    """Rows in the order of several keys, the first the most important; nulls come first, last where descending."""
    for key, descending in reversed(tuple(keys)):
        values = rows if key is None else [key(row) for row in rows]
        order = cmp_to_key(sign)
        ranks = [order(value) for value in values]
        indexes = sorted(range(len(rows)), key=ranks.__getitem__, reverse=descending)
        rows = [rows[index] for index in indexes]
    return rows


# -- FHIR values as System values (what FHIRHelpers does)


def to_code(value: Any) -> Code | None:
    """A Coding as a Code; a `code` or string keeps only its text."""
    if value.__class__ is Element:
        value = value.value
    if value.__class__ is str:
        return Code(value)
    return Code(value.get("code"), value.get("system"), value.get("version"), value.get("display"))


def to_concept(value: Any) -> Concept | None:
    """A CodeableConcept as a Concept."""
    if value.__class__ is Element:
        value = value.value
    return Concept(tuple(to_code(coding) for coding in value.get("coding") or ()), value.get("text"))


def to_period(environment: Run, value: Any) -> Interval | None:
    """A Period as an interval: a start that is missing is the beginning of time, an end that is missing is unknown."""
    if value.__class__ is Element:
        value = value.value
    low, high = (environment.at(to_datetime(x)) if (x := value.get(k)) is not None else None for k in ("start", "end"))
    return Interval(low, high, True, high is not None, "DateTime")


def to_range(value: Any) -> Interval | None:
    """A Range as an interval of quantities; a bound that is missing is the last value there is."""
    if value.__class__ is Element:
        value = value.value
    low, high = (to_quantity(x) if (x := value.get(k)) is not None else None for k in ("low", "high"))
    return Interval(low, high, True, True, "Quantity")


def to_ratio(value: Any) -> Ratio | None:
    """A FHIR Ratio as a Ratio."""
    if value.__class__ is Element:
        value = value.value
    top, bottom = (to_quantity(x) if (x := value.get(k)) is not None else None for k in ("numerator", "denominator"))
    return Ratio(top, bottom)


NAMES: dict[str, Any] = {
    "Interval": Interval,
    "Long": Long,
    "MISSING": MISSING,
    "Tuple": Tuple,
    **{
        function.__name__: function
        for function in (
            as_type, box, cast_to, choice_of, coalesce, convert_interval, descendents, distinct, element_of, make_date,
            make_datetime, make_time, new_instance, once, sort_rows, to_code, to_concept, to_period, to_range, to_ratio, unbox,
            with_point,
        )
    },
    "to_text": to_text, "to_boolean": to_boolean, "to_integer": to_integer, "to_decimal": to_decimal, "to_date": to_date,
    "to_datetime": to_datetime, "to_time": to_time, "to_quantity": to_quantity,
}  # fmt: skip
