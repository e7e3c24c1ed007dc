"""FHIRPath's functions written behind their input in CQL (CQL: appendix I, "FHIRPath Function Translation")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fhir_eligibility.algebra.operators.registry import language_form
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.scope import Local, Scope
from fhir_eligibility.compiler.elm.types import ANY, BOOLEAN, INTEGER, ListType
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.translate.cql_names import NameTranslator

Method = Callable[[NameTranslator, Node, s.Call, Scope], Node]


def _operator(name: str, *, swap: bool = False) -> Method:
    """A method that is an operator on the input and the arguments."""

    def build(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
        arguments = x.expressions(tree.arguments, scope)
        operands = [*arguments, source] if swap else [source, *arguments]
        return x.op(name, operands, tree.span, shown=tree.name)

    return build


def _listed(x: NameTranslator, source: Node, tree: s.Call) -> Node:
    """The input as a list: a single value is a list of one, null an empty one."""
    if isinstance(source.result, ListType):
        return source
    return n.ToList((source,), span=tree.span, result=ListType(source.result))


def _on_list(name: str) -> Method:
    def build(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
        operands = [_listed(x, source, tree), *x.expressions(tree.arguments, scope)]
        return x.op(name, operands, tree.span, shown=tree.name)

    return build


def _this(x: NameTranslator, source: Node) -> tuple[Local, int]:
    scope = x.new_id()
    return Local("$this", "AliasRef", source.result.element, scope), scope


def _query(x: NameTranslator, source: Node, scope: int, tree: s.Call, where: Node | None, value: Node | None) -> Node:
    result = source.result if value is None else ListType(value.result)
    rows = n.QuerySource(alias="$this", scope=scope, node=source)
    return n.Query(sources=(rows,), where=where, returned=value, span=tree.span, result=result)


def _where(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    _count(x, tree, 1)
    source = _listed(x, source, tree)
    this, number = _this(x, source)
    condition = x.expression(tree.arguments[0], scope.plus(this=this, implicit=this))
    return _query(x, source, number, tree, x.condition(condition, f"the argument of {tree.name}"), None)


def _select(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    _count(x, tree, 1)
    source = _listed(x, source, tree)
    this, number = _this(x, source)
    value = x.expression(tree.arguments[0], scope.plus(this=this, implicit=this))
    present = n.Not((x.op("IsNull", [value], tree.span),), span=tree.span, result=BOOLEAN)
    query = _query(x, source, number, tree, present, value)
    return x.op("Flatten", [query], tree.span) if isinstance(value.result, ListType) else query


def _exists(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    inner = _where(x, source, tree, scope) if tree.arguments else _listed(x, source, tree)
    return x.op("Exists", [inner], tree.span)


def _empty(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    return n.Not((_exists(x, source, tree, scope),), span=tree.span, result=BOOLEAN)


def _all(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    _count(x, tree, 1)
    source = _listed(x, source, tree)
    this, number = _this(x, source)
    condition = x.condition(
        x.expression(tree.arguments[0], scope.plus(this=this, implicit=this)), "the argument of all"
    )
    failing = n.Not((x.op("IsTrue", [condition], tree.span),), span=tree.span, result=BOOLEAN)
    query = _query(x, source, number, tree, failing, None)
    return n.Not((x.op("Exists", [query], tree.span),), span=tree.span, result=BOOLEAN)


def _not(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    return x.logical("Not", (source,), tree.span)


def _type_argument(x: NameTranslator, tree: s.Call) -> t.Type:
    _count(x, tree, 1)
    argument = tree.arguments[0]
    names: list[str] = []
    step: Any = argument
    while isinstance(step, s.Member):
        names.insert(0, step.name)
        step = step.source
    if step is not None:
        raise x.fail("type", f"{tree.name} takes the name of a type", argument.span)
    return x.named_type(tuple(names), argument.span)


def _of_type(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    target = _type_argument(x, tree)
    source = _listed(x, source, tree)
    this, number = _this(x, source)
    value = x.as_type(x.local(this, tree.span), target, tree.span)
    present = n.Is((x.local(this, tree.span),), target=target, span=tree.span, result=BOOLEAN)
    return _query(x, source, number, tree, present, value)


def _is(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    return x.is_type(source, _type_argument(x, tree), tree.span)


def _as(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    return x.as_type(source, _type_argument(x, tree), tree.span)


def _iif(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    condition, *branches = x.expressions(tree.arguments, scope)
    if not branches:
        raise x.fail("arguments", "iif takes a condition and one or two results", tree.span)
    results = [*branches, x.null(tree.span)][:2]
    kind = x.types.common([r.result for r in results])
    operands = (x.condition(condition, "the condition of iif"), *(x.to(r, kind) for r in results))
    return n.If(operands, span=tree.span, result=kind)


def _descendents(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    _count(x, tree, 0)
    if isinstance(source, n.Null):
        return x.null(tree.span, ListType(ANY))
    return n.Descendents((source,), deep=tree.name != "children", span=tree.span, result=ListType(ANY))


def _to(name: str) -> Method:
    def build(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
        _count(x, tree, 0)
        return x.conversion_to(source, t.system(name), tree.span)

    return build


def _converts(name: str) -> Method:
    def build(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
        return x.converts_to(name, [source], tree)

    return build


def _combine(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    (other,) = x.expressions(tree.arguments, scope)
    pair = [_listed(x, source, tree), _listed(x, other, tree)]
    kind = ListType(x.types.common([p.result.element for p in pair]))
    return x.op(
        "Flatten", [n.List(tuple(x.to(p, kind) for p in pair), span=tree.span, result=ListType(kind))], tree.span
    )


def _subset(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    (other,) = x.expressions(tree.arguments, scope)
    name = "IncludedIn" if tree.name == "subsetOf" else "Includes"
    return x.op(name, [_listed(x, source, tree), _listed(x, other, tree)], tree.span)


def _is_distinct(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    source = _listed(x, source, tree)
    counts = [x.op("Length", [n], tree.span) for n in (source, x.op("Distinct", [source], tree.span))]
    return x.op("Equal", counts, tree.span)


def _count(x: NameTranslator, tree: s.Call, wanted: int) -> None:
    if len(tree.arguments) != wanted:
        message = f"{tree.name} takes {wanted} argument{'' if wanted == 1 else 's'}, not {len(tree.arguments)}"
        raise x.fail("arguments", message, tree.span)


def _matches(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    return x.op("Matches", [source, *x.expressions(tree.arguments, scope)], tree.span)


METHODS: dict[str, Method] = {
    "where": _where,
    "select": _select,
    "exists": _exists,
    "empty": _empty,
    "all": _all,
    "not": _not,
    "ofType": _of_type,
    "is": _is,
    "as": _as,
    "iif": _iif,
    "descendents": _descendents,
    "descendants": _descendents,
    "children": _descendents,
    "combine": _combine,
    "subsetOf": _subset,
    "supersetOf": _subset,
    "isDistinct": _is_distinct,
    "allTrue": _on_list("AllTrue"),
    "anyTrue": _on_list("AnyTrue"),
    "count": _on_list("Count"),
    "distinct": _on_list("Distinct"),
    "first": _on_list("First"),
    "last": _on_list("Last"),
    "tail": _on_list("Tail"),
    "skip": _on_list("Skip"),
    "take": _on_list("Take"),
    "single": _on_list("SingletonFrom"),
    "union": _on_list("Union"),
    "intersect": _on_list("Intersect"),
    "exclude": _on_list("Except"),
    "flatten": _on_list("Flatten"),
    "contains": _operator("PositionOf"),
    "startsWith": _operator("StartsWith"),
    "endsWith": _operator("EndsWith"),
    "matches": _matches,
    "replaceMatches": _operator("ReplaceMatches"),
    "length": _operator("Length"),
    "upper": _operator("Upper"),
    "lower": _operator("Lower"),
    "substring": _operator("Substring"),
    "indexOf": _operator("PositionOf", swap=True),
    "lastIndexOf": _operator("LastPositionOf", swap=True),
    "abs": _operator("Abs"),
    "ceiling": _operator("Ceiling"),
    "floor": _operator("Floor"),
    "truncate": _operator("Truncate"),
    "round": _operator("Round"),
    "exp": _operator("Exp"),
    "ln": _operator("Ln"),
    "log": _operator("Log"),
    "power": _operator("Power"),
    **{
        f"to{name}": _to(name)
        for name in (
            "Boolean",
            "Integer",
            "Long",
            "Decimal",
            "String",
            "Date",
            "DateTime",
            "Time",
            "Quantity",
            "Concept",
            "Ratio",
        )
    },
    **{
        f"convertsTo{name}": _converts(name)
        for name in ("Boolean", "Integer", "Long", "Decimal", "String", "Date", "DateTime", "Time", "Quantity")
    },
}


def _contains(x: NameTranslator, source: Node, tree: s.Call, scope: Scope) -> Node:
    arguments = x.expressions(tree.arguments, scope)
    if isinstance(source.result, ListType):
        return x.op("Contains", [source, *arguments], tree.span)
    position = x.op("PositionOf", [*arguments, source], tree.span)
    return x.op("GreaterOrEqual", [position, x.literal(0, INTEGER, tree.span)], tree.span)


METHODS["contains"] = _contains

for _name in METHODS:
    language_form(_name, "cql", "Appendix I", 0, 255)
