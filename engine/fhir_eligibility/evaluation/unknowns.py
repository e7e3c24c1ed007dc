"""Why a comparison had no answer: a reason from the closed list, and a sentence that names the record and the element.

A record is named only where the emitted code handed it over, or where it is among the rows that the criterion kept; a sentence never names a record
whose value is there. Values that were computed are said to be computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.element import SYSTEM_TYPE, Element, to_decimal, to_system, unit_of
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Uncertainty
from fhir_eligibility.algebra.values.quantity import NoUnit, Quantity
from fhir_eligibility.compiler.analysis.origins import Origin

Resource = dict[str, Any]
Why = tuple[Reason, str]
_POINTS = (Date, DateTime, Time, Interval)
_FEW = 3


class NotInTerminology(Struct, frozen=True):
    """What terminology cannot answer: a sentence, and the reason from the closed list."""

    sentence: str
    reason: Reason = Reason.MISSING_VALUESET


class Unknown:
    """A comparison without an answer: the site, its operands, and the records that hold the elements they come from, in the order of the
    site's origins (None for one that is not there, or was not at hand)."""

    __slots__ = ("left", "owners", "right", "site")

    def __init__(self, site: int, left: Any, right: Any, owners: tuple[Any, ...] = ()) -> None:
        self.site = site
        self.left = left
        self.right = right
        self.owners = owners


class Compared(Protocol):
    """The compiled criterion, as far as it tells what its comparisons compare."""

    def comparison(self, site: int) -> tuple[tuple[Origin, ...], tuple[str, ...]]:
        """The origins of the operands, and their texts as the author wrote them."""
        ...

    def excerpt(self, site: int, span: Any) -> str:
        """The author's text of a part of a comparison."""
        ...


class Records(Struct, frozen=True):
    """The records of the patient, as far as sentences need them: all of a type, those that the criterion kept, and the resource that holds an element."""

    of_type: Callable[[str], Sequence[Resource]]
    kept: Callable[[Resource], bool]
    holder: Callable[[Any], Resource | None]

    def name(self, value: Any) -> str:
        """How a sentence names a record, or an element of one."""
        if is_resource(value):
            return f"{value['resourceType']}/{value.get('id', '(no id)')}"
        holder = self.holder(value)
        return "an element" if holder is None else f"an element of {self.name(holder)}"


def is_resource(value: Any) -> bool:
    """Whether a value is a whole resource."""
    return value.__class__ is dict and "resourceType" in value


def why_unknown(unknown: Unknown, code: Compared, records: Records) -> Why:
    """Why a comparison had no answer."""
    if unknown.right.__class__ is NotInTerminology:
        return unknown.right.reason, unknown.right.sentence
    origins, texts = code.comparison(unknown.site)
    for number, value in enumerate((unknown.left, unknown.right)):
        if value is None:
            return _missing(number, unknown, origins, texts, code, records)
    for number, (value, other) in enumerate(((unknown.left, unknown.right), (unknown.right, unknown.left))):
        if _is_no_quantity(value):
            name = _owner_name(number, unknown, origins, records)
            of = f" of {name}" if name is not None else ""
            shown = (
                f"a {other.type}"
                if _is_no_quantity(other)
                else _label(1 - number, unknown, origins, texts, records, _plain(other))
            )
            return Reason.NOT_COMPUTABLE, f"the {value.type}{of} cannot be compared with {shown}"
    left, right = _plain(unknown.left), _plain(unknown.right)
    names = [_label(number, unknown, origins, texts, records, value) for number, value in enumerate((left, right))]
    for number, value in enumerate((left, right)):
        open_ended = isinstance(value, Interval) and (value.low is None or value.high is None)
        found = _absent(number, unknown, origins, code, records) if open_ended else None
        found = found or _of_value(value, _owner_name(number, unknown, origins, records))
        if found is not None:
            return found
    uncertain = left.__class__ is Uncertainty or right.__class__ is Uncertainty
    if uncertain or isinstance(left, _POINTS) and isinstance(right, _POINTS):
        return Reason.IMPRECISE_DATE, f"{names[0]} and {names[1]} cannot be told apart at the precision recorded"
    if {left.__class__, right.__class__} & {dict, Quantity}:
        return Reason.UNIT_NOT_COMPARABLE, f"{names[0]} and {names[1]} have no common unit"
    return Reason.NOT_COMPUTABLE, f"{names[0]} and {names[1]} cannot be compared"


def _is_no_quantity(value: Any) -> bool:
    """Whether a value is an element of FHIR with parts that is no quantity, such as a Timing."""
    return value.__class__ is Element and value.value.__class__ is dict and SYSTEM_TYPE.get(value.type) != "Quantity"


def lacking(row: Any, elements: Sequence[str], records: Records) -> Why | None:
    """The elements that a row lacks of those that a condition on it reads; None where it has all of them."""
    row = _raw(row)
    missing = [path for path in elements if row.__class__ is dict and not found_in(row, path)]
    if not missing:
        return None
    shown = " and ".join(f"`{path}`" for path in missing[:_FEW])
    return Reason.MISSING_VALUE, f"{records.name(row)} has no {shown}"


def found_in(owner: Any, path: str) -> list[Any]:
    """The values at a path of elements (`performed`, `code.coding`) in FHIR JSON; an element with a choice of types by any of its names."""
    values = [owner]
    for part in path.split("."):
        found: list[Any] = []
        for value in values:
            if value.__class__ is not dict:
                continue
            for key, below in value.items():
                if key == part or (key.startswith(part) and key[len(part) : len(part) + 1].isupper()):
                    found.extend(below if below.__class__ is list else (below,))
        values = [value for value in found if value is not None]
    return values


