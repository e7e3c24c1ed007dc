"""The names that emitted code may call, and the environment that it is handed.

Everything here is plain Python over the algebra; nothing knows where patients come from. Evaluation over a patient's data uses a
subclass of `Environment` that retrieves resources and records what it saw.
"""

from __future__ import annotations

import datetime as dt
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.limits import room_for_items
from fhir_eligibility.algebra.operators import collection, navigation
from fhir_eligibility.algebra.operators.lookup import shallow_key
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.clinical import ValueSet
from fhir_eligibility.algebra.values.element import (
    Element,
    ModelLike,
    system_type,
    to_decimal,
    to_system,
    type_of,
)
from fhir_eligibility.compiler.elm.fhirpath_types import argument_cost
from fhir_eligibility.compiler.runtime.membership import ValueSetMembership, coded

NONE = (None,)


class Environment:
    """What an evaluation depends on besides its input: the clock, variables, references, a sink for traces.

    `now` is an aware datetime; `resolver` maps a reference, and the object that holds it, to a resource or None.
    """

    __slots__ = ("_moment", "_timezone", "membership", "resolver", "traces", "variables")

    def __init__(
        self,
        now: dt.datetime | None = None,
        timezone: str = "UTC",
        variables: Mapping[str, Any] | None = None,
        resolver: Callable[[str, Any], dict[str, Any] | None] | None = None,
        traces: list[tuple[str, list[Any]]] | None = None,
        membership: ValueSetMembership | None = None,
    ) -> None:
        self.membership = membership
        self._moment = now
        self._timezone = timezone
        self.variables: Mapping[str, Any] = variables if variables is not None else {}
        self.resolver = resolver
        self.traces = traces

    @property
    def moment(self) -> dt.datetime:
        """The time of evaluation, the same throughout; the clock is read once, if at all."""
        if self._moment is None:
            self._moment = dt.datetime.now(ZoneInfo(self._timezone))
        return self._moment

    @property
    def now(self) -> DateTime:
        """now()"""
        return DateTime.parse(self.moment.isoformat(timespec="milliseconds"))

    @property
    def today(self) -> Date:
        """today()"""
        return Date(self.moment.year, self.moment.month, self.moment.day)

    @property
    def time_of_day(self) -> Time:
        """timeOfDay()"""
        moment = self.moment
        return Time(moment.hour, moment.minute, moment.second, moment.microsecond // 1000)

    def explained(self, site: int, value: Any) -> None:
        """Take the value of a part of the text, in explained code."""

    def trace(self, name: Any, values: list[Any]) -> None:
        """Record a labelled collection (FHIRPath: trace)."""
        if self.traces is not None:
            self.traces.append((str(name), list(values)))

    def resolve(self, value: Any) -> dict[str, Any] | None:
        """The resource that a Reference, canonical or text refers to, None where it is not to be had (FHIR: resolve)."""
        if value.__class__ is Element:
            value = value.value
        holder = value
        if value.__class__ is dict:
            value = value.get("reference")
            if value.__class__ is dict:  # CodeableReference
                holder, value = value, value.get("reference")
        if value.__class__ is not str or self.resolver is None:
            return None
        return self.resolver(value, holder)

    def member_of(self, value: Any, url: str | None) -> bool | None:
        """Membership in a value set (FHIR: memberOf). Raises EvaluationError `no-terminology`, `missing-valueset`."""
        if url is None:
            return None
        if self.membership is None:
            raise EvaluationError("no-terminology", f"memberOf({url!r}) needs the value set, and none was given")
        return self.membership.member_of(value, url)

    def subsumes(self, general: Any, special: Any) -> bool | None:
        """Whether a Coding or CodeableConcept is or subsumes another (FHIR: subsumes). Raises EvaluationError `no-terminology`."""
        if self.membership is None:
            raise EvaluationError("no-terminology", "subsumption needs the code system, and none was given")
        return self.membership.subsumes(coded(general), coded(special))

    def value_set(self, url: str | None) -> ValueSet | None:
        """The value set that memberOf names, where its answer is reported."""
        return None if url is None else ValueSet(url)


def box(value: Any, type_name: str) -> Any:
    """A value with its FHIR type; missing values and values that have one already stay as they are."""
    return value if value is None or value.__class__ is Element else Element(value, type_name)


def get_value(value: Any) -> Any:
    """The System value of a primitive, None for anything else (FHIR: getValue)."""
    converted = to_system(value)
    return None if converted.__class__ in (Element, dict) else converted


def has_single_value(values: list[Any]) -> bool:
    """Whether a collection is one primitive that has a value."""
    return len(values) == 1 and navigation.has_value(values[0])


def slice_count(count: int | None) -> int:
    """A count for skip() and take(): 0 or more."""
    return 0 if count is None or count < 0 else count


def children_all(model: ModelLike, values: list[Any]) -> list[Any]:
    """Children of every item."""
    return [child for value in values for child in navigation.children(model, value)]


def repeat(values: list[Any], step: Callable[[Any], list[Any]], seeds: bool) -> list[Any]:
    """Results of `step` on the values, on those results, and so on, without repeats (FHIRPath: repeat).

    With `seeds` the values are themselves first results.
    """
    return _repeat(values, step, seeds, True)


def repeat_all(values: list[Any], step: Callable[[Any], list[Any]], seeds: bool) -> list[Any]:
    """As `repeat`, keeping repeats (FHIRPath: repeatAll)."""
    return _repeat(values, step, seeds, False)


def _repeat(values: list[Any], step: Callable[[Any], list[Any]], seeds: bool, unique: bool) -> list[Any]:
    seen: dict[Any, list[Any]] = {}
    out: list[Any] = []

    def fresh(items: list[Any]) -> list[Any]:
        if not unique:
            return items
        kept = []
        for item in items:
            bucket = seen.setdefault(shallow_key(item), [])
            if not any(item is other or collection.same(item, other) for other in bucket):
                bucket.append(item)
                kept.append(item)
        return kept

    queue = list(values)
    if seeds:
        queue = fresh(queue)
        out.extend(queue)
    position = 0
    while position < len(queue):
        found = fresh(step(queue[position]))
        position += 1
        out.extend(found)
        queue.extend(found)
        room_for_items(len(out), "repeat()")
    return out


def texts(values: list[Any]) -> list[str]:
    """The items as strings. Raises EvaluationError `not-a-string`."""
    out = []
    for value in values:
        value = to_system(value)
        if value is None:
            continue
        if value.__class__ is not str:
            raise EvaluationError("not-a-string", f"join() takes strings, but there is {value!r}")
        out.append(value)
    return out


def dispatch(name: str, *operands: Any) -> Any:
    """Apply an operator whose operand types are known only now. Raises EvaluationError `no-overload`."""
    operator = OPERATORS[name]
    values = [to_system(operand) for operand in operands]
    if operator.propagates("fhirpath") and any(value is None for value in values):
        return None
    kinds = [system_type(value) if value is not None else None for value in values]
    best = None
    for overload in operator.of("fhirpath"):
        if len(overload.parameters) != len(values):
            continue
        cost = 0
        for kind, parameter, value in zip(kinds, overload.parameters, values, strict=True):
            if value is None:
                continue
            step = argument_cost(kind, parameter, overload) if kind is not None else None
            if step is None:
                break
            cost += step
        else:
            if best is None or cost < best[0]:
                best = (cost, overload)
    if best is None:
        given = ", ".join(".".join(type_of(operand)) if operand is not None else "empty" for operand in operands)
        takes = "; ".join(dict.fromkeys(f"({', '.join(o.parameters)})" for o in operator.of("fhirpath")))
        raise EvaluationError("no-overload", f"{name} cannot take ({given}); it takes {takes}")
    overload = best[1]
    converted = [
        _widen(value, kind, parameter)
        for value, kind, parameter in zip(values, kinds, overload.parameters, strict=True)
    ]
    return overload.function(*converted)


def convertible(name: str, *operands: Any) -> bool:
    """Whether a conversion has a value (FHIRPath: convertsToInteger ...): not where it does not take the type."""
    try:
        return dispatch(name, *operands) is not None
    except EvaluationError as error:
        if error.code == "no-overload":
            return False
        raise


def _widen(value: Any, kind: str | None, parameter: str) -> Any:
    if kind in ("Integer", "Long") and parameter == "Decimal":
        return to_decimal(value)
    if kind in ("Integer", "Long", "Decimal") and parameter == "Quantity":
        return OPERATORS["ToQuantity"].overload("Decimal").function(value)
    return value


_CORE = re.compile(r"http://hl7\.org/fhir/StructureDefinition/([A-Za-z]+)")


def conforms_to(model: ModelLike, value: Any, url: str | None) -> bool | None:
    """Whether a value conforms to a StructureDefinition (FHIR: conformsTo): the base definitions of FHIR only.

    Raises EvaluationError `unknown-profile` for any other, since the answer would be a guess.
    """
    if url is None:
        return None
    match = _CORE.fullmatch(url.partition("|")[0])
    if match is None or not model.has_type(match[1]):
        raise EvaluationError("unknown-profile", f"conformsTo() knows only the base definitions of FHIR, not {url!r}")
    return navigation.is_type(model, value, "FHIR", match[1])


_ALLOWED_TAGS = frozenset(
    "a abbr acronym b big blockquote br caption cite code col colgroup dd dfn div dl dt em h1 h2 h3 h4 h5 h6 hr i img li "
    "ol p pre q samp small span strong sub sup table tbody td tfoot th thead tr tt ul var".split()
)
_ALLOWED_ATTRIBUTES = frozenset(
    "title style class id lang dir accesskey tabindex span width align valign char charoff abbr axis headers scope rowspan "
    "colspan cellpadding cellspacing border summary frame rules name href src alt longdesc height cite type start value "
    "nowrap".split()
)
_XHTML = "{http://www.w3.org/1999/xhtml}"


def html_checks(value: Any) -> bool | None:
    """Whether narrative keeps to the elements and attributes that FHIR allows (FHIR: htmlChecks, invariants txt-1, txt-2)."""
    text = to_system(value)
    if text.__class__ is not str or (value.__class__ is Element and value.type not in ("xhtml", "string", "markdown")):
        return None
    if value.__class__ is not Element or value.type != "xhtml":
        text = f"<div>{text}</div>"  # a fragment, as in a string
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return False
    if root.tag not in (_XHTML + "div", "div"):
        return False
    content = False
    for element in root.iter():
        if not isinstance(element.tag, str) or element.tag.removeprefix(_XHTML) not in _ALLOWED_TAGS:
            return False
        for name, setting in element.attrib.items():
            if name.rpartition("}")[2] not in _ALLOWED_ATTRIBUTES or setting.strip().lower().startswith("javascript:"):
                return False
        content = content or bool((element.text or "").strip() or (element.tail or "").strip())
        content = content or element.tag.removeprefix(_XHTML) == "img"
    return content


def new_primitive(value: Any) -> Any:
    """The raw JSON value of a FHIR primitive made from a System value (FHIR: type factory)."""
    return str(value) if isinstance(value, (Date, DateTime, Time)) else value


def new_object(parts: list[tuple[str, list[Any], bool]]) -> dict[str, Any]:
    """A FHIR complex value made from its elements (FHIR: type factory)."""
    out: dict[str, Any] = {}
    for key, values, many in parts:
        raw = [value.value if value.__class__ is Element else value for value in values]
        if raw:
            out[key] = raw if many else collection.singleton(raw)
    return out
