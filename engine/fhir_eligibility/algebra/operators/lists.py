"""Operators on lists (CQL reference: "List Operators"). Lists keep nulls and order; two nulls count as equal."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.algebra import limits
from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.operators.equality import equal, sort_values
from fhir_eligibility.algebra.operators.lookup import asked, without_repeats
from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator
from fhir_eligibility.algebra.values.points import certain

List = list[Any]


def same(a: Any, b: Any) -> bool | None:
    """Equality of list elements: two nulls are equal, a null and a value are not."""
    if a is None or b is None:
        return a is b
    return equal(a, b)


def distinct(values: List) -> List:
    """The values without repeats, in order of first appearance; what may be equal stays."""
    return without_repeats(values, same, "distinct")


def has(values: List, item: Any) -> bool | None:
    """Whether an item is in a list; None where it may be."""
    result: bool | None = False
    for value in values:
        answer = same(value, item)
        if answer is True:
            return True
        if answer is None:
            result = None
    return result


@operator(
    "Distinct",
    "(List<T>) List<T>",
    cql="distinct",
    section="List: Distinct",
    language="cql",
    traits=OperatorTraits(looks="compares", moves="up"),
)
def distinct_list(values: List) -> List:
    return distinct(values)


@operator(
    "Exists",
    "(List<T>) Boolean",
    cql="exists Exists",
    section="List: Exists",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(looks="counts", moves="up"),
)
def exists(values: List | None) -> bool:
    return values is not None and any(value is not None for value in values)


@operator("In", "(T, List<T>) Boolean?", section="List: In", nulls="handled", language="cql")
def item_in(item: Any, values: List | None) -> bool | None:
    return False if values is None else has(values, item)


@operator("Contains", "(List<T>, T) Boolean?", section="List: Contains", nulls="handled", language="cql")
def list_contains(values: List | None, item: Any) -> bool | None:
    return item_in(item, values)


@operator("ProperIn", "(T, List<T>) Boolean?", section="List: Properly Included In", nulls="handled", language="cql")
def item_properly_in(item: Any, values: List | None) -> bool | None:
    found = item_in(item, values)
    if found is False or values is None:
        return False
    other: bool | None = False
    for value in values:
        if item is None:
            answer: bool | None = value is None
        else:
            answer = None if value is None else equal(value, item)
        if answer is False:
            other = True
            break
        if answer is None:
            other = None
    return found if other is True else other


@operator("ProperContains", "(List<T>, T) Boolean?", nulls="handled", language="cql")
def list_properly_contains(values: List | None, item: Any) -> bool | None:
    return item_properly_in(item, values)


@operator(
    "Includes",
    "(List<T>, List<T>) Boolean?",
    section="List: Includes",
    language="cql",
    traits=OperatorTraits(reports=True, looks="compares", dates="around", turned="IncludedIn"),
)
def list_includes(a: List, b: List) -> bool | None:
    found = asked(a, len(b), same, "includes")
    result: bool | None = True
    for item in b:
        answer = found(item)
        if answer is False:
            return False
        if answer is None:
            result = None
    return result


@operator(
    "IncludedIn",
    "(List<T>, List<T>) Boolean?",
    section="List: Included In",
    language="cql",
    traits=OperatorTraits(reports=True, looks="compares", dates="within"),
)
def list_included_in(a: List, b: List) -> bool | None:
    return list_includes(b, a)


@operator(
    "ProperIncludes",
    "(List<T>, List<T>) Boolean?",
    section="List: Properly Includes",
    language="cql",
    traits=OperatorTraits(reports=True, looks="compares", dates="around", turned="ProperIncludedIn"),
)
def list_properly_includes(a: List, b: List) -> bool | None:
    return list_includes(a, b) if len(distinct(a)) > len(distinct(b)) else False


@operator("ProperIncludedIn", "(List<T>, List<T>) Boolean?", language="cql")
def list_properly_included_in(a: List, b: List) -> bool | None:
    return list_properly_includes(b, a)


@operator("Union", "(List<T>, List<T>) List<T>", section="List: Union", nulls="handled", language="cql")
def list_union(a: List | None, b: List | None) -> List:
    limits.room_for_items(len(a or ()) + len(b or ()), "union")
    return distinct((a or []) + (b or []))


@operator("Intersect", "(List<T>, List<T>) List<T>", section="List: Intersect", language="cql")
def list_intersect(a: List, b: List) -> List:
    found = asked(b, len(a), same, "intersect")
    return distinct([value for value in a if found(value) is True])


@operator("Except", "(List<T>, List<T>) List<T>?", section="List: Except", nulls="handled", language="cql")
def list_except(a: List | None, b: List | None) -> List | None:
    if a is None:
        return None
    found = asked(b or [], len(a), same, "except")
    return distinct([value for value in a if found(value) is not True])


@operator(
    "Flatten",
    "(List<List<T>>) List<T>",
    cql="flatten Flatten",
    section="List: Flatten",
    language="cql",
    traits=OperatorTraits(looks="counts", moves="up"),
)
def flatten(values: list[List | None]) -> List:
    limits.room_for_items(sum(len(value) for value in values if value.__class__ is list), "flatten")
    return [item for value in values if value is not None for item in (value if value.__class__ is list else [value])]


@operator(
    "First",
    "(List<T>) T?",
    cql="First",
    section="List: First",
    language="cql",
    traits=OperatorTraits(looks="counts", same_value=True, elm="source"),
)
def first(values: List) -> Any:
    return values[0] if values else None


@operator(
    "Last",
    "(List<T>) T?",
    cql="Last",
    section="List: Last",
    language="cql",
    traits=OperatorTraits(looks="counts", same_value=True, elm="source"),
)
def last(values: List) -> Any:
    return values[-1] if values else None


@operator(
    "Indexer",
    "(List<T>, Integer) T?",
    cql="Indexer",
    section="List: Indexer",
    language="cql",
    traits=OperatorTraits(looks="counts"),
)
def item_at(values: List, index: int) -> Any:
    return values[index] if 0 <= index < len(values) else None


@operator(
    "IndexOf",
    "(List<T>, T) Integer?",
    cql="IndexOf",
    section="List: IndexOf",
    language="cql",
    traits=OperatorTraits(ranges=True, looks="compares", elm="source element"),
)
def index_of_item(values: List, item: Any) -> int | None:
    for index, value in enumerate(values):
        if same(value, item) is True:
            return index
    return -1


@operator(
    "Length",
    "(List<T>) Integer",
    section="List: Length",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(certain="always", looks="counts"),
)
def list_length(values: List | None) -> int:
    return 0 if values is None else len(values)


@operator(
    "SingletonFrom",
    "(List<T>) T?",
    cql="singleton_from",
    section="List: Singleton From",
    language="cql",
    traits=OperatorTraits(fails=True, looks="counts", same_value=True),
)
def singleton_from(values: List) -> Any:
    if len(values) > 1:
        raise EvaluationError(
            "not-a-singleton", f"singleton from takes one element at most, but there are {len(values)}"
        )
    return values[0] if values else None


@operator(
    "Skip",
    "(List<T>, Integer) List<T>",
    cql="Skip",
    section="List: Skip",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(looks="counts"),
)
def skip(values: List | None, count: int | None) -> List | None:
    return None if values is None else values[max(0, certain(count, "Skip") or 0) :]


@operator(
    "Take",
    "(List<T>, Integer) List<T>",
    cql="Take",
    section="List: Take",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(looks="counts"),
)
def take(values: List | None, count: int | None) -> List | None:
    return None if values is None else values[: max(0, certain(count, "Take") or 0)]


@operator(
    "Tail", "(List<T>) List<T>", cql="Tail", section="List: Tail", language="cql", traits=OperatorTraits(looks="counts")
)
def tail(values: List) -> List:
    return values[1:]


@operator(
    "Slice",
    "(List<T>) List<T>?",
    "(List<T>, Integer) List<T>?",
    "(List<T>, Integer, Integer) List<T>?",
    cql="Slice",
    section="List: Slice",
    nulls="handled",
    language="cql",
    traits=OperatorTraits(looks="counts", elm="source startIndex endIndex"),
)
def slice_of(values: List | None, start: int | None = None, stop: int | None = None) -> List | None:
    return None if values is None else values[slice(start, stop)]


@operator("Sort", "(List<T>) List<T>", section="List: Sort", language="cql")
def sort_ascending(values: List) -> List:
    return sort_values(values)
