"""CQL syntax to typed ELM: expressions (CQL: "Translation Semantics"). What names mean comes from `names`, timing phrases from `timing`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.ucum import UnitError, alias, parse_unit
from fhir_eligibility.algebra.values.clinical import Ratio
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.scope import Scope
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.syntax.nodes import Expression
from fhir_eligibility.compiler.translate.abort import Abort
from fhir_eligibility.compiler.translate.cql_calls import CallTranslator
from fhir_eligibility.compiler.translate.overloads import in_decimals

_SYMBOLS = {
    "+": "Add", "-": "Subtract", "*": "Multiply", "/": "Divide", "div": "TruncatedDivide", "mod": "Modulo", "^": "Power",
    "<": "Less", "<=": "LessOrEqual", ">": "Greater", ">=": "GreaterOrEqual", "|": "Union", "union": "Union",
    "intersect": "Intersect", "except": "Except",
}  # fmt: skip
_PREFIXES = {
    "start of": "Start", "end of": "End", "width of": "Width", "successor of": "Successor",
    "predecessor of": "Predecessor", "singleton from": "SingletonFrom", "point from": "PointFrom",
    "distinct": "Distinct", "flatten": "Flatten", "exists": "Exists", "date from": "DateFrom", "time from": "TimeFrom",
    "timezoneoffset from": "TimezoneOffsetFrom", "timezone from": "TimezoneOffsetFrom",
}  # fmt: skip
_LIMITS = {"Integer": 2147483647, "Long": 9223372036854775807}
_MAX_DECIMAL_DIGITS = 28
_UNORDERED = (t.BOOLEAN, t.CODE, t.CONCEPT)
_TEMPORAL_LITERALS: dict[str, Callable[[str], Any]] = {
    "Date": Date.parse,
    "DateTime": DateTime.parse,
    "Time": Time.parse,
}


class CqlTranslator(CallTranslator):
    """Expressions. `expression` is the door."""

    def expression(self, tree: Expression, scope: Scope) -> Node:
        """The node for a syntax tree. Raises Abort after reporting what is wrong."""
        handler = _HANDLERS.get(tree.__class__)
        if handler is None:
            raise self.fail("unsupported", f"{tree.__class__.__name__} cannot stand here", tree.span)
        with self.sized(tree.span):
            node = handler(self, tree, scope)
        node.span = tree.span if node.span is None else node.span
        return node

    def expressions(self, trees: tuple[Expression, ...], scope: Scope) -> list[Node]:
        """Nodes for several trees; the problems of all are reported before it gives up."""
        found: list[Node] = []
        failed: Abort | None = None
        for tree in trees:
            try:
                found.append(self.expression(tree, scope))
            except Abort as abort:
                failed = abort
        if failed is not None:
            raise failed
        return found

    # -- literals

    def null_literal(self, tree: c.NullLiteral, scope: Scope) -> Node:
        return self.null(tree.span)

    def parenthesized(self, tree: c.Parenthesized, scope: Scope) -> Node:
        return self.expression(tree.inner, scope)

    def literal_of(self, tree: s.LiteralTerm, scope: Scope) -> Node:
        kind, text = tree.kind, tree.text
        if kind == "Boolean":
            return self.literal(text == "true", t.BOOLEAN, tree.span)
        if kind == "String":
            return self.literal(text, t.STRING, tree.span)
        if kind in _LIMITS:
            value = int(text)
            limit = _LIMITS[kind]
            if value > limit and not (self.negated and value == limit + 1):
                hint = "write it with an L as a Long" if kind == "Integer" and value <= _LIMITS["Long"] else None
                raise self.fail("literal", f"{text} is too large for {kind}: at most {limit}", tree.span, hint)
            return self.literal(value, t.system(kind), tree.span)
        if kind == "Decimal":
            return self.literal(self.decimal(text, tree.span), t.DECIMAL, tree.span)
        return self.temporal_literal(kind, text, tree.span)

    def decimal(self, text: str, span: Span, *, scale: bool = True) -> Decimal:
        whole, _, fraction = text.partition(".")
        if (scale and len(fraction) > 8) or len(whole.lstrip("0")) > _MAX_DECIMAL_DIGITS:
            message = f"expected a Decimal of at most 28 digits, 8 of them behind the point, found {text}"
            raise self.fail("literal", message, span)
        return Decimal(text)

    def temporal_literal(self, kind: str, text: str, span: Span) -> Node:
        try:
            value = _TEMPORAL_LITERALS[kind](text)
        except ValueError as error:
            raise self.fail("literal", f"@{text} is not a valid {kind}: {error}", span) from None
        return self.literal(value, t.system(kind), span)

    def quantity_literal(self, tree: s.QuantityLiteral, scope: Scope) -> Node:
        value = self.decimal(tree.number, tree.span, scale=False)
        unit = tree.unit
        if not tree.calendar:
            try:
                parse_unit(unit)
            except UnitError:
                meant = alias(unit)
                hint = f"the UCUM code is {meant!r}" if meant else "units are UCUM codes, such as 'mg/dL'"
                message = f"expected a UCUM unit, found {unit!r}; comparing with another unit gives null"
                self.report("unit", message, tree.span, hint, warning=True)
        return self.literal(Quantity(value, unit, tree.calendar), t.QUANTITY, tree.span)

    def ratio_literal(self, tree: c.RatioLiteral, scope: Scope) -> Node:
        parts = [self.to(self.expression(x, scope), t.QUANTITY) for x in (tree.numerator, tree.denominator)]
        values = [
            n.constant(p) if isinstance(p, n.Literal) else Quantity(Decimal(n.constant(p.operands[0]))) for p in parts
        ]
        return self.literal(Ratio(values[0], values[1]), t.RATIO, tree.span)

    # -- operators

    negated = False

    def unary(self, tree: s.Unary, scope: Scope) -> Node:
        negative = tree.operator == "-"
        self.negated = negative and isinstance(tree.operand, s.LiteralTerm)
        try:
            operand = self.expression(tree.operand, scope)
        finally:
            self.negated = False
        if not negative:
            if not isinstance(operand, n.Null):
                self.op("Negate", [operand], tree.span)
            return operand
        if isinstance(operand, n.Literal) and operand.result in (t.INTEGER, t.LONG, t.DECIMAL):
            return replace(operand, value=-operand.value, span=tree.span)
        if isinstance(operand, n.Literal) and operand.result == t.QUANTITY:
            value = operand.value
            return replace(operand, value=Quantity(-value.value, value.unit, value.calendar), span=tree.span)
        return self.op("Negate", [operand], tree.span, shown="-")

    def binary(self, tree: s.Binary, scope: Scope) -> Node:
        operator = tree.operator
        left, right = self.expressions((tree.left, tree.right), scope)
        if operator in ("and", "or", "xor", "implies"):
            return self.logical(operator.capitalize(), (left, right), tree.span)
        if operator == "&":
            both = [
                self.coalesced(self.to(x, t.STRING), self.literal("", t.STRING, x.span), tree.span)
                for x in (left, right)
            ]
            return self.op("Concatenate", both, tree.span)
        if operator == "+" and (left.result == t.STRING or right.result == t.STRING):
            return self.op("Concatenate", [left, right], tree.span, shown="+")
        if operator in ("=", "!="):
            return self.equality(operator, left, right, tree.span)
        if operator in ("~", "!~"):
            node = self.op("Equivalent", [left, right], tree.span, shown=operator)
            return node if operator == "~" else n.Not((node,), span=tree.span, result=t.BOOLEAN)
        name = _SYMBOLS[operator]
        if name in ("Union", "Intersect", "Except"):
            return self.set_operation(name, left, right, tree.span)
        if name == "Power" and isinstance(right, n.Literal) and right.result == t.INTEGER and right.value < 0:
            left, right = self.to(left, t.DECIMAL), self.to(right, t.DECIMAL)
        return self.op(name, [left, right], tree.span, shown=operator)

    def coalesced(self, node: Node, default: Node, span: Span | None) -> Node:
        return n.Coalesce((node, default), span=span, result=node.result)

    def equality(self, operator: str, left: Node, right: Node, span: Span) -> Node:
        node = self.op("Equal", [left, right], span, shown=operator)
        return node if operator == "=" else n.Not((node,), span=span, result=t.BOOLEAN)

    def set_operation(self, name: str, left: Node, right: Node, span: Span) -> Node:
        if left.result == t.ANY and right.result == t.ANY:
            return self.null(span)
        return self.op(name, [left, right], span)

    def operation(self, tree: c.NamedOperator, scope: Scope) -> Node:
        """An operator by its ELM name."""
        operands = self.expressions(tree.operands, scope)
        name = tree.name
        if name in ("And", "Or", "Xor", "Implies", "Not"):
            return self.logical(name, operands, tree.span)
        if name == "ToList":
            return n.ToList(tuple(operands), span=tree.span, result=t.ListType(operands[0].result))
        if name == "Exists" and isinstance(operands[0], n.Null):
            return self.literal(False, t.BOOLEAN, tree.span)
        return self.op(name, operands, tree.span, precision=tree.precision, shown=name)

    def prefix(self, tree: c.Prefix, scope: Scope) -> Node:
        operand = self.expression(tree.operand, scope)
        name = tree.operator
        if name == "not":
            return self.logical("Not", (operand,), tree.span)
        if name == "exists" and operand.result == t.ANY and isinstance(operand, n.Null):
            return self.literal(False, t.BOOLEAN, tree.span)
        if name in _PREFIXES:
            if name == "timezone from":
                self.report(
                    "deprecated",
                    "'timezone from' is from CQL 1.2",
                    tree.span,
                    "write 'timezoneoffset from'",
                    warning=True,
                )
            return self.op(_PREFIXES[name], [operand], tree.span, shown=name)
        return self.component_from(name.split()[0], operand, tree.span)

    def component_from(self, precision: str, operand: Node, span: Span) -> Node:
        kind = self.types.unwrapped(operand.result) or operand.result
        if isinstance(kind, t.ChoiceType):
            kind = next((o for o in (self.types.unwrapped(x) or x for x in kind.options) if o in t.TEMPORAL), kind)
        if kind == t.ANY:
            kind = t.DATETIME
        if kind not in t.TEMPORAL or precision == "week":
            raise self.fail("no-overload", f"{precision} from cannot take ({operand.result})", span)
        fitting = {t.TIME: ("hour", "minute", "second", "millisecond"), t.DATE: ("year", "month", "day")}
        if precision not in fitting.get(kind, (precision,)):
            raise self.fail("precision", f"a {kind} has no {precision}", span)
        return n.DateTimeComponentFrom((self.to(operand, kind),), precision=precision, span=span, result=t.INTEGER)

    def is_test(self, tree: c.IsTest, scope: Scope) -> Node:
        operand = self.expression(tree.operand, scope)
        name = {"null": "IsNull", "true": "IsTrue", "false": "IsFalse"}[tree.what]
        node = self.op(name, [operand], tree.span)
        return n.Not((node,), span=tree.span, result=t.BOOLEAN) if tree.negated else node

    def between(self, tree: c.Between, scope: Scope) -> Node:
        operand, low, high = self.expressions((tree.operand, tree.low, tree.high), scope)
        return self.lies_between((operand, low, high), tree.proper, tree.span)

    def lies_between(self, operands: Sequence[Node], proper: bool, span: Span) -> Node:
        operand, low, high = operands
        if self.differs_in_shape(operand):
            divided = self.by_alternative(operands, 0, lambda x: self.lies_between(x, proper, span), span)
            if divided is not None:
                return divided
        if self.is_interval(operand):
            interval = self.interval_of(low, high, True, True, span)
            return self.op("ProperIncludedIn" if proper else "IncludedIn", [operand, interval], span)
        names = ("Greater", "Less") if proper else ("GreaterOrEqual", "LessOrEqual")
        first = self.op(names[0], [operand, low], span, shown="between")
        second = self.op(names[1], [operand, high], span, shown="between")
        return n.And((first, second), span=span, result=t.BOOLEAN)

    def elapsed(self, tree: c.Elapsed, scope: Scope) -> Node:
        low = self.expression(tree.low, scope)
        if tree.high is None:
            if self.types.unwrapped(low.result) is not None:
                low = self.to(low, self.types.unwrapped(low.result))  # type: ignore[arg-type]
            low, high = self.op("Start", [low], tree.span), self.op("End", [low], tree.span)
        else:
            high = self.expression(tree.high, scope)
        name = "DurationBetween" if tree.kind == "duration" else "DifferenceBetween"
        return self.op(name, [low, high], tree.span, precision=tree.precision, shown=f"{tree.precision}s between")

    def cast(self, tree: c.Cast, scope: Scope) -> Node:
        operand, target = self.expression(tree.operand, scope), self.type_of(tree.type)
        if tree.operator == "is":
            return self.is_type(operand, target, tree.span)
        return self.as_type(operand, target, tree.span, strict=tree.operator == "cast")

    def convert_to(self, tree: c.Convert, scope: Scope) -> Node:
        operand = self.expression(tree.operand, scope)
        if tree.unit is not None:
            unit = self.literal(tree.unit, t.STRING, tree.span)
            return self.op("ConvertQuantity", [operand, unit], tree.span, shown="convert")
        assert tree.type is not None
        return self.conversion_to(operand, self.type_of(tree.type), tree.span)

    def extent(self, tree: c.Extent, scope: Scope) -> Node:
        target = self.type_of(tree.type)
        name = target.name.removeprefix("System.") if isinstance(target, t.Named) else ""
        if name not in ("Integer", "Long", "Decimal", "Quantity", "Date", "DateTime", "Time"):
            raise self.fail("no-overload", f"{target} has no {tree.operator}", tree.span)
        kind = n.MinValue if tree.operator == "minimum" else n.MaxValue
        return kind(target=target, point=name, span=tree.span, result=target)

    def membership(self, tree: c.Membership, scope: Scope) -> Node:
        left, right = self.expressions((tree.left, tree.right), scope)
        if tree.operator == "in" and right.result in (t.VALUESET, t.CODESYSTEM, t.VOCABULARY):
            return self.in_terminology(left, right, tree.span)
        if tree.operator == "contains" and left.result in (t.VALUESET, t.CODESYSTEM):
            return self.in_terminology(right, left, tree.span)
        return self.op(
            "In" if tree.operator == "in" else "Contains", [left, right], tree.span, precision=tree.precision
        )

    def in_terminology(self, code: Node, terminology: Node, span: Span) -> Node:
        any_ = "Any" if isinstance(code.result, t.ListType) else ""
        kind = "CodeSystem" if terminology.result == t.CODESYSTEM else "ValueSet"
        return self.op(f"{any_}In{kind}", [code, terminology], span, shown="in")

    def if_then(self, tree: c.IfThenElse, scope: Scope) -> Node:
        """One node for a whole chain: conditions and results by turns, what stands behind the last `else`, and each `if`'s span."""
        trees: list[Expression] = []
        spans = []
        rest: Expression = tree
        while isinstance(rest, c.IfThenElse):
            trees += [rest.condition, rest.then]
            spans.append(rest.span)
            rest = rest.otherwise
        nodes = self.expressions((*trees, rest), scope)
        kind = self.types.common([n.result for n in (nodes[-1], *reversed(nodes[1:-1:2]))])
        operands = [
            self.condition(n, "the condition of if") if i % 2 == 0 else self.to(n, kind)
            for i, n in enumerate(nodes[:-1])
        ]
        return n.If((*operands, self.to(nodes[-1], kind)), spans=tuple(spans), span=tree.span, result=kind)

    def case(self, tree: c.CaseExpression, scope: Scope) -> Node:
        trees = [x for item in tree.items for x in item] + [tree.otherwise]
        comparand = None if tree.comparand is None else self.expression(tree.comparand, scope)
        nodes = self.expressions(tuple(trees), scope)
        conditions, results = nodes[:-1:2], [*nodes[1::2], nodes[-1]]
        kind = self.types.common([r.result for r in results])
        results = [self.to(r, kind) for r in results]
        if comparand is None:
            tests = [self.condition(x, "a condition of case") for x in conditions]
            operands = tuple(x for pair in zip(tests, results, strict=False) for x in pair)
            return n.Case((*operands, results[-1]), span=tree.span, result=kind)
        scope_id = self.new_id()
        current = n.Chosen(scope=scope_id, span=comparand.span, result=comparand.result)
        tests = [self.op("Equal", [current, x], x.span, shown="case") for x in conditions]
        operands = tuple(x for pair in zip(tests, results, strict=False) for x in pair)
        return n.Case((*operands, results[-1]), comparand=comparand, scope=scope_id, span=tree.span, result=kind)

    # -- selectors

    def interval_selector(self, tree: c.IntervalSelector, scope: Scope) -> Node:
        low, high = self.expressions((tree.low, tree.high), scope)
        return self.interval_of(low, high, tree.low_closed, tree.high_closed, tree.span)

    def interval_of(self, low: Node, high: Node, low_closed: bool, high_closed: bool, span: Span) -> Node:
        for index, node in enumerate((low, high)):
            if isinstance(node.result, t.ChoiceType) and not isinstance(node, n.Null):

                def build(bounds: Sequence[Node]) -> Node:
                    return self.interval_of(bounds[0], bounds[1], low_closed, high_closed, span)

                divided = self.by_alternative((low, high), index, build, span)
                if divided is not None:
                    return divided
        low, high = (self.to(x, self.types.unwrapped(x.result) or x.result) for x in (low, high))
        point = self.types.common([low.result, high.result])
        if isinstance(point, (t.ListType, t.IntervalType, t.TupleType, t.ChoiceType)) or point in _UNORDERED:
            raise self.fail("type", f"an interval cannot run from {low.result} to {high.result}", span)
        return n.NewInterval(
            (self.to(low, point), self.to(high, point)),
            low_closed=low_closed,
            high_closed=high_closed,
            span=span,
            result=t.IntervalType(point),
        )

    def list_selector(self, tree: c.ListSelector, scope: Scope) -> Node:
        elements = self.expressions(tree.elements, scope)
        kind = self.type_of(tree.type) if tree.type is not None else self.types.common([e.result for e in elements])
        return n.List(tuple(self.to(e, kind) for e in elements), span=tree.span, result=t.ListType(kind))

    def instance(self, tree: c.InstanceSelector, scope: Scope) -> Node:
        names = [name for name, _, _ in tree.elements]
        for name, _, span in tree.elements:
            if names.count(name) > 1:
                raise self.fail("duplicate", f"the element {name!r} is given twice", span)
        values = self.expressions(tuple(value for _, value, _ in tree.elements), scope)
        if tree.type is None:
            kind: t.Type = t.TupleType(tuple((n, v.result) for n, v in zip(names, values, strict=True)))
            return n.NewTuple(tuple(values), names=tuple(names), span=tree.span, result=kind)
        kind = self.type_of(tree.type)
        if not isinstance(kind, t.Named):
            raise self.fail("type", f"{kind} has no elements to give", tree.span)
        if not kind.name.startswith("System."):
            return self.model_instance(tree, kind, values)
        converted = []
        for (name, _, span), value in zip(tree.elements, values, strict=True):
            wanted = self.element_type(kind, name)
            if wanted is None:
                hint = self.nearest(name, t.ELEMENTS.get(kind.name, {}))
                raise self.fail("unknown-element", f"{kind} has no element {name!r}", span, hint)
            converted.append(self.to(value, wanted, f"element {name!r}"))
        return n.Instance(tuple(converted), names=tuple(names), target=kind, span=tree.span, result=kind)

    def model_instance(self, tree: c.InstanceSelector, kind: t.Named, values: list[Node]) -> Node:
        """An instance of a FHIR type. Reports `unsupported` for a type of a profile."""
        namespace, _, short = kind.name.partition(".")
        model = self.types.models[namespace]
        if namespace != "FHIR":
            hint = f"make one of FHIR (using FHIR): FHIR.{model.fhir_type(short) or short} {{ ... }}"
            raise self.fail(
                "unsupported", f"{kind} is a profile; instances of profiles cannot be made", tree.span, hint
            )
        names: list[tuple[tuple[str, str], ...]] = []
        operands: list[Node] = []
        for (name, _, span), value in zip(tree.elements, values, strict=True):
            plain = self.types.unwrapped(kind) if model.is_primitive(short) and name == "value" else None
            element = model.element(short, name)
            if plain is not None:
                operands.append(self.to(value, plain, "element 'value'"))
                continue
            if element is None:
                known = model.element_names(short) or ["value"]
                raise self.fail("unknown-element", f"{kind} has no element {name!r}", span, self.nearest(name, known))
            operand, wanted = self.fhir_value(value, element.type, name)
            chosen = str(wanted).partition(".")[2]
            names.append(tuple(x for x in element.json if x[1] == chosen) or element.json)
            operands.append(operand)
        return n.FhirInstance(
            tuple(operands),
            names=tuple(name for name, _, _ in tree.elements),
            target=kind,
            json=tuple(names),
            resource=None if model.is_raw(short) else short,
            primitive=model.is_primitive(short),
            span=tree.span,
            result=kind,
        )

    def fhir_value(self, value: Node, wanted: t.Type, name: str) -> tuple[Node, t.Type]:
        """A value for an element of a FHIR type, as it is or as the System type that stands for it; and which type it is given as."""
        options = wanted.options if isinstance(wanted, t.ChoiceType) else (wanted,)
        for option in options:
            if self.types.conversion(value.result, option) is not None:
                return self.to(value, option), option
        for option in options:
            plain = self.types.unwrapped(option.element if isinstance(option, t.ListType) else option)
            target = None if plain is None else t.ListType(plain) if isinstance(option, t.ListType) else plain
            if target is not None and self.types.conversion(value.result, target) is not None:
                return self.to(value, target), option
        return self.to(value, wanted, f"element {name!r}"), wanted

    def set_aggregate(self, tree: c.SetAggregate, scope: Scope) -> Node:
        operands = [self.expression(tree.operand, scope)]
        name = "Expand" if tree.operator == "expand" else "Collapse"
        if isinstance(operands[0], n.Null) or operands[0].result == t.ListType(t.ANY):
            operands[0] = replace(operands[0], result=t.ListType(t.IntervalType(t.ANY)))
        if isinstance(tree.per, str):
            operands.append(self.literal(Quantity(Decimal(1), tree.per, True), t.QUANTITY, tree.span))
        elif tree.per is not None:
            operands.append(self.expression(tree.per, scope))
        node = self.op(name, operands, tree.span, shown=tree.operator)
        per = n.constant(operands[-1]) if len(operands) > 1 else None
        size = per.value if isinstance(per, Quantity) else per
        if name == "Expand" and isinstance(size, Decimal) and size % 1:
            node.result = in_decimals(node.result)
        return node

    def index(self, tree: s.Index, scope: Scope) -> Node:
        source, index = self.expressions((tree.source, tree.index), scope)
        return self.op("Indexer", [source, index], tree.span, shown="[ ]")