def _missing(
    number: int,
    unknown: Unknown,
    origins: tuple[Origin, ...],
    texts: tuple[str, ...],
    code: Compared,
    records: Records,
) -> Why:
    """Why an operand has no value."""
    found = _absent(number, unknown, origins, code, records)
    if found is not None:
        return found
    text = texts[number] if number < len(texts) else ""
    return Reason.MISSING_VALUE, f"`{text}` has no value" if text else "a value that is compared is not recorded"


def _absent(number: int, unknown: Unknown, origins: tuple[Origin, ...], code: Compared, records: Records) -> Why | None:
    """The first element that an operand comes from and that is not there."""
    owners = (*unknown.owners, *(None for _ in origins))
    for origin, owner in zip(origins, owners, strict=False):
        if origin.operand == number:
            text = code.excerpt(unknown.site, origin.span)
            found = _at_hand(origin, owner, text, records) if origin.at_hand else _of_type(origin, text, records)
            if found is not None:
                return found
    return None


def _at_hand(origin: Origin, owner: Any, text: str, records: Records) -> Why | None:
    owner = _raw(owner)
    if owner is None:
        if origin.type is None:
            return Reason.MISSING_VALUE, f"`{text}` has no value"
        return Reason.NO_DATA, f"there is no {origin.type} for `{text}`"
    if owner.__class__ is not dict or not origin.path:
        return None
    values = found_in(owner, origin.path)
    if not values:
        return Reason.MISSING_VALUE, f"{records.name(owner)} has no `{origin.path}`"
    if origin.computed:
        return None
    bound = next((value for value in values if value.__class__ is dict and value.get("comparator")), None)
    if bound is not None:
        shown = f"{bound['comparator']} {_shown(bound)}"
        return Reason.NOT_COMPUTABLE, f"`{origin.path}` of {records.name(owner)} is only a bound: {shown}"
    return Reason.MISSING_VALUE, f"`{origin.path}` of {records.name(owner)} has no value that can be compared"


def _of_type(origin: Origin, text: str, records: Records) -> Why | None:
    if origin.type is None or "." in origin.type or not origin.path:
        return None
    kept = [row for row in records.of_type(origin.type) if records.kept(row)]
    without = [row for row in kept if not found_in(row, origin.path)]
    if without:
        shown = ", ".join(records.name(row) for row in without[:_FEW])
        return Reason.MISSING_VALUE, f"{shown} has no `{origin.path}`"
    if not kept:
        return Reason.NO_DATA, f"there is no {origin.type} for `{text}`"
    return None


def _of_value(value: Any, name: str | None) -> Why | None:
    """What of a value itself keeps it from being compared."""
    of = f" of {name}" if name is not None else ""
    if isinstance(value, Interval) and (value.low is None or value.high is None):
        missing = "start" if value.low is None else "end"
        return Reason.MISSING_VALUE, f"the period{of} has no {missing} ({_shown(value)})"
    if isinstance(value, Quantity) and value.unit.__class__ is NoUnit:
        return Reason.MISSING_UNIT, f"the quantity {limits.shown(value.value)}{of} has no unit"
    if value.__class__ is not dict:
        return None
    if value.get("comparator"):
        return Reason.NOT_COMPUTABLE, f"the value{of} is only a bound: {value['comparator']} {value.get('value')}"
    if to_decimal(value.get("value")) is None:
        return Reason.MISSING_VALUE, f"the quantity{of} has no value"
    unit, remark = unit_of(value)
    if unit is None:
        return Reason.UNIT_NOT_COMPARABLE, (remark or "the unit is not computable") + (f" ({name})" if name else "")
    if unit.__class__ is NoUnit:
        return Reason.MISSING_UNIT, f"the quantity {value.get('value')}{of} has no unit"
    return None


def _owner_name(number: int, unknown: Unknown, origins: tuple[Origin, ...], records: Records) -> str | None:
    """The record that an operand is an element of; None where it is computed from several, or the record is not at hand."""
    owners = [_raw(owner) for origin, owner in zip(origins, unknown.owners, strict=False) if origin.operand == number]
    return records.name(owners[0]) if len(owners) == 1 and owners[0].__class__ is dict else None


def _label(
    number: int,
    unknown: Unknown,
    origins: tuple[Origin, ...],
    texts: tuple[str, ...],
    records: Records,
    value: Any,
) -> str:
    """How a sentence shows an operand: the element and its record, or the value with the text that it was computed by."""
    mine = [origin for origin in origins if origin.operand == number]
    if not mine:
        return _shown(value)
    name = _owner_name(number, unknown, origins, records)
    text = texts[number] if number < len(texts) else ""
    if any(origin.computed for origin in mine):
        source = f", from {name}" if name is not None else ""
        return f"{_shown(value)} (computed: `{text}`{source})"
    if name is not None and mine[0].path:
        return f"`{mine[0].path}` of {name} ({_shown(value)})"
    return f"{_shown(value)} (`{text}`)" if text else _shown(value)


def _raw(value: Any) -> Any:
    """The JSON of a value that the emitted code keeps with its type."""
    return value.value if value.__class__ is Element else value


def _plain(value: Any) -> Any:
    """A quantity as written, anything else as System value."""
    if value.__class__ is Element and value.value.__class__ is dict:
        return value.value
    return to_system(value)


def _shown(value: Any) -> str:
    if value.__class__ is dict:
        return f"{value.get('value')} {value.get('code') or value.get('unit') or ''}".strip()
    return str(value).removesuffix("T")
