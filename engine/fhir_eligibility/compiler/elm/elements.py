"""The elements of values of System types (CQL: "Types", Appendix B): the closed list of what a value whose type is known only at run time can be asked.

An author's or a record's name is looked up in these tables and is never the name of a Python attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fhir_eligibility.algebra.values.clinical import Code, CodeSystem, Concept, Ratio, Tuple, ValueSet
from fhir_eligibility.algebra.values.element import Element
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.quantity import Quantity

Read = Callable[[Any], Any]

_VOCABULARY: Mapping[str, Read] = {"id": lambda x: x.id, "version": lambda x: x.version, "name": lambda x: x.name}
ELEMENTS: Mapping[type, Mapping[str, Read]] = {
    Quantity: {"value": lambda x: x.value, "unit": lambda x: str(x.unit)},
    Ratio: {"numerator": lambda x: x.numerator, "denominator": lambda x: x.denominator},
    Code: {
        "code": lambda x: x.code,
        "system": lambda x: x.system,
        "version": lambda x: x.version,
        "display": lambda x: x.display,
    },
    Concept: {"codes": lambda x: list(x.codes), "display": lambda x: x.display},
    ValueSet: {**_VOCABULARY, "codesystems": lambda x: list(x.codesystems)},
    CodeSystem: _VOCABULARY,
    Interval: {
        "low": lambda x: x.low,
        "lowClosed": lambda x: x.low_closed,
        "high": lambda x: x.high,
        "highClosed": lambda x: x.high_closed,
    },
}
# What a value holds of others: the elements that `Descendents` gives, without the flags of an interval.
_FLAGS = frozenset(("lowClosed", "highClosed"))


def element_of(value: Any, name: str) -> Any:
    """An element of a value whose type is known only now.

    Null where its type has none of that name: an element of a choice is null where the value is of another type (CQL: "Choice Types").
    """
    if value.__class__ is Tuple:
        return value.get(name)
    if value.__class__ is Element:
        value = value.value
    if value.__class__ is dict:
        return value.get(name)
    read = ELEMENTS.get(value.__class__, {}).get(name)
    return None if read is None else read(value)


def descendents(value: Any, deep: bool) -> list[Any]:
    """What a value holds, and with `deep` what that holds in turn (CQL: Descendents)."""
    found: list[Any] = []
    stack = _parts(value)
    stack.reverse()
    while stack:
        part = stack.pop()
        found.append(part)
        if deep:
            stack.extend(reversed(_parts(part)))
    return found


def _parts(value: Any) -> list[Any]:
    if value.__class__ is Element:
        value = value.value
    if isinstance(value, dict):
        parts: list[Any] = list(value.values())
    elif value.__class__ is list:
        parts = value
    else:
        parts = [read(value) for name, read in ELEMENTS.get(value.__class__, {}).items() if name not in _FLAGS]
    flat: list[Any] = []
    for part in parts:
        flat.extend(part if part.__class__ is list else [part])
    return [part for part in flat if part is not None]
