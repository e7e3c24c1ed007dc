"""A reference interpreter for criteria in CQL: the typed tree evaluated node by node, with three values and rows in doubt.

It takes the typed tree of the translator and the scalar functions of the operators, and nothing of the emitter, of its analyses or of its fast paths.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.values.clinical import Code
from fhir_eligibility.algebra.values.element import Element
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.compiler.elm import nodes
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import IntervalType, Named
from fhir_eligibility.compiler.runtime import fhir_values as fhir
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from tests.paths.fhirpath_reference import MOST, Answer, Failed, TooMany, Unsupported, subsets

Resource = dict[str, Any]


class Interpreter:
    """Evaluates one expression over one patient's resources in one world, in which the doubts `keep` are kept."""

    def __init__(self, resources: list[Resource], now: dt.datetime, keep: frozenset[Any]) -> None:
        self.resources = resources
        self.patient = next((r for r in resources if r["resourceType"] == "Patient"), None)
        self.request = Patient(Run(now), self.patient, resources)
        self.keep = keep
        self.doubts: dict[Any, None] = {}
        self.aliases: dict[int, Any] = {}

    def doubt(self, *key: Any) -> bool:
        self.doubts.setdefault(key)
        return key in self.keep

    def about(self, node: Any) -> tuple[Any, ...]:
        """The items that a condition is about."""
        scopes = sorted({x.scope for x in node.walk() if x.kind == "AliasRef"} & self.aliases.keys())
        return tuple(id(self.aliases[scope]) for scope in scopes)

    def holds(self, node: Any, site: Any) -> bool:
        """Whether a condition holds in this world."""
        found = self.value(node)
        return found is True or (found is None and self.doubt("condition", site, self.about(node)))

    def value(self, node: Any) -> Any:
        handler: Callable[[Node], Any] | None = getattr(self, f"_{node.kind}", None)
        if handler is not None:
            return handler(node)
        if not isinstance(node, nodes.Operation):
            raise Unsupported(node.kind)
        overload = node.overload
        values = [self.value(operand) for operand in node.operands]
        if overload.nulls == "propagate" and any(value is None for value in values):
            return None
        arguments = [self.request, *values] if overload.context else values
        if overload.precise and node.precision is not None:
            arguments.append(node.precision)
        try:
            return overload.function(*arguments)
        except EvaluationError as error:
            raise Failed(str(error)) from None

    # -- leaves and data

    def _Literal(self, node: Any) -> Any:
        return node.value

    def _Null(self, node: Any) -> Any:
        return None

    def _Today(self, node: Any) -> Any:
        return self.request.run.today

    def _Now(self, node: Any) -> Any:
        return self.request.run.now

    def _CodeRef(self, node: Any) -> Any:
        return node.exported.value

    def _ExpressionRef(self, node: Any) -> Any:
        if node.name != "Patient":
            raise Unsupported("reference")
        return self.patient

    def _AliasRef(self, node: Any) -> Any:
        return self.aliases[node.scope]

    def _ModelRetrieve(self, node: Any) -> list[Resource]:
        spec = node.spec
        rows = [r for r in self.resources if r["resourceType"] == spec.resource_type]
        if not node.operands:
            return rows
        asked = self.value(node.operands[0])
        wanted = [asked] if isinstance(asked, Code) else list(asked)
        return [row for row in rows if self.coded(row, wanted)]

    def coded(self, row: Resource, wanted: list[Code]) -> bool:
        """Whether a row has one of some codes; one without its system, or without its code, leaves it in doubt."""
        codings = (row.get("code") or {}).get("coding") or []
        pairs = [(coding.get("system"), coding.get("code")) for coding in codings]
        if any((code.system, code.code) in pairs for code in wanted):
            return True
        lost = [code.code for code in wanted if (None, code.code) in pairs or (code.system, None) in pairs]
        lost += [code for code in pairs if code == (None, None)]
        return bool(lost) and self.doubt("code", id(row), tuple((code.system, code.code) for code in wanted))

    def _ModelProperty(self, node: Any) -> Any:
        owner = self.value(node.operands[0])
        if owner is None:
            return None
        names = node.element.json
        if len(names) == 1:
            return owner.get(names[0][0])
        found = [Element(owner[name], kind) for name, kind in names if owner.get(name) is not None]
        return found[0] if found else None

    def _As(self, node: Any) -> Any:
        value, wanted = self.value(node.operands[0]), node.target
        if not isinstance(wanted, Named) or not isinstance(value, Element):
            return value if value is None or node.retype else self.unknown_cast(node)
        return value.value if value.type == wanted.name.partition(".")[2] else None

    def unknown_cast(self, node: Any) -> Any:
        raise Unsupported("As")

    def _Is(self, node: Any) -> Any:
        value, wanted = self.value(node.operands[0]), node.target
        return isinstance(value, Element) and value.type == wanted.name.partition(".")[2]

    def _ModelConversion(self, node: Any) -> Any:
        value, target = self.value(node.operands[0]), node.target
        if value is None:
            return None
        try:
            if isinstance(target, IntervalType):
                return fhir.to_period(self.request, value)
            name = target.name.partition(".")[2]
            if name == "DateTime":
                return self.request.recorded(value)
            return getattr(fhir, f"to_{'text' if name == 'String' else name.lower()}")(value)
        except (EvaluationError, AttributeError, TypeError) as error:
            raise Failed(str(error)) from None

    def _Box(self, node: Any) -> Any:
        return self.value(node.operands[0])

    # -- logic

    def _And(self, node: Any) -> Any:
        left = self.value(node.operands[0])
        if left is False:
            return False
        right = self.value(node.operands[1])
        return False if right is False else None if left is None or right is None else True

    def _Or(self, node: Any) -> Any:
        left = self.value(node.operands[0])
        if left is True:
            return True
        right = self.value(node.operands[1])
        return True if right is True else None if left is None or right is None else False

    def _Xor(self, node: Any) -> Any:
        left, right = map(self.value, node.operands)
        return None if left is None or right is None else left is not right

    def _Implies(self, node: Any) -> Any:
        left = self.value(node.operands[0])
        if left is False:
            return True
        right = self.value(node.operands[1])
        return right if left is True else True if right is True else None

    def _Not(self, node: Any) -> Any:
        value = self.value(node.operands[0])
        return None if value is None else not value

    def _If(self, node: Any) -> Any:
        test, yes, no = node.operands
        return self.value(yes if self.holds(test, id(node)) else no)

    # -- lists

    def _List(self, node: Any) -> Any:
        return [self.value(operand) for operand in node.operands]

    def _Interval(self, node: Any) -> Any:
        low, high = map(self.value, node.operands)
        return Interval(low, high, node.low_closed, node.high_closed)

    def _Query(self, node: Any) -> Any:
        if len(node.sources) != 1 or node.lets or node.aggregate or node.sort or node.returned is not None:
            raise Unsupported("query")
        (source,) = node.sources
        rows = self.value(source.node)
        if rows is None:
            return None
        out = []
        for row in rows:
            self.aliases[source.scope] = row
            if all(self.relation(one) for one in node.relations) and (
                node.where is None or self.holds(node.where, id(node))
            ):
                out.append(row)
        self.aliases.pop(source.scope, None)
        return out

    def relation(self, relation: nodes.Relation) -> bool:
        """Whether some row is related, or for `without` none is."""
        found = False
        for row in self.value(relation.node) or ():
            self.aliases[relation.scope] = row
            if self.holds(relation.condition, id(relation.condition)):
                found = True
        self.aliases.pop(relation.scope, None)
        return found is (relation.kind == "with")


def answer(node: Any, resources: list[Resource], now: dt.datetime) -> Answer:
    """The answer of a Boolean in every world. Raises TooMany, Unsupported."""

    def world(keep: frozenset[Any]) -> tuple[Any, dict[Any, None]]:
        interpreter = Interpreter(resources, now, keep)
        return interpreter.value(node), interpreter.doubts

    try:
        first, found = world(frozenset())
    except Failed:
        return Answer(None, True)
    doubts, tried = dict(found), {frozenset[Any]()}
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