_HANDLERS: dict[type, Callable[[Any, Any, Scope], Node]] = {
    c.NullLiteral: CqlTranslator.null_literal,
    c.Parenthesized: CqlTranslator.parenthesized,
    s.LiteralTerm: CqlTranslator.literal_of,
    s.QuantityLiteral: CqlTranslator.quantity_literal,
    c.RatioLiteral: CqlTranslator.ratio_literal,
    s.Unary: CqlTranslator.unary,
    s.Binary: CqlTranslator.binary,
    c.Prefix: CqlTranslator.prefix,
    c.IsTest: CqlTranslator.is_test,
    c.Between: CqlTranslator.between,
    c.Elapsed: CqlTranslator.elapsed,
    c.Cast: CqlTranslator.cast,
    c.Convert: CqlTranslator.convert_to,
    c.Extent: CqlTranslator.extent,
    c.Membership: CqlTranslator.membership,
    c.IfThenElse: CqlTranslator.if_then,
    c.CaseExpression: CqlTranslator.case,
    c.IntervalSelector: CqlTranslator.interval_selector,
    c.ListSelector: CqlTranslator.list_selector,
    c.InstanceSelector: CqlTranslator.instance,
    c.SetAggregate: CqlTranslator.set_aggregate,
    s.Index: CqlTranslator.index,
    s.Member: CqlTranslator.member,
    s.Call: CqlTranslator.call,
    s.Special: CqlTranslator.special,
    s.Variable: CqlTranslator.variable,
    c.CodeSelector: CqlTranslator.code_selector,
    c.ConceptSelector: CqlTranslator.concept_selector,
    c.NamedOperator: CqlTranslator.operation,
    c.QueryExpression: CqlTranslator.query,
    c.RetrieveExpression: CqlTranslator.retrieve,
    c.Timing: CqlTranslator.timing,
}
