"""A reference interpreter for FHIRPath criteria: the syntax tree evaluated item by item, with three values and rows in doubt.

It knows the parser and the FHIR models, and nothing of the translator, the emitter, or any analysis; of the algebra it takes how dates, quantities and
texts are read and compared. Everything is a list of items. A row of a filter whose condition is unknown is in doubt: the criterion is evaluated in every
world in which some of these rows are kept, and has an answer where it is the same in all.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, NamedTuple

from fhir_eligibility.algebra import temporal as t
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values import quantity as q
from fhir_eligibility.algebra.values.element import SYSTEM_TYPE, to_quantity
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.compiler.syntax import nodes as s

MOST = 6
TEMPORAL = (Date, DateTime, Time)


class Failed(Exception):
    """The expression has no value: an error in production, too."""


class TooMany(Exception):
    """More rows in doubt than there are worlds to be tried."""


class Unsupported(Exception):
    """The interpreter does not know a function."""


class Item(NamedTuple):
    """A value with its qualified type; of a FHIR primitive the raw JSON, with its sibling object."""

    value: Any
    type: str
    sibling: dict[str, Any] | None = None


Items = list[Item]


@dataclass(frozen=True)
class Scope:
    """What names mean."""

    this: Items
    index: int | None = None
    total: Items | None = None
    variables: dict[str, Items] = field(default_factory=dict)
    # what tells the row at hand, None outside of rows; by variable: the rows that it hangs on, and whether it stands for a question
    row: Any = None
    depends: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    questions: frozenset[str] = frozenset()


def system(item: Item) -> Any:
    """The System value of an item; None where it is there with extensions alone, the item where it is complex."""
    namespace, _, name = item.type.partition(".")
    if namespace == "System":
        return item.value
    kind = SYSTEM_TYPE.get(name)
    if kind is None:
        return item
    value = item.value
    if value is None:
        return None
    try:
        return _READ[kind](value)
    except (ValueError, TypeError, KeyError) as error:
        raise Failed(str(error)) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("no Boolean")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or value != int(value):
        raise TypeError("no integer")
    return int(value)


_READ: dict[str, Callable[[Any], Any]] = {
    "String": _text,
    "Boolean": _boolean,
    "Integer": _integer,
    "Long": _integer,
    "Decimal": lambda value: Decimal(str(value)),
    "Date": lambda value: Date.parse(_text(value)),
    "DateTime": lambda value: DateTime.parse(_text(value)),
    "Time": lambda value: Time.parse(_text(value)),
    "Quantity": to_quantity,
}


def made(value: Any) -> Items:
    """A System value as items; None as none."""
    if value is None:
        return []
    if isinstance(value, Item):
        return [value]
    name = {bool: "Boolean", int: "Integer", str: "String"}.get(type(value)) or type(value).__name__
    return [Item(value, f"System.{name}")]


def equal(a: Any, b: Any) -> bool | None:
    """`=` of two System values or complex items."""
    if isinstance(a, Item) or isinstance(b, Item):
        return isinstance(a, Item) and isinstance(b, Item) and same_json(a.value, b.value)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    numbers = (int, Decimal)
    if isinstance(a, numbers) and isinstance(b, numbers):
        return a == b
    if isinstance(a, TEMPORAL) and isinstance(b, TEMPORAL):
        return t.equal(a, b)
    if isinstance(a, (Quantity, *numbers)) and isinstance(b, (Quantity, *numbers)):
        return q.equal(*(x if isinstance(x, Quantity) else Quantity(Decimal(x), "1", False) for x in (a, b)))
    return bool(a == b) if type(a) is type(b) else False


def compared(a: Any, b: Any) -> bool | None:
    """`equal` where a value may be missing."""
    return None if a is None or b is None else equal(a, b)


def every(answers: Iterable[bool | None]) -> bool | None:
    """Kleene `and`."""
    found = list(answers)
    return False if False in found else None if None in found else True


def either(answers: Iterable[bool | None]) -> bool | None:
    """Kleene `or`."""
    found = list(answers)
    return True if True in found else None if None in found else False


def same_json(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_json(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def order(a: Any, b: Any) -> int | None:
    numbers = (int, Decimal)
    if isinstance(a, bool) or isinstance(b, bool) or isinstance(a, Item) or isinstance(b, Item):
        raise Failed("no order")
    if (isinstance(a, numbers) and isinstance(b, numbers)) or (isinstance(a, str) and isinstance(b, str)):
        return (a > b) - (a < b)  # type: ignore[operator]
    if isinstance(a, TEMPORAL) and isinstance(b, TEMPORAL) and isinstance(a, Time) == isinstance(b, Time):
        return t.compare(a, b)
    if isinstance(a, (Quantity, *numbers)) and isinstance(b, (Quantity, *numbers)):
        return q.compare(*(x if isinstance(x, Quantity) else Quantity(Decimal(x), "1", False) for x in (a, b)))
    raise Failed("no order")


# Functions whose arguments are about another row; those that answer true, false or nothing; those that hand on; those that make a collection of what they are called on.
ABOUT_ROWS = frozenset("where select all exists repeat aggregate".split())
ASKING = frozenset("not startsWith convertsToInteger subsetOf is".split())
HANDING_ON = frozenset("first last single distinct trace defineVariable".split())
COLLECTING = frozenset(
    "where select all exists first tail skip take combine union intersect exclude subsetOf isDistinct aggregate repeat allTrue anyTrue allFalse anyFalse".split()
)


def asks(tree: s.Expression, scope: Scope) -> bool:
    """Whether an expression asks something that is true or false: no answer is not the same as no item."""
    match tree:
        case s.Binary():
            return tree.operator in ("and", "or", "xor", "implies", "=", "!=", "<", "<=", ">", ">=", "in", "contains")
        case s.TypeTest():
            return tree.operator == "is"
        case s.Variable():
            return tree.name in scope.questions
        case s.Call():
            if tree.name == "iif":
                return any(asks(branch, scope) for branch in tree.arguments[1:])
            if tree.name == "coalesce":
                return all(asks(argument, scope) for argument in tree.arguments)
            if tree.name in HANDING_ON and tree.source is not None:
                return asks(tree.source, scope)
            return tree.name in ASKING
    return False


def parts_of(tree: s.Expression) -> Iterable[s.Expression]:
    """What an expression is made of and that is about the same row."""
    match tree:
        case s.Call():
            inner = () if tree.name in ABOUT_ROWS or (tree.name == "iif" and tree.source) else tree.arguments
            return (*((tree.source,) if tree.source is not None else ()), *inner)
        case s.Member():
            return () if tree.source is None else (tree.source,)
        case s.Index():
            return (tree.source, tree.index)
        case s.TypeTest():
            return (tree.operand,)
        case s.Binary():
            return (tree.left, tree.right)
    return ()


def below(tree: s.Expression) -> Iterable[s.Expression]:
    """An expression and all that it is made of, about whatever row."""
    yield tree
    for part in (*parts_of(tree), *(tree.arguments if isinstance(tree, s.Call) else ())):
        yield from below(part)


class Interpreter:
    """Evaluates one expression over one patient's resources in one world, in which the doubts `keep` are kept."""

    def __init__(self, model: Model, resources: list[dict[str, Any]], now: dt.datetime, keep: frozenset[Any]) -> None:
        self.model = model
        self.resources = resources
        self.now = now
        self.keep = keep
        self.doubts: dict[Any, None] = {}
        patient = [r for r in resources if r["resourceType"] == "Patient"]
        self.context = [Item(r, "FHIR.Patient") for r in patient[:1]]

    def run(self, tree: s.Expression) -> Items:
        return self.eval(tree, Scope(self.context))[0]

    def doubt(self, site: Any, row: Any) -> bool:
        """Whether a row in doubt is kept in this world."""
        key = (id(site), row)
        self.doubts.setdefault(key)
        return key in self.keep

    @staticmethod
    def row(item: Item) -> Any:
        """What tells a row: the object itself, of a plain value the value."""
        return (
            id(item.value)
            if isinstance(item.value, (dict, list))
            else (str(item.value), id(item.sibling) if item.sibling else None)
        )

    def place(self, item: Item, index: int) -> Any:
        """What tells the row of a loop from others: of plain values there may be several alike."""
        return self.row(item) if isinstance(item.value, (dict, list)) else (self.row(item), index)

    def about_row(self, tree: s.Expression) -> bool:
        """Whether an expression reads the row at hand."""
        if isinstance(tree, s.Special):
            return True
        if isinstance(tree, s.Member) and tree.source is None:
            return not (tree.name[0].isupper() and self.model.has_type(tree.name))
        if isinstance(tree, s.Call) and tree.source is None and tree.name not in ("iif", "coalesce", "today"):
            return True
        return any(map(self.about_row, parts_of(tree)))

    def hangs_on(self, tree: s.Expression, scope: Scope) -> tuple[Any, ...]:
        """The rows that the value of an expression hangs on: the one at hand, and those of its variables."""
        own = (scope.row,) if scope.row is not None and self.about_row(tree) else ()
        return own + self.by_variables(tree, scope)

    def by_variables(self, tree: s.Expression, scope: Scope) -> tuple[Any, ...]:
        names = {part.name: None for part in below(tree) if isinstance(part, s.Variable)}
        return tuple(row for name in names for row in scope.depends.get(name, ()))

    def asked(self, tree: s.Expression, scope: Scope) -> Items:
        """As `value`; what asks and has no answer may be true or false, and is no item as it stands."""
        return self.or_doubt(self.value(tree, scope), tree, scope)

    def or_doubt(self, found: Items, tree: s.Expression, scope: Scope) -> Items:
        if found or not asks(tree, scope):
            return found
        rows = self.hangs_on(tree, scope)
        kept = [answer for answer in (True, False) if self.doubt(tree, ("answer", rows, answer))]
        return made(kept[0]) if kept else []

    # -- expressions

    def value(self, tree: s.Expression, scope: Scope) -> Items:
        return self.eval(tree, scope)[0]

    def eval(self, tree: s.Expression, scope: Scope) -> tuple[Items, Scope]:
        """The items, and what names mean behind the expression."""
        if isinstance(tree, s.Member):
            if tree.source is None:
                return self.start(tree.name, scope), scope
            source, after = self.eval(tree.source, scope)
            return [child for item in source for child in self.children(item, tree.name)], after
        if isinstance(tree, s.Call):
            source, after = (scope.this, scope) if tree.source is None else self.eval(tree.source, scope)
            if tree.source is not None and tree.name in COLLECTING and (tree.arguments or tree.name != "exists"):
                source = self.or_doubt(source, tree.source, scope)
            inside = replace(after, this=scope.this, index=scope.index, total=scope.total, row=scope.row)
            if tree.name == "defineVariable":
                name = tree.arguments[0]
                assert isinstance(name, s.LiteralTerm)
                value = (
                    self.value(tree.arguments[1], replace(inside, this=source)) if len(tree.arguments) > 1 else source
                )
                whole = tree.arguments[1] if len(tree.arguments) > 1 else tree.source
                assert whole is not None
                rows = self.hangs_on(tree, inside)
                return source, replace(
                    inside,
                    variables={**inside.variables, name.text: value},
                    depends={**inside.depends, name.text: rows},
                    questions=inside.questions | {name.text} if asks(whole, inside) else inside.questions,
                )
            return self.call(tree, source, inside), after
        return self.other(tree, scope), scope

    def other(self, tree: s.Expression, scope: Scope) -> Items:
        match tree:
            case s.LiteralTerm():
                return made(_LITERAL[tree.kind](tree.text))
            case s.QuantityLiteral():
                return made(q.make(Decimal(tree.number), tree.unit, tree.calendar))
            case s.EmptyCollection():
                return []
            case s.Special():
                if tree.name == "this":
                    return scope.this
                return made(scope.index) if tree.name == "index" else list(scope.total or [])
            case s.Variable():
                return scope.variables[tree.name] if tree.name in scope.variables else self.context
            case s.Index():
                items, index = self.value(tree.source, scope), self.single(self.value(tree.index, scope))
                return items[index : index + 1] if index is not None and index >= 0 else []
            case s.TypeTest():
                return self.type_test(tree.operator, self.one(self.value(tree.operand, scope)), tree.type_name)
            case s.Binary():
                return self.binary(tree, scope)
        raise Unsupported(type(tree).__name__)

    def start(self, name: str, scope: Scope) -> Items:
        if name[0].isupper() and self.model.has_type(name):
            if name == "Patient":
                return self.context
            return [Item(r, f"FHIR.{name}") for r in self.resources if r["resourceType"] == name]
        return [child for item in scope.this for child in self.children(item, name)]

    def children(self, item: Item, name: str) -> Items:
        """The values of one element of an item."""
        namespace, _, kind = item.type.partition(".")
        if namespace == "System" or (kind in SYSTEM_TYPE and not kind[0].isupper()):
            holder = item.sibling or {}
            if name == "id" and holder.get("id") is not None:
                return [Item(holder["id"], "FHIR.string")]
            return [Item(x, "FHIR.Extension") for x in holder.get("extension") or ()] if name == "extension" else []
        owner = item.value
        if not isinstance(owner, dict):
            raise Failed("no object")
        if "resourceType" in owner:
            kind = owner["resourceType"]
        definition = self.model.element(kind, name)
        if definition is None:
            return []
        for key, kind in definition.json_names:
            if owner.get(key) is not None or owner.get(f"_{key}") is not None:
                found = self.values(owner, key, kind, definition.many)
                if found:
                    return found
        return []

    def values(self, owner: dict[str, Any], key: str, kind: str, many: bool) -> Items:
        value, sibling = owner.get(key), owner.get(f"_{key}")
        if not many:
            primitive = kind in SYSTEM_TYPE and not kind[0].isupper()
            if value is None and not (primitive and sibling is not None):
                return []
            return [Item(value, f"FHIR.{kind}", sibling if primitive else None)]
        values, siblings = value or [], sibling or []
        if not isinstance(values, list):
            raise Failed("no array")
        out = []
        for index in range(max(len(values), len(siblings))):
            one = values[index] if index < len(values) else None
            beside = siblings[index] if index < len(siblings) else None
            if one is not None or beside is not None:
                out.append(Item(one, f"FHIR.{kind}", beside))
        return out

    def all_children(self, item: Item) -> Items:
        namespace, _, kind = item.type.partition(".")
        if namespace == "System":
            return []
        if kind in SYSTEM_TYPE and not kind[0].isupper():
            return self.children(item, "id") + self.children(item, "extension")
        if isinstance(item.value, dict) and "resourceType" in item.value:
            kind = item.value["resourceType"]
        return [child for name in self.model.elements(kind) for child in self.children(item, name)]

    # -- singletons, conditions

    def one(self, items: Items) -> Items:
        if len(items) > 1:
            raise Failed("not a singleton")
        return items

    def single(self, items: Items) -> Any:
        """The one System value, or complex item; None for none."""
        return system(items[0]) if self.one(items) else None

    def condition(self, items: Items) -> bool | None:
        if not self.one(items):
            return None
        if items[0].type in ("FHIR.boolean", "System.Boolean"):
            found: bool | None = system(items[0])
            return found
        return True

    def known(self, items: Items) -> list[Any]:
        """The System values of items; None for those with extensions alone."""
        return [system(item) for item in items]

    def among(self, value: Any, values: list[Any]) -> bool | None:
        """Whether a value is one of several, with three values."""
        return either(compared(value, other) for other in values)

    # -- operators

    def binary(self, tree: s.Binary, scope: Scope) -> Items:
        name = tree.operator
        if name in ("and", "or", "xor", "implies"):
            return made(self.logic(name, tree, scope))
        either_side = self.asked if name == "|" else self.value
        left = (self.asked if name == "contains" else either_side)(tree.left, scope)
        right = (self.asked if name == "in" else either_side)(tree.right, scope)
        if name == "|":
            return self.distinct(left + right)
        if name in ("=", "!="):
            found = self.equality(left, right)
            return made(found if name == "=" or found is None else not found)
        if name in ("~", "!~"):
            return made(self.equivalence(left, right) is (name == "~"))
        if name in ("in", "contains"):
            item, items = (left, right) if name == "in" else (right, left)
            wanted = self.single(item)
            return made(None if wanted is None else self.among(wanted, self.known(items)))
        a, b = self.single(left), self.single(right)
        if name == "&":
            return made((a or "") + (b or ""))
        if a is None or b is None:
            return []
        if name in ("<", "<=", ">", ">="):
            sign = order(a, b)
            if sign is None:
                return []
            return made({"<": sign < 0, "<=": sign <= 0, ">": sign > 0, ">=": sign >= 0}[name])
        if name in ("+", "-") and all(isinstance(x, (int, Decimal)) and not isinstance(x, bool) for x in (a, b)):
            return made(a + b if name == "+" else a - b)
        raise Unsupported(name)

    def logic(self, name: str, tree: s.Binary, scope: Scope) -> bool | None:
        """Kleene logic; what is decided by the left side is not evaluated further."""
        a = self.condition(self.value(tree.left, scope))
        decided = {"and": False, "or": True, "implies": False}.get(name)
        if decided is not None and a is decided:
            return name != "and"
        b = self.condition(self.value(tree.right, scope))
        if name == "xor":
            return None if a is None or b is None else a is not b
        if name == "implies":
            return b if a is True else True if b is True else None
        return decided if b is decided else None if a is None or b is None else not decided

    def equality(self, left: Items, right: Items) -> bool | None:
        a, b = self.known(left), self.known(right)
        if not a or not b:
            return None
        if len(a) != len(b):
            return False
        return every(compared(x, y) for x, y in zip(a, b, strict=True))

    def equivalence(self, left: Items, right: Items) -> bool:
        a, b = self.known(left), self.known(right)
        if len(a) != len(b):
            return False
        for x in a:
            words = x.lower().split() if isinstance(x, str) else x
            places = [i for i, y in enumerate(b) if (y.lower().split() if isinstance(y, str) else y) == words]
            if not places:
                return False
            del b[places[0]]
        return True

    def distinct(self, items: Items) -> Items:
        out: Items = []
        for item in items:
            value = system(item)
            if value is None or not any(equal(value, other) is True for x in out if (other := system(x)) is not None):
                out.append(item)
        return out

    def within(self, item: Item, items: Items) -> bool:
        value = system(item)
        return value is not None and any(equal(value, other) is True for x in items if (other := system(x)) is not None)

    # -- types

    def is_of(self, item: Item, names: tuple[str, ...], exact: bool) -> bool:
        namespace, _, own = item.type.partition(".")
        if isinstance(item.value, dict) and "resourceType" in item.value:
            own = item.value["resourceType"]
        wanted = names[-1]
        if names[0] == "System" or (len(names) == 1 and not self.model.has_type(wanted)):
            return namespace == "System" and own == wanted
        if namespace == "System":
            return own == wanted == "Quantity"
        primitive = own in SYSTEM_TYPE and not own[0].isupper()
        return own == wanted or (self.model.is_subtype(own, wanted) and not (exact and primitive))

    def type_test(self, operator: str, items: Items, names: tuple[str, ...]) -> Items:
        if operator == "is":
            return made(self.is_of(items[0], names, False) if items else None)
        return [item for item in items if self.is_of(item, names, True)]

    # -- functions

    def call(self, tree: s.Call, source: Items, scope: Scope) -> Items:
        handler = getattr(self, f"f_{tree.name}", None)
        if handler is None:
            raise Unsupported(tree.name)
        found: Items = handler(source, scope, tree, *tree.arguments)
        return found

    def each(
        self, source: Items, scope: Scope, argument: s.Expression, total: Items | None = None
    ) -> list[tuple[Item, Items]]:
        out = []
        for index, item in enumerate(source):
            inner = replace(scope, this=[item], index=index, row=self.place(item, index))
            out.append((item, self.asked(argument, inner)))
        return out

    def filtered(self, source: Items, scope: Scope, tree: s.Call, argument: s.Expression) -> Items:
        out = []
        for index, item in enumerate(source):
            inner = replace(scope, this=[item], index=index, row=self.place(item, index))
            found = self.condition(self.value(argument, inner))
            if found or (found is None and self.doubt(tree, (inner.row, self.by_variables(argument, inner)))):
                out.append(item)
        return out

    f_where = filtered

    def f_exists(self, source: Items, scope: Scope, tree: s.Call, *arguments: s.Expression) -> Items:
        return made(bool(self.filtered(source, scope, tree, arguments[0]) if arguments else source))

    def f_empty(self, source: Items, *_: Any) -> Items:
        return made(not source)

    def f_count(self, source: Items, *_: Any) -> Items:
        return made(len(source))

    def f_not(self, source: Items, *_: Any) -> Items:
        found = self.condition(source)
        return made(None if found is None else not found)

    def f_all(self, source: Items, scope: Scope, tree: s.Call, argument: s.Expression) -> Items:
        for index, item in enumerate(source):
            inner = replace(scope, this=[item], index=index, row=self.place(item, index))
            found = self.condition(self.value(argument, inner))
            kept = found is None and self.doubt(tree, (inner.row, self.by_variables(argument, inner)))
            if found is not True and not kept:
                return made(False)
        return made(True)

    def f_allTrue(self, source: Items, *_: Any) -> Items:
        return made(all(system(item) is True for item in source))

    def f_anyTrue(self, source: Items, *_: Any) -> Items:
        return made(any(system(item) is True for item in source))

    def f_allFalse(self, source: Items, *_: Any) -> Items:
        return made(all(system(item) is False for item in source))

    def f_anyFalse(self, source: Items, *_: Any) -> Items:
        return made(any(system(item) is False for item in source))

    def f_select(self, source: Items, scope: Scope, tree: s.Call, argument: s.Expression) -> Items:
        return [x for _, found in self.each(source, scope, argument) for x in found]

    def f_first(self, source: Items, *_: Any) -> Items:
        return source[:1]

    def f_last(self, source: Items, *_: Any) -> Items:
        return source[-1:]

    def f_tail(self, source: Items, *_: Any) -> Items:
        return source[1:]

    def f_skip(self, source: Items, scope: Scope, tree: s.Call, count: s.Expression) -> Items:
        return source[max(0, self.single(self.value(count, scope)) or 0) :]

    def f_take(self, source: Items, scope: Scope, tree: s.Call, count: s.Expression) -> Items:
        return source[: max(0, self.single(self.value(count, scope)) or 0)]

    def f_single(self, source: Items, *_: Any) -> Items:
        return self.one(source)

    def f_distinct(self, source: Items, *_: Any) -> Items:
        return self.distinct(source)

    def f_isDistinct(self, source: Items, *_: Any) -> Items:
        return made(len(self.distinct(source)) == len(source))

    def f_union(self, source: Items, scope: Scope, tree: s.Call, other: s.Expression) -> Items:
        return self.distinct(source + self.asked(other, scope))

    def f_combine(self, source: Items, scope: Scope, tree: s.Call, other: s.Expression) -> Items:
        return source + self.asked(other, scope)

    def f_intersect(self, source: Items, scope: Scope, tree: s.Call, other: s.Expression) -> Items:
        others = self.asked(other, scope)
        return self.distinct([item for item in source if self.within(item, others)])

    def f_exclude(self, source: Items, scope: Scope, tree: s.Call, other: s.Expression) -> Items:
        others = self.asked(other, scope)
        return [item for item in source if not self.within(item, others)]

    def f_subsetOf(self, source: Items, scope: Scope, tree: s.Call, other: s.Expression) -> Items:
        others = self.known(self.asked(other, scope))
        return made(every(self.among(x, others) for x in self.known(source)))

    def f_iif(self, source: Items, scope: Scope, tree: s.Call, test: s.Expression, *branches: s.Expression) -> Items:
        inner = scope if tree.source is None else replace(scope, this=self.one(source))
        found = self.condition(self.value(test, inner))
        if found or (found is None and self.doubt(tree, self.hangs_on(test, scope))):
            return self.value(branches[0], inner)
        return self.value(branches[1], inner) if len(branches) > 1 else []

    def f_coalesce(self, source: Items, scope: Scope, tree: s.Call, *arguments: s.Expression) -> Items:
        for argument in arguments:
            if found := self.value(argument, scope):
                return found
        return []

    def names(self, tree: s.Expression) -> tuple[str, ...]:
        assert isinstance(tree, s.Member)
        return (*(self.names(tree.source) if tree.source is not None else ()), tree.name)

    def f_ofType(self, source: Items, scope: Scope, tree: s.Call, kind: s.Expression) -> Items:
        return [item for item in source if self.is_of(item, self.names(kind), True)]

    def f_as(self, source: Items, scope: Scope, tree: s.Call, kind: s.Expression) -> Items:
        return self.type_test("as", self.one(source), self.names(kind))

    def f_is(self, source: Items, scope: Scope, tree: s.Call, kind: s.Expression) -> Items:
        return self.type_test("is", self.one(source), self.names(kind))

    def f_extension(self, source: Items, scope: Scope, tree: s.Call, url: s.Expression) -> Items:
        wanted = self.single(self.value(url, scope))
        found = [x for item in source for x in self.children(item, "extension")]
        return [x for x in found if x.value.get("url") == wanted]

    def f_hasValue(self, source: Items, *_: Any) -> Items:
        if len(source) != 1:
            return made(False)
        value = system(source[0]) if not isinstance(source[0].value, dict) else None
        return made(value is not None)

    def f_trace(self, source: Items, *_: Any) -> Items:
        return source

    def f_children(self, source: Items, *_: Any) -> Items:
        return [child for item in source for child in self.all_children(item)]

    def f_descendants(self, source: Items, *_: Any) -> Items:
        out: Items = []
        level = source
        while level:
            level = self.f_children(level)
            out += level
        return out

    def f_repeat(self, source: Items, scope: Scope, tree: s.Call, argument: s.Expression) -> Items:
        out: Items = []
        queue = list(source)
        while queue:
            item = queue.pop(0)
            found = self.asked(argument, replace(scope, this=[item], row=self.place(item, 0)))
            for item in found:
                if not self.within(item, out):
                    out.append(item)
                    queue.append(item)
        return out

    def f_aggregate(self, source: Items, scope: Scope, tree: s.Call, step: s.Expression, *start: s.Expression) -> Items:
        total = self.value(start[0], scope) if start else []
        for index, item in enumerate(source):
            inner = replace(scope, this=[item], index=index, total=total, row=self.place(item, index))
            total = self.value(step, inner)
        return total

    def text(self, source: Items) -> str | None:
        found = self.single(source)
        if found is not None and not isinstance(found, str):
            raise Failed("no text")
        return found

    def f_startsWith(self, source: Items, scope: Scope, tree: s.Call, other: s.Expression) -> Items:
        a, b = self.text(source), self.text(self.value(other, scope))
        return made(None if a is None or b is None else a.startswith(b))

    def f_upper(self, source: Items, *_: Any) -> Items:
        found = self.text(source)
        return made(None if found is None else found.upper())

    def f_length(self, source: Items, *_: Any) -> Items:
        found = self.text(source)
        return made(None if found is None else len(found))

    def f_convertsToInteger(self, source: Items, *_: Any) -> Items:
        found = self.single(source)
        if found is None:
            return []
        if isinstance(found, str):
            return made(found.lstrip("+-").isdigit())
        return made(isinstance(found, (bool, int)))

    def f_join(self, source: Items, scope: Scope, tree: s.Call, *separator: s.Expression) -> Items:
        between = self.text(self.value(separator[0], scope)) if separator else ""
        return made((between or "").join(self.known(source)))

    def f_today(self, *_: Any) -> Items:
        return made(Date(self.now.year, self.now.month, self.now.day))


