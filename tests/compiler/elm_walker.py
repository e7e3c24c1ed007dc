"""A small evaluator that walks typed ELM nodes: the plain meaning of each, against which emitted Python is held.

No code is generated and nothing is analysed beforehand: null propagates where an overload says so, logic is Kleene's, queries are loops.

A strict walker evaluates what CQL has evaluate: all operands, all rows; only the right side of a decided `and`, `or`, `implies` and
the branches not taken are left out. A lenient one passes an error over where another operand decides, a null or a decisive one, where
a row found ends the search, and in a `let` that nothing uses. What is evaluated in which order is the compiler's choice between both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cmp_to_key
from typing import Any

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.operators.datetimes import component, make_date, make_datetime, make_time
from fhir_eligibility.algebra.operators.equality import sign
from fhir_eligibility.algebra.operators.lists import distinct
from fhir_eligibility.algebra.temporal import DateTime
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.algebra.values.clinical import Tuple
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.algebra.values.points import Long
from fhir_eligibility.compiler.elm import nodes
from fhir_eligibility.compiler.elm.elements import descendents, element_of
from fhir_eligibility.compiler.elm.types import IntervalType, ListType, Named
from fhir_eligibility.compiler.runtime.cql import (
    MISSING,
    Run,
    convert_interval,
    with_point,
)
from fhir_eligibility.compiler.runtime.instances import new_instance
from fhir_eligibility.compiler.runtime.type_tests import TypeOfValue, cast_to
from fhir_eligibility.compiler.translate.cql_library import TypedLibrary


class Failure:
    """An error in place of a value."""

    def __init__(self, error: EvaluationError) -> None:
        self.error = error


class Walker:
    """Evaluates the defines of one library without included ones."""

    def __init__(self, typed: TypedLibrary, run: Run, lenient: bool = False) -> None:
        self.run = run
        self.lenient = lenient
        self.parameters = {d.exported.name: d.node for d in typed.parameters}
        self.defines = {d.exported.name: d.node for d in typed.defines}
        self.functions = {id(f.exported): f for f in typed.functions}
        self.values: dict[str, Any] = {}

    def define(self, name: str) -> Any:
        if name not in self.values:
            node = self.defines[name]
            assert node is not None
            try:
                self.values[name] = self.walk(node, {})
            except EvaluationError as error:
                self.values[name] = Failure(error)
        if self.values[name].__class__ is Failure:
            raise self.values[name].error
        return self.values[name]

    def walk(self, node: Any, scope: dict[int, Any]) -> Any:
        handler = getattr(self, f"on_{node.kind.lower()}", None)
        if handler is not None:
            return handler(node, scope)
        return self.operator(node, scope)

    def operator(self, node: Any, scope: dict[int, Any]) -> Any:
        overload = node.overload
        operands = self.operands(node, scope)
        if overload.nulls == "propagate" and any(o is None for o in operands):
            return None
        for operand in operands:
            if operand.__class__ is Failure:
                raise operand.error
        if not node.traits.ranges:
            operands = [p.certain(o, node.kind) for o in operands]
        arguments = [self.run, *operands] if overload.context else operands
        if overload.precise and node.precision is not None:
            arguments = [*arguments, node.precision]
        return overload.function(*arguments)

    def operands(self, node: Any, scope: dict[int, Any]) -> list[Any]:
        """The values of the operands; of a lenient walker a Failure where one cannot be told."""
        return [self.tried(o, scope) for o in node.operands]

    def tried(self, node: Any, scope: dict[int, Any]) -> Any:
        if not self.lenient:
            return self.walk(node, scope)
        try:
            return self.walk(node, scope)
        except EvaluationError as error:
            return Failure(error)

    # -- leaves

    def on_null(self, node: Any, scope: dict[int, Any]) -> Any:
        return None

    def on_literal(self, node: Any, scope: dict[int, Any]) -> Any:
        value = node.value
        return self.run.at(value) if isinstance(value, DateTime) else value

    def on_minvalue(self, node: Any, scope: dict[int, Any]) -> Any:
        return p.minimum(node.point)

    def on_maxvalue(self, node: Any, scope: dict[int, Any]) -> Any:
        return p.maximum(node.point)

    def on_now(self, node: Any, scope: dict[int, Any]) -> Any:
        return self.run.now

    def on_today(self, node: Any, scope: dict[int, Any]) -> Any:
        return self.run.today

    def on_timeofday(self, node: Any, scope: dict[int, Any]) -> Any:
        return self.run.time_of_day

    def local(self, node: Any, scope: dict[int, Any]) -> Any:
        found = scope[node.scope]
        if found.__class__ is Failure:
            raise found.error
        return found

    on_aliasref = on_queryletref = on_operandref = on_chosen = local

    def on_expressionref(self, node: Any, scope: dict[int, Any]) -> Any:
        return self.define(node.name)

    def on_parameterref(self, node: Any, scope: dict[int, Any]) -> Any:
        name = node.exported.name
        given = self.run.parameter("", name)
        default = self.parameters[name]
        return given if given is not MISSING else None if default is None else self.walk(default, {})

    def on_coderef(self, node: Any, scope: dict[int, Any]) -> Any:
        return node.exported.value

    on_conceptref = on_codesystemref = on_valuesetref = on_coderef

    def on_functionref(self, node: Any, scope: dict[int, Any]) -> Any:
        function = self.functions[id(node.exported)]
        operands = [self.walk(o, scope) for o in node.operands]
        return self.walk(function.node, dict(zip(function.scopes, operands, strict=True)))

    # -- logic

    def kleene(self, node: Any, scope: dict[int, Any], deciding: tuple[bool, bool], decided: bool) -> Any:
        """Logic of two operands: where the left, or else the right, is what decides, that is the answer."""
        left = self.tried(node.operands[0], scope)
        if left is deciding[0]:
            return decided
        right = self.tried(node.operands[1], scope)
        if right is deciding[1]:
            return decided
        if self.lenient and node.kind == "And" and left is None and right.__class__ is Failure:
            return None  # as a condition this is not true, whatever the right side
        for side in (left, right):
            if side.__class__ is Failure:
                raise side.error
        return None if left is None or right is None else not decided

    def on_and(self, node: Any, scope: dict[int, Any]) -> Any:
        return self.kleene(node, scope, (False, False), False)

    def on_or(self, node: Any, scope: dict[int, Any]) -> Any:
        return self.kleene(node, scope, (True, True), True)

    def on_implies(self, node: Any, scope: dict[int, Any]) -> Any:
        return self.kleene(node, scope, (False, True), True)

    def on_xor(self, node: Any, scope: dict[int, Any]) -> Any:
        a, b = self.operands(node, scope)
        if a is None or b is None:
            return None
        for side in (a, b):
            if side.__class__ is Failure:
                raise side.error
        return a is not b

    def on_not(self, node: Any, scope: dict[int, Any]) -> Any:
        value = self.walk(node.operands[0], scope)
        return None if value is None else not value

    def on_if(self, node: Any, scope: dict[int, Any]) -> Any:
        for test, result in zip(node.operands[:-1:2], node.operands[1:-1:2], strict=True):
            if self.walk(test, scope) is True:
                return self.walk(result, scope)
        return self.walk(node.operands[-1], scope)

    def on_case(self, node: Any, scope: dict[int, Any]) -> Any:
        comparand = node.comparand
        if comparand is not None:
            scope = {**scope, node.scope: self.walk(comparand, scope)}
        for test, result in zip(node.operands[:-1:2], node.operands[1:-1:2], strict=True):
            if self.walk(test, scope) is True:
                return self.walk(result, scope)
        return self.walk(node.operands[-1], scope)

    def on_coalesce(self, node: Any, scope: dict[int, Any]) -> Any:
        if node.over_list:
            return next((x for x in self.walk(node.operands[0], scope) or () if x is not None), None)
        for operand in node.operands:
            value = self.walk(operand, scope)
            if value is not None:
                return value
        return None

    def on_message(self, node: Any, scope: dict[int, Any]) -> Any:
        return self.run.message(*(self.walk(o, scope) for o in node.operands))

    # -- structures

    def on_list(self, node: Any, scope: dict[int, Any]) -> Any:
        return [self.walk(o, scope) for o in node.operands]

    def on_interval(self, node: Any, scope: dict[int, Any]) -> Any:
        low, high = (self.walk(o, scope) for o in node.operands[:2])
        return Interval(low, high, node.low_closed, node.high_closed, _point(node.result))

    def on_tuple(self, node: Any, scope: dict[int, Any]) -> Any:
        return Tuple({n: self.walk(o, scope) for n, o in zip(node.names, node.operands, strict=True)})

    def on_instance(self, node: Any, scope: dict[int, Any]) -> Any:
        values = {n: self.walk(o, scope) for n, o in zip(node.names, node.operands, strict=True)}
        return new_instance(node.target.name, values)

    def on_datetime(self, node: Any, scope: dict[int, Any]) -> Any:
        return make_datetime(self.run, *(self.walk(o, scope) for o in node.operands))

    def on_date(self, node: Any, scope: dict[int, Any]) -> Any:
        return make_date(*(self.walk(o, scope) for o in node.operands))

    def on_time(self, node: Any, scope: dict[int, Any]) -> Any:
        return make_time(*(self.walk(o, scope) for o in node.operands))

    def on_elementof(self, node: Any, scope: dict[int, Any]) -> Any:
        value, path = self.walk(node.operands[0], scope), node.path
        if value is None:
            return None
        if node.owner == "any":
            return element_of(value, path)
        if node.owner == "tuple":
            return value[path]
        if node.owner == "interval":
            return getattr(value, {"lowClosed": "low_closed", "highClosed": "high_closed"}.get(path, path))
        found = getattr(value, path)
        return list(found) if isinstance(node.result, ListType) else found

    # -- types

    def on_is(self, node: Any, scope: dict[int, Any]) -> Any:
        return TypeOfValue(node.target)(self.walk(node.operands[0], scope))

    def on_as(self, node: Any, scope: dict[int, Any]) -> Any:
        value, kind = self.walk(node.operands[0], scope), node.target
        if node.retype:
            known = isinstance(kind, IntervalType) and _point(kind) != "Any"
            return with_point(value, _point(kind)) if known and value is not None else value
        test = TypeOfValue(kind)
        if node.strict:
            return cast_to(value, test)
        return value if test(value) else None

    def on_box(self, node: Any, scope: dict[int, Any]) -> Any:
        value = self.walk(node.operands[0], scope)
        if value is None:
            return None
        if node.each_item:
            return [None if x is None else Long(x) for x in value]
        return Long(value)

    def on_tolist(self, node: Any, scope: dict[int, Any]) -> Any:
        value = self.walk(node.operands[0], scope)
        return [] if value is None else [value]

    def on_canconvert(self, node: Any, scope: dict[int, Any]) -> Any:
        if self.walk(node.operands[0].operands[0], scope) is None:
            return None
        return self.walk(node.operands[0], scope) is not None

    def on_members(self, node: Any, scope: dict[int, Any]) -> Any:
        value = self.walk(node.operands[0], scope)
        for kind, inner in node.options:
            if TypeOfValue(kind)(value):
                return self.walk(inner, {**scope, node.scope: value})
        return None

    def on_convertinterval(self, node: Any, scope: dict[int, Any]) -> Any:
        value = self.walk(node.operands[0], scope)
        if value is None:
            return None

        def bound(point: Any) -> Any:
            return self.walk(node.inner, {**scope, node.scope: point})

        return convert_interval(value, bound, _point(node.result))

    def on_datetimecomponentfrom(self, node: Any, scope: dict[int, Any]) -> Any:
        value = self.walk(node.operands[0], scope)
        return None if value is None else component(value, node.precision)

    def on_descendents(self, node: Any, scope: dict[int, Any]) -> Any:
        return descendents(self.walk(node.operands[0], scope), node.deep)

    # -- queries

    def on_exists(self, node: Any, scope: dict[int, Any]) -> Any:
        (operand,) = node.operands
        if self.lenient and operand.kind == "Query" and operand.aggregate is None and operand.over_lists:
            return any(row is not None for row in self.each(operand, scope))
        return self.operator(node, scope)

    def each(self, node: Any, scope: dict[int, Any]) -> Iterator[Any]:
        """The elements of a list, one after the other; those of a query without waiting for the rest."""
        if (
            node.kind == "Query"
            and node.over_lists
            and node.aggregate is None
            and node.sort is None
            and not node.distinct
        ):
            for row in self.rows(node, None, scope):
                yield self.walk(node.returned, row) if node.returned is not None else row[node.sources[0].scope]
        else:
            yield from self.walk(node, scope) or ()

    def on_query(self, node: Any, scope: dict[int, Any]) -> Any:
        if self.lenient and node.aggregate is not None:
            return self.aggregate(node.aggregate, self.rows(node, None, scope), node, scope)
        several = self.lenient and len(node.sources) > 1
        sources = None if several else [self.walk(s.node, scope) for s in node.sources]
        if node.aggregate is None and sources is not None and sources == [None]:
            return None
        rows = list(self.rows(node, sources, scope))
        if node.aggregate is not None:
            return self.aggregate(node.aggregate, rows, node, scope)
        alias = node.sources[0].scope
        out = [self.walk(node.returned, row) if node.returned is not None else row[alias] for row in rows]
        if not node.over_lists:
            return out[-1] if out else None
        if node.distinct:
            out = distinct(out)
        return out if node.sort is None else self.sorted(out, node.sort, scope)

    def rows(self, node: Any, sources: list[Any] | None, scope: dict[int, Any]) -> Iterator[dict[int, Any]]:
        """Every combination of source elements that the clauses keep, with its aliases and lets; sources not given are read as needed."""

        def combine(index: int, row: dict[int, Any]) -> Iterator[dict[int, Any]]:
            if index == len(node.sources):
                yield row
                return
            source = node.sources[index]
            listed = isinstance(source.node.result, ListType)
            if sources is None:
                items: Any = self.each(source.node, scope) if listed else [self.walk(source.node, scope)]
            else:
                items = (sources[index] or ()) if listed else [sources[index]]
            for item in items:
                yield from combine(index + 1, {**row, source.scope: item})

        for row in combine(0, dict(scope)):
            for let in node.lets:
                row[let.scope] = self.tried(let.node, row)
            if all(self.related(relation, row) for relation in node.relations):
                if node.where is None or self.walk(node.where, row) is True:
                    yield row

    def related(self, relation: nodes.Relation, row: dict[int, Any]) -> bool:
        items: Any
        if isinstance(relation.node.result, ListType):
            items = self.each(relation.node, row) if self.lenient else self.walk(relation.node, row)
        else:
            found = self.walk(relation.node, row)
            items = [] if found is None else [found]
        kept = any(self.walk(relation.condition, {**row, relation.scope: x}) is True for x in items or ())
        return kept is (relation.kind == "with")

    def aggregate(
        self, aggregate: nodes.Aggregation, rows: Iterable[dict[int, Any]], node: Any, scope: dict[int, Any]
    ) -> Any:
        if aggregate.distinct:
            keys = [s.scope for s in (*node.sources, *node.lets)]
            lists = [Tuple({str(k): row[k] for k in keys if k in row}) for row in rows]
            kept: list[Any] = distinct(lists)
            rows = [{**scope, **{int(k): value for k, value in item.items()}} for item in kept]
        total = self.walk(aggregate.starting, scope)
        for row in rows:
            total = self.walk(aggregate.value, {**row, aggregate.scope: total})
        return total

    def sorted(self, rows: list[Any], items: list[dict[str, Any]], scope: dict[int, Any]) -> list[Any]:
        for item in reversed(items):
            key: Callable[[Any], Any] = lambda row: row  # noqa: E731
            if item.key is not None:
                key = lambda row, item=item: self.walk(item.key, {**scope, item.scope: row})  # noqa: E731
            order = cmp_to_key(sign)
            rows = sorted(rows, key=lambda row, key=key, order=order: order(key(row)), reverse=item.descending)  # type: ignore[misc]
        return rows


def _point(kind: Any) -> str:
    point = kind.point if isinstance(kind, IntervalType) else kind
    return point.name.removeprefix("System.") if isinstance(point, Named) else "Any"
