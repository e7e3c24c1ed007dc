"""Many values asked of one list: by hash where equality allows it, else pair by pair, up to a limit.

Values of one kind whose equality is decided by a key - texts, numbers, points in time that are known to the last component, quantities of
one unit, codes - are looked up. Objects of data are told apart by the texts at their top and compared only where these are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.clinical import Code, Tuple
from fhir_eligibility.algebra.values.element import Element, to_system
from fhir_eligibility.algebra.values.points import Long
from fhir_eligibility.algebra.values.quantity import Quantity

Same = Callable[[Any, Any], bool | None]
Kind = tuple[Any, ...]
_NUMBER: Kind = ("number", None)
_FEW = 64


def simple_key(value: Any) -> Any:
    """A hashable key that equal simple values share, None for all others."""
    value = to_system(value)
    kind = value.__class__
    if kind is str:
        return value
    if kind is int or kind is Decimal:
        return (value,)
    if kind is bool:
        return ("boolean", value)
    return None


def shallow_key(value: Any) -> Any:
    """A hashable key that equal values share: their own for System values, the primitives at the top of an object."""
    key = simple_key(value)
    if key is not None:
        return key
    if value.__class__ is Element:
        value = value.value
    if value.__class__ is dict:
        return tuple(sorted((k, str(v)) for k, v in value.items() if v.__class__ in (str, bool)))
    return value.__class__.__name__


def keyed(value: Any) -> tuple[Kind, Any, bool] | None:
    """The kind of a value, its key among those of that kind, and whether equal keys are equal values; None where pairs have to be compared.

    Values of different keys of one kind are different. Kinds whose first parts differ are, too; others of one first part have to be compared.
    """
    if value is None:
        return ("null", None), None, True
    value = to_system(value)
    kind = value.__class__
    if kind is str:
        return ("text", None), value, True
    if kind is int or kind is Decimal or kind is Long:
        return _NUMBER, value, True
    if kind is bool:
        return ("boolean", None), value, True
    if kind is Date or kind is DateTime:
        return None if value.moment is None else (("moment", kind), value.moment, True)
    if kind is Time:
        return None if None in value._parts else (("time", None), value._parts, True)
    if kind is Quantity:
        return ("number", (value.unit, value.calendar)), value.value, True
    if kind is Code:
        fields = value.code, value.system, value.version, value.display
        return ("code", tuple([field is None for field in fields])), fields, True
    if kind is Tuple or kind is list:
        return _several(value)
    if kind is dict or (kind is Element and value.value.__class__ is dict):
        return ("object", None), shallow_key(value), False
    return None


def _several(value: Any) -> tuple[Kind, Any, bool] | None:
    """As `keyed`, for a tuple or list: its kind is those of what it holds, since a null is equal to nothing but a null."""
    names, parts = (tuple(value), value.values()) if value.__class__ is Tuple else (len(value), value)
    kinds, keys = [], []
    for part in parts:
        found = keyed(part)
        if found is None or not found[2]:
            return None
        kinds.append(found[0])
        keys.append(found[1])
    return (value.__class__, (names, tuple(kinds))), tuple(keys), True


class Lookup:
    """A list that grows and is asked for values; `same` decides for two values, None where it cannot."""

    def __init__(self, same: Same, what: str) -> None:
        self._same = same
        self._what = what
        self._kinds: dict[Kind, dict[Any, list[Any]]] = {}
        self._others: list[Any] = []
        self._pairs = 0

    @classmethod
    def of(cls, values: list[Any], same: Same, what: str) -> Lookup:
        """A lookup of the values of a list."""
        found = cls(same, what)
        for value in values:
            found.add(value)
        return found

    def add(self, value: Any) -> None:
        """Put a value in."""
        found = keyed(value)
        if found is None:
            self._others.append(value)
            return
        kind, key, exact = found
        alike = self._kinds.setdefault(kind, {}).setdefault(key, [])
        if not alike or not exact:
            alike.append(value)

    def has(self, value: Any) -> bool | None:
        """Whether an equal value is in; None where one may be. Raises EvaluationError `limit-exceeded`."""
        found = keyed(value)
        if found is None:
            rest = [x for members in self._kinds.values() for alike in members.values() for x in alike]
            return self._any(value, rest + self._others)
        kind, key, exact = found
        alike = self._kinds.get(kind, {}).get(key)
        if alike and exact:
            return True
        rest = list(self._others) if alike is None else alike + self._others
        for other, members in self._kinds.items():
            if other[0] == kind[0] and other != kind:
                rest += [x for each in members.values() for x in each]
        return self._any(value, rest) if rest else False

    def _any(self, value: Any, rest: list[Any]) -> bool | None:
        self._pairs += len(rest)
        limits.compared(self._pairs, self._what)
        result: bool | None = False
        for other in rest:
            answer = self._same(other, value)
            if answer:
                return True
            if answer is None:
                result = None
        return result


def asked(values: list[Any], times: int, same: Same, what: str) -> Callable[[Any], bool | None]:
    """Whether a list has a value, for a question asked a number of times: pair by pair where that is little work."""
    if len(values) * times > _FEW:
        return Lookup.of(values, same, what).has

    def has(item: Any) -> bool | None:
        result: bool | None = False
        for value in values:
            answer = same(value, item)
            if answer:
                return True
            if answer is None:
                result = None
        return result

    return has


def without_repeats(values: list[Any], same: Same, what: str) -> list[Any]:
    """The values without repeats, in order of first appearance; what may be equal stays."""
    seen: set[Any] = set()
    out: list[Any] = []
    for value in values:
        key = simple_key(value)
        if key is None:
            break
        if key not in seen:
            seen.add(key)
            out.append(value)
    else:
        return out
    out = []
    if len(values) ** 2 <= _FEW:
        for value in values:
            if not any(same(other, value) for other in out):
                out.append(value)
        return out
    lookup = Lookup(same, what)
    for value in values:
        if lookup.has(value) is not True:
            lookup.add(value)
            out.append(value)
    return out