_LITERAL: dict[str, Callable[[str], Any]] = {
    "Boolean": lambda text: text == "true",
    "Integer": int,
    "Long": int,
    "Decimal": Decimal,
    "String": str,
    "Date": Date.parse,
    "DateTime": DateTime.parse,
    "Time": Time.parse,
}


def truth(items: Items, empty: bool | None) -> bool | None:
    """The result as the truth of a criterion: that of its Booleans where they agree, else whether there is something."""
    found = {system(item) for item in items if item.type in ("System.Boolean", "FHIR.boolean")}
    if found:
        return found.pop() if len(found) == 1 else None
    return True if items else empty


@dataclass(frozen=True)
class Answer:
    """What a criterion comes to: true, false or unknown; whether it failed as it stands; how many rows were in doubt."""

    value: bool | None
    failed: bool = False
    doubts: int = 0


def answer(
    tree: s.Expression, model: Model, resources: list[dict[str, Any]], now: dt.datetime, empty: bool | None
) -> Answer:
    """The answer in every world; `empty` is what no item means. Raises TooMany, Unsupported."""

    def world(keep: frozenset[Any]) -> tuple[bool | None, dict[Any, None]]:
        interpreter = Interpreter(model, resources, now, keep)
        try:
            items = interpreter.run(tree)
        except RecursionError:
            raise Failed from None
        return truth(items, empty), interpreter.doubts

    try:
        first, found = world(frozenset())
    except Failed:
        return Answer(None, True)
    doubts = dict(found)
    tried = {frozenset[Any]()}
    while True:
        if len(doubts) > MOST:
            raise TooMany
        fresh = [keep for keep in subsets(list(doubts)) if keep not in tried]
        if not fresh:
            return Answer(first, False, len(doubts))
        for keep in fresh:
            tried.add(keep)
            try:
                value, more = world(keep)
            except Failed:
                return Answer(None, False, len(doubts))
            if value is not first:
                return Answer(None, False, len(doubts))
            doubts.update(more)


def subsets(keys: list[Any]) -> list[frozenset[Any]]:
    """All subsets."""
    return [frozenset(key for bit, key in enumerate(keys) if number >> bit & 1) for number in range(1 << len(keys))]
