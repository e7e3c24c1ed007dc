"""To which dates a filter over a retrieve keeps its rows, where that is known when a run begins (FHIR: DataRequirement.dateFilter).

Looks at the conjuncts of a condition that compare a date element of the row with a moment that no row and no patient has a part in: literals,
parameters, the clock with fixed offsets. What is not understood restricts nothing. Knows nodes of both languages, and no server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.operators.arithmetic import (
    add_duration,
    add_whole_seconds,
    subtract_duration,
    subtract_whole_seconds,
)
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.algebra.temporal import Date, DateTime
from fhir_eligibility.algebra.temporal.between import extent, truncated
from fhir_eligibility.algebra.values.interval import Interval, end, start
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import ChoiceType

Moment = Date | DateTime
_SHIFTS: Mapping[str, Callable[[Any, Quantity], Any]] = {
    "Add": add_duration,
    "Subtract": subtract_duration,
    "AddWholeSeconds": add_whole_seconds,
    "SubtractWholeSeconds": subtract_whole_seconds,
}
_MOMENTS = frozenset("Date DateTime Interval<Date> Interval<DateTime>".split())
_DATES = frozenset("dateTime Period instant date".split())


class Bound(Struct, frozen=True):
    """A moment or an interval of moments known when a run begins: the kind of an ELM node with its operands and its value."""

    kind: str
    operands: tuple[Bound, ...] = ()
    value: Any = None

    @property
    def moving(self) -> bool:
        """Whether it depends on the clock."""
        return self.kind in ("Today", "Now") or any(x.moving for x in self.operands)


class Restriction(Struct, frozen=True):
    """A condition on an element of each row: its dates lie between two bounds (None: open).

    `path` is the place that the bounds hold for, `element` the element of the resource that it is or lies in.
    """

    path: str
    element: str
    low: Bound | None
    high: Bound | None


class DateBounds(Struct, frozen=True):
    """A restriction with its values, None where a side is open or its value is not known.

    `moving` tells that the end depends on the clock: it is another one on the day of another run.
    """

    path: str
    element: str
    low: Moment | None = None
    high: Moment | None = None
    moving: bool = False


class Clock(Struct, frozen=True):
    """What a run knows when it begins: its clock, and its parameters by (owner, Python name, name)."""

    today: Date
    now: DateTime
    parameter: Callable[[tuple[str, str, str]], Any]


class _Row(Struct, frozen=True):
    """A date of a row: an element, its start or its end (`part`), and whether other types of value may stand there."""

    element: str
    part: str = ""
    choice: bool = False
    whole_days: bool = False


def restrictions(conditions: Iterable[Node], scope: Any) -> tuple[Restriction, ...]:
    """The restrictions that all of some conditions put on the row of a scope, one for each path."""
    found: dict[str, Restriction] = {}
    stack = list(conditions)
    while stack:
        node = stack.pop()
        if isinstance(node, n.And):
            stack.extend(node.operands)
            continue
        new = _restriction(node, scope)
        if new is None:
            continue
        old = found.get(new.path)
        if old is not None:
            new = Restriction(new.path, new.element, old.low or new.low, old.high or new.high)
        found[new.path] = new
    return tuple(found[path] for path in sorted(found))


def _restriction(node: Node, scope: Any) -> Restriction | None:
    if isinstance(node, n.Members) and node.bound is not None:
        return _common_restriction(node, scope)
    traits = OPERATORS[node.operator].traits if isinstance(node, n.Dynamic) else n.traits_of(node)
    if isinstance(node, n.In):
        traits = OPERATORS["In"].traits
    if len(node.operands) != 2 or not traits.dates:
        return None
    first, second = node.operands
    row = _row(first, scope) if traits.dates != "around" else None
    if row is None:
        if not traits.turned:
            return None
        row, second, traits = _row(second, scope), first, OPERATORS[traits.turned].traits
    bound = bound_of(second) if row is not None else None
    if row is None or bound is None:
        return None
    precision = node.precision if isinstance(node, n.Operation) else None
    if precision is not None or row.whole_days:
        bound = Bound("Truncated", (bound,), precision if precision in ("year", "month") else "day")
    low = Bound("End" if traits.dates == "later" else "Start", (bound,)) if traits.dates != "earlier" else None
    high = Bound("Start" if traits.dates == "earlier" else "End", (bound,)) if traits.dates != "later" else None
    if not row.part:
        return Restriction(row.element, row.element, low, high)
    if not row.choice:
        return Restriction(f"{row.element}.{row.part}", row.element, low, high)
    # An element that may be a moment has no start: what starts late enough lies as a whole late enough, but may end any time.
    low, high = (low, None) if row.part == "start" else (None, high)
    return Restriction(row.element, row.element, low, high) if low or high else None


def _common_restriction(node: n.Members, scope: Any) -> Restriction | None:
    """The restriction that a condition on a choice puts on the row, where it is the same whatever type the value has."""
    places = dict(zip((node.scope, *(node.bound or ())), node.operands, strict=True))
    found = {_restriction(_placed(condition, places), scope) for _, condition in node.options}
    return found.pop() if len(found) == 1 else None


def _placed(node: Node, places: Mapping[Any, Node]) -> Node:
    """A node with the operands of a choice in place of what stands for them."""
    if isinstance(node, n.Chosen) and node.scope in places:
        return places[node.scope]
    if isinstance(node, n.Unbox):
        return _placed(node.operands[0], places)
    return replace(node, operands=tuple(_placed(operand, places) for operand in node.operands))


def _row(node: Node, scope: Any) -> _Row | None:
    """The date of the row that a node is."""
    kind = node.kind
    same = isinstance(node, (n.ToSystem, n.ModelConversion, n.As, n.Members, n.Box)) or kind == "ToDateTime"
    if same and len(node.operands) == 1:
        return _row(node.operands[0], scope)
    if kind == "DateFrom":
        below = _row(node.operands[0], scope)
        return None if below is None else _Row(below.element, below.part, below.choice, True)
    if kind in ("Start", "End"):
        below = _row(node.operands[0], scope)
        if below is None or below.part:
            return None
        return _Row(below.element, kind.lower(), below.choice, below.whole_days)
    if isinstance(node, n.FunctionRef):
        return _normalized(node, scope)
    if isinstance(node, n.ModelProperty) or (isinstance(node, n.Property) and not node.repeats):
        path, owner = node.path, node.operands[0]
        if isinstance(owner, (n.AliasRef, n.Current, n.Chosen)):
            return _Row(path, choice=_is_choice(node)) if owner.scope == scope else None
        below = _row(owner, scope)
        if below is not None and not below.part and path in ("start", "end"):
            return _Row(below.element, path, below.choice)
    return None


def _is_choice(node: n.Property | n.ModelProperty) -> bool:
    """Whether an element is written in several ways, of which the node may mean one."""
    if isinstance(node, n.ModelProperty):
        return isinstance(node.result, ChoiceType)
    return node.names is not None or node.json not in (None, node.path)


def _normalized(node: n.FunctionRef, scope: Any) -> _Row | None:
    """`toInterval`, by which libraries turn a choice of dates into an interval; not where it also computes dates from ages."""
    exported = node.exported
    if exported.name.lower() != "tointerval" or len(node.operands) != 1 or len(exported.operands) != 1:
        return None
    row = _row(node.operands[0], scope)
    given, taken = (_names(x) for x in (node.operands[0].result, exported.operands[0]))
    return row if row is not None and not row.part and given & taken <= _DATES | {"Timing"} else None


def _names(kind: Any) -> set[str]:
    """The short names of a type, or of the types of a choice."""
    return {str(option).rpartition(".")[2] for option in getattr(kind, "options", (kind,))}


# -- bounds


def bound_of(node: Node) -> Bound | None:
    """A node as a bound, None where it is not known when a run begins, or not understood."""
    kind = node.kind
    if isinstance(node, n.Literal):
        value = node.value
        return Bound("Literal", (), value) if isinstance(value, (Date, DateTime)) else None
    if isinstance(node, (n.Today, n.Now)):
        return Bound(kind)
    if isinstance(node, n.ParameterRef):
        exported = node.exported
        if str(node.result) not in _MOMENTS:
            return None
        return Bound("ParameterRef", (), (exported.owner, exported.python, exported.name))
    closed = None
    if isinstance(node, n.NewInterval):
        closed = node.low_closed, node.high_closed
    elif kind in _SHIFTS:
        by = node.operands[1]
        amount = by.value if isinstance(by, n.Literal) else None
        origin = bound_of(node.operands[0])
        return Bound(kind, (origin,), amount) if origin is not None and isinstance(amount, Quantity) else None
    elif kind not in ("Start", "End", "DateFrom", "ToDateTime"):
        return None
    below = tuple(bound_of(operand) for operand in node.operands)
    known = tuple(x for x in below if x is not None)
    return Bound(kind, known, closed) if known and len(known) == len(below) else None


def date_filters(found: Iterable[Restriction], clock: Clock) -> tuple[DateBounds, ...]:
    """Restrictions with their values."""
    out = []
    for x in found:
        moving = x.high is not None and x.high.moving
        out.append(DateBounds(x.path, x.element, _moment(x.low, clock), _moment(x.high, clock), moving))
    return tuple(out)


def _moment(bound: Bound | None, clock: Clock) -> Moment | None:
    """The value of a bound; None where it is not known, or is where time begins or ends."""
    if bound is None:
        return None
    try:
        value = _value(bound, clock)
    except (EvaluationError, ValueError):
        return None
    return value if isinstance(value, (Date, DateTime)) and 1 < value.year < 9999 else None


def _value(bound: Bound, clock: Clock) -> Any:
    kind = bound.kind
    if kind == "Literal":
        return bound.value
    if kind in ("Today", "Now"):
        return clock.today if kind == "Today" else clock.now
    if kind == "ParameterRef":
        return clock.parameter(bound.value)
    values = [_value(operand, clock) for operand in bound.operands]
    if kind == "Interval":
        return Interval(values[0], values[1], *bound.value) if any(x is not None for x in values) else None
    if values[0] is None:
        return None
    if kind in ("Start", "End"):
        if not isinstance(values[0], Interval):
            return values[0]
        return start(values[0]) if kind == "Start" else end(values[0])
    if kind == "Truncated":
        return _truncated(values[0], bound.value)
    if kind == "DateFrom":
        return Date(*values[0]._parts[:3])
    return values[0] if kind == "ToDateTime" else _SHIFTS[kind](values[0], bound.value)


def _truncated(value: Any, precision: str) -> Any:
    """A moment, or the ends of an interval, without what is finer than a precision."""
    if isinstance(value, Interval):
        low, high = (None if x is None else _truncated(x, precision) for x in (start(value), end(value)))
        return Interval(low, high) if low is not None or high is not None else None
    return truncated(value, precision) if isinstance(value, (Date, DateTime)) else None


def hull(first: Iterable[DateBounds], second: Iterable[DateBounds]) -> tuple[DateBounds, ...]:
    """What holds for the rows of either of two sets of filters: the paths of both, with the wider bounds."""
    others = {x.path: x for x in second}
    out = []
    for a in first:
        b = others.get(a.path)
        if b is not None:
            low = None if a.low is None or b.low is None else min(a.low, b.low, key=lambda x: extent(x)[0])
            high = None if a.high is None or b.high is None else max(a.high, b.high, key=lambda x: extent(x)[1])
            out.append(DateBounds(a.path, a.element, low, high, a.moving or b.moving))
    return tuple(out)


RETRIEVES = (n.Retrieve, n.ModelRetrieve)


def restricted_retrieves(node: Node) -> dict[int, tuple[Restriction, ...]]:
    """The restrictions of the retrieves below a node, by id(); of those alone that stand in filters each time that they occur."""
    visits: dict[int, int] = {}
    found: dict[int, list[tuple[Restriction, ...]]] = {}
    for below in node.walk():
        if isinstance(below, RETRIEVES):
            visits[id(below)] = visits.get(id(below), 0) + 1
        for retrieve, scope, conditions in _filtered(below):
            if isinstance(retrieve, RETRIEVES):
                found.setdefault(id(retrieve), []).append(restrictions(conditions, scope))
    return {key: x[0] for key, x in found.items() if visits.get(key) == len(x) and all(y == x[0] for y in x)}


def _filtered(node: Node) -> Iterable[tuple[Node, Any, list[Node]]]:
    """The sources of a filter with the scope of their rows and the conditions that rows have to meet."""
    if isinstance(node, n.Filter):
        yield node.operands[0], node.scope, list(node.operands[1:])
    elif isinstance(node, n.Query):
        where = node.where
        for source in node.sources:
            yield source.node, source.scope, [] if where is None else [where]
        for relation in node.relations:
            yield relation.node, relation.scope, [relation.condition] if relation.kind == "with" else []
