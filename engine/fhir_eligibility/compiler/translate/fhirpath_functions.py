"""The functions of FHIRPath that are more than an operator on single values: they bind names, take expressions or types, or
work on collections. Plain functions (`startsWith`, `abs`, ...) come from the operator table.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.numbers_in_words import so_many_arguments
from fhir_eligibility.algebra.operators.registry import LanguageForm, fhirpath_functions, language_form
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.fhirpath_types import describe, is_static, merge, system_of
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import ANY_NAME, shaped
from fhir_eligibility.compiler.elm.types import BOOLEAN, INTEGER
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.translate.fhirpath import SYSTEM_VARIABLES, Env, FhirPathExpressions
from fhir_eligibility.compiler.translate.fhirpath_coercion import certainly_many

__all__ = ["FUNCTIONS", "FhirPathTranslator"]

Handler = Callable[["FhirPathTranslator", s.Call, Node, Env], "tuple[Node, Env] | Node"]
FUNCTIONS: dict[str, tuple[Handler, LanguageForm]] = {}


def function(
    name: str, low: int = 0, high: int | None = None, *, section: str = "", refused: str = ""
) -> Callable[[Handler], Handler]:
    """Register the translation of a function that takes `low` to `high` arguments (255: any number).

    `section` is that of the specification: `FHIR` for what FHIR adds, `own` for what no specification has, else the heading of its name.
    """

    def register(handler: Handler) -> Handler:
        form = language_form(name, "fhirpath", section or f"FHIRPath: {name}", low, high, refused)
        FUNCTIONS[name] = (handler, form)
        return handler

    return register


class FhirPathTranslator(FhirPathExpressions):
    """The translator with FHIRPath's functions."""

    def call(self, tree: s.Call, env: Env) -> tuple[Node, Env]:
        source, after = (env.this, env) if tree.source is None else self.chain(tree.source, env)
        if isinstance(source, n.Factory):
            return self.factory(tree, env), env
        entry = FUNCTIONS.get(tree.name)
        if entry is not None:
            handler, form = entry
            self.check_arguments(tree, form.low, form.high)
            result = handler(self, tree, source, replace(after, this=env.this, index=env.index, total=env.total))
            node, after = result if isinstance(result, tuple) else (result, after)
            if node.span is None:
                node.span = tree.span
            return node, after
        operator = fhirpath_functions().get(tree.name)
        if operator is not None:
            arguments_env = replace(after, this=env.this, index=env.index, total=env.total)
            arguments = [self.expression(argument, arguments_env) for argument in tree.arguments]
            return self.apply(operator, [source, *arguments], tree.span, tree.name), after
        if tree.name.startswith("convertsTo") and "to" + tree.name[10:] in fhirpath_functions():
            self.check_arguments(tree, 0, 1)
            target = fhirpath_functions()["to" + tree.name[10:]]
            one = self.singleton(source)
            if one.is_null:
                return n.Empty(span=tree.span), after
            arguments = [self.expression(argument, env) for argument in tree.arguments]
            if is_static(one) and not any(o.parameters[0] == system_of(one.type or "") for o in target.of("fhirpath")):
                return n.IsStatic((one,), answer=False, span=tree.span, result=BOOLEAN), after
            converted = self.apply(target, [one, *arguments], tree.span, tree.name)
            return n.Converts((self.system(one), converted), span=tree.span, result=BOOLEAN), after
        known = [*FUNCTIONS, *fhirpath_functions()]
        close = difflib.get_close_matches(tree.name, known, n=2, cutoff=0.6)
        hint = f"did you mean {' or '.join(f'{c}()' for c in close)}?" if close else None
        raise self.fail("unknown-function", f"unknown function {tree.name}()", tree.name_span, hint)

    def check_arguments(self, tree: s.Call, low: int, high: int) -> None:
        count = len(tree.arguments)
        if not low <= count <= high:
            takes = str(low) if low == high else f"{low} to {high}" if high < 255 else f"at least {low}"
            raise self.fail("arguments", f"{tree.name}() takes {so_many_arguments(takes)}, not {count}", tree.span)

    def scope(self, source: Node, env: Env, *, total: bool | None = None) -> tuple[int, Env]:
        """Names inside the argument of an iterating function: `$this` is one item of the source, `$total` (of aggregate) a collection or not."""
        number = self.new_id()
        this = n.Current(scope=number, result=shaped(source.types))
        index = n.Iteration(scope=number, result=INTEGER)
        sum_node = env.total if total is None else n.Total(scope=number, result=shaped((ANY_NAME,), total))
        return number, replace(env, this=this, index=index, total=sum_node)

    def collection_scope(self, source: Node, env: Env) -> tuple[int, Env]:
        """Names inside an argument that sees the whole source as `$this`."""
        number = self.new_id()
        this = n.Reference(number=number, result=shaped(source.types, source.many))
        return number, replace(env, this=this)

    def iterate(self, tree: s.Call, source: Node, env: Env, argument: int = 0) -> tuple[int, Node]:
        number, inner = self.scope(source, env)
        return number, self.expression(tree.arguments[argument], inner)

    def filtered(self, tree: s.Call, source: Node, env: Env) -> Node:
        """The source restricted to the items that satisfy the first argument."""
        number, body = self.iterate(tree, source, env)
        condition = self.condition(body)
        return n.Filter((source, condition), scope=number, span=tree.span, result=shaped(source.types, source.many))

    def text_argument(self, tree: s.Call, env: Env, index: int = 0) -> Node:
        node = self.system(self.singleton(self.expression(tree.arguments[index], env)))
        if node.type is not None and node.type != "System.String":
            raise self.fail(
                "argument-type", f"{tree.name}() takes a String, not {describe(node)}", tree.arguments[index].span
            )
        return node

    def number_argument(self, tree: s.Call, env: Env, index: int = 0) -> Node:
        node = self.system(self.singleton(self.expression(tree.arguments[index], env)))
        if node.type is not None and node.type != "System.Integer":
            raise self.fail(
                "argument-type", f"{tree.name}() takes an Integer, not {describe(node)}", tree.arguments[index].span
            )
        return node

    def constant_name(self, tree: s.Call, env: Env) -> str:
        """The name that defineVariable gives: a constant expression of type String."""
        argument = tree.arguments[0]
        node = self.expression(argument, env)
        value = fold(node)
        if not isinstance(value, str):
            raise self.fail("variable-name", "the name of a variable must be a constant string", argument.span)
        return value

    def factory(self, tree: s.Call, env: Env) -> Node:
        """`%factory.Type(...)`: a new FHIR value (FHIR: "Type Factory API")."""
        from_table = _FACTORIES.get(tree.name)
        if from_table is None:
            if self.model.has_type(tree.name) and self.model.kind(tree.name) == "primitive":
                self.check_arguments(tree, 1, 2)
                value = self.system(self.singleton(self.expression(tree.arguments[0], env)))
                return n.NewPrimitive(
                    (value,), type_name=tree.name, span=tree.span, result=shaped((f"FHIR.{tree.name}",))
                )
            if tree.name == "create":
                self.check_arguments(tree, 1, 1)
                name = self.text_argument(tree, env)
                text = fold(name)
                if not isinstance(text, str) or not self.model.has_type(text):
                    raise self.fail("unknown-type", f"create() takes the name of a FHIR type, not {text!r}", tree.span)
                return n.NewObject(type_name=text, keys=(), span=tree.span, result=shaped((f"FHIR.{text}",)))
            known = ", ".join(f"%factory.{name}()" for name in (*_FACTORIES, "create"))
            raise self.fail("unknown-function", f"unknown factory %factory.{tree.name}()", tree.name_span, known)
        self.check_arguments(tree, 0, len(from_table))
        operands, keys = [], []
        for argument, key in zip(tree.arguments, from_table, strict=False):
            node = self.expression(argument, env)
            if node.is_null:
                continue
            if tree.name == "Extension" and key == "value":
                kind = (node.type or "FHIR.string").partition(".")[2]
                key = "value" + kind[0].upper() + kind[1:]
            operands.append(self.system(node))
            keys.append(key)
        return n.NewObject(
            tuple(operands),
            type_name=tree.name,
            keys=tuple(keys),
            span=tree.span,
            result=shaped((f"FHIR.{tree.name}",)),
        )


_FACTORIES: dict[str, tuple[str, ...]] = {
    "Extension": ("url", "value"),
    "Identifier": ("system", "value", "use", "type"),
    "HumanName": ("family", "given", "prefix", "suffix", "text", "use"),
    "ContactPoint": ("system", "value", "use"),
    "Address": ("line", "city", "state", "postalCode", "country", "use", "type"),
    "Quantity": ("system", "code", "value", "unit"),
    "Coding": ("system", "code", "display", "version"),
    "CodeableConcept": ("coding", "text"),
}


def fold(node: Node) -> Any:
    """The value of a constant node, None where it is not constant. Follows variables and projections of constants."""
    if isinstance(node, n.Literal):
        return node.value
    if isinstance(node, (n.ForEach, n.Box, n.SingletonFrom, n.ToSystem)):
        return fold(node.operands[-1 if isinstance(node, n.ForEach) else 0])
    if isinstance(node, n.Reference):
        value = node.meaning
        return fold(value) if value is not None else None
    return None


T = FhirPathTranslator


# -- existence


@function("empty")
def _empty(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.Not((n.Exists((source,), span=tree.span, result=BOOLEAN),), result=BOOLEAN)


@function("exists", 0, 1)
def _exists(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    if tree.arguments:
        source = t.filtered(tree, source, env)
    return n.Exists((source,), result=BOOLEAN)


@function("all", 1)
def _all(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    number, body = t.iterate(tree, source, env)
    return n.All((source, t.condition(body)), scope=number, result=BOOLEAN)


@function("subsetOf", 1)
def _subset(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.SubsetOf((t.box(source), t.box(t.expression(tree.arguments[0], env))), result=BOOLEAN)


@function("supersetOf", 1)
def _superset(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.SubsetOf((t.box(t.expression(tree.arguments[0], env)), t.box(source)), result=BOOLEAN)


@function("count")
def _count(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.Count((source,), result=INTEGER)


@function("distinct")
def _distinct(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.Distinct((t.compared(source),), result=shaped(source.types, source.many))


@function("isDistinct")
def _is_distinct(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.IsDistinct((t.together([source])[0],), result=BOOLEAN)


# -- filtering and projection


@function("where", 1)
def _where(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return t.filtered(tree, source, env)


@function("select", 1)
def _select(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    number, body = t.iterate(tree, source, env)
    return n.ForEach((source, body), scope=number, result=shaped(body.types, source.many or body.many))


def _repeat(name: str, unique: bool) -> None:
    @function(name, 1)
    def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
        types = source.types
        number, body = 0, source
        for _ in range(6):
            before = len(t.diagnostics)
            number, inner = t.scope(replace(source, result=shaped(types, source.many)), env)
            body = t.expression(tree.arguments[0], inner)
            if set(body.types) <= set(types):
                break
            del t.diagnostics[before:]
            types = (
                merge(types, body.types)
                if not set(types) & set(body.types) and len(types) > 1
                else (body.types if types == source.types else merge(types, body.types))
            )
        first = source
        if len(types) != 1 or types[0] == ANY_NAME:
            first, body = t.box(source), t.box(body)
        elif source.types != types:
            # the seeds are of another type than what they lead to: take one step by hand
            seeds, inner = t.scope(source, env)
            step = t.expression(tree.arguments[0], inner)
            first = n.ForEach((source, step), scope=seeds, span=tree.span, result=shaped(step.types, True))
            return n.Repeat((first, body), scope=number, unique=unique, seeds=True, result=shaped(types, True))
        return n.Repeat((first, body), scope=number, unique=unique, seeds=False, result=shaped(types, True))


_repeat("repeat", True)
_repeat("repeatAll", False)


def _type_argument(t: T, tree: s.Call) -> tuple[str, str]:
    argument = tree.arguments[0]
    names: list[str] = []
    node: s.Expression | None = argument
    while isinstance(node, s.Member):
        names.insert(0, node.name)
        node = node.source
    if node is not None or not names:
        raise t.fail("type-argument", f"{tree.name}() takes the name of a type", argument.span)
    return t.type_name(tuple(names), argument.span)


@function("ofType", 1)
def _of_type(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return t.of_type(source, *_type_argument(t, tree), tree.span)


@function("as", 1)
def _as(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return t.of_type(t.singleton(source), *_type_argument(t, tree), tree.span)


@function("is", 1)
def _is(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return t.is_type(t.singleton(source), *_type_argument(t, tree), tree.span)


@function("coalesce", 1, 255)
def _coalesce(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    operands, types = t.mixed([t.expression(argument, env) for argument in tree.arguments])
    return n.FirstCollection(tuple(operands), result=shaped(types, any(o.many for o in operands)))


@function("sort", 0, 255)
def _sort(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    operands: list[Node] = [source]
    number, inner = t.scope(source, env)
    directions: list[str] = []
    for argument in tree.arguments or (s.Special(tree.span, "this"),):
        key, direction = argument, "asc"
        if isinstance(argument, s.Unary) and argument.operator == "-":
            key, direction = argument.operand, "negated"
        elif isinstance(argument, s.SortKey):
            key, direction = argument.key, argument.direction
        operands.append(t.box(t.system(t.singleton(t.expression(key, inner)))))
        directions.append(direction)
    return n.Sort(tuple(operands), scope=number, directions=tuple(directions), result=shaped(source.types, source.many))


# -- subsetting


def _ordered(t: T, tree: s.Call, source: Node) -> None:
    """Warn where a function depends on the order of a collection that has none."""
    if any(isinstance(node, (n.Children, n.Descendants)) for node in _spine(source)):
        t.report(
            "unordered",
            f"{tree.name}() depends on the order of children() or descendants(), which is not defined",
            tree.span,
            "name the elements",
            warning=True,
        )


def _spine(node: Node) -> list[Node]:
    out = [node]
    while node.operands and isinstance(
        node, (n.Filter, n.Property, n.DynamicProperty, n.OfType, n.Children, n.Descendants)
    ):
        node = node.operands[0]
        out.append(node)
    return out


@function("single")
def _single(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return t.singleton(source)


@function("first")
def _first(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    _ordered(t, tree, source)
    return n.First((source,), result=shaped(source.types))


@function("last")
def _last(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    _ordered(t, tree, source)
    return n.Last((source,), result=shaped(source.types))


@function("tail")
def _tail(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    _ordered(t, tree, source)
    one = n.Literal(value=1, span=tree.span, result=INTEGER)
    return n.Skip((source, one), result=shaped(source.types, source.many))


@function("skip", 1)
def _skip(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    _ordered(t, tree, source)
    return n.Skip((source, t.number_argument(tree, env)), result=shaped(source.types, source.many))


@function("take", 1)
def _take(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    _ordered(t, tree, source)
    return n.Take((source, t.number_argument(tree, env)), result=shaped(source.types, source.many))


def _set_function(name: str, kind: type[Node]) -> None:
    @function(name, 1)
    def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
        other = t.expression(tree.arguments[0], env)
        if kind in (n.Union, n.Combine):
            return t.combine(kind, source, other, tree.span)
        source = t.compared(source)
        operands, types = t.mixed([source, t.compared(other)])
        if types == source.types:
            return kind(tuple(operands), result=shaped(types, source.many))
        found = kind(tuple(operands), result=shaped((ANY_NAME,), source.many))
        if source.type is None or operands[0] is source:  # each has its type beside it, or needs none
            return replace(found, result=shaped(source.types, source.many))
        namespace, _, name = source.type.partition(".")
        return t.of_type(found, namespace, name, tree.span)


for _name, _kind in (("union", n.Union), ("combine", n.Combine), ("intersect", n.Intersect), ("exclude", n.Exclude)):
    _set_function(_name, _kind)


# -- conditions, variables, aggregation


@function("iif", 2, 3)
def _iif(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    inner = env
    number = None
    if tree.source is not None:
        one = t.singleton(source)
        number = t.new_id()
        this = n.Reference(number=number, result=shaped(one.types))
        inner = replace(env, this=this)
        source = one
    condition_tree = tree.arguments[0]
    raw = t.expression(condition_tree, inner)
    if certainly_many(raw):
        raise t.fail("condition", "the condition of iif() is a single Boolean, not a collection", condition_tree.span)
    condition = t.condition(raw)
    branches = [t.expression(argument, inner) for argument in tree.arguments[1:]]
    if len(branches) == 1:
        branches.append(n.Empty(span=tree.span))
    branches, types = t.mixed(branches)
    many = any(branch.many for branch in branches)
    node = n.Iif((condition, *branches), result=shaped(types, many))
    if number is not None:
        return n.Bind((source, node), number=number, result=shaped(types, many))
    return node


@function("defineVariable", 1, 2)
def _define(t: T, tree: s.Call, source: Node, env: Env) -> tuple[Node, Env]:
    name = t.constant_name(tree, env)
    if name in SYSTEM_VARIABLES or name.startswith(("vs-", "ext-")) or name in t.variables:
        raise t.fail("variable-redefined", f"%{name} is given by the environment and cannot be redefined", tree.span)
    if name in env.variables:
        raise t.fail("variable-redefined", f"%{name} is already defined here", tree.span)
    whole, inner = t.collection_scope(source, env)
    value = t.expression(tree.arguments[1], inner) if len(tree.arguments) > 1 else inner.this
    number = t.new_id()
    reference = n.Reference(number=number, meaning=value, result=shaped(value.types, value.many))
    node = n.Let((source, value), source=whole, number=number, result=shaped(source.types, source.many))
    return node, replace(env, variables={**env.variables, name: reference})


@function("aggregate", 1, 2)
def _aggregate(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    start = t.expression(tree.arguments[1], env) if len(tree.arguments) > 1 else n.Empty(span=tree.span)
    many, before = start.many, len(t.diagnostics)
    number, inner = t.scope(source, env, total=many)
    body = t.expression(tree.arguments[0], inner)
    if body.many and not many:  # what it makes of one item is what it starts from with the next
        many = True
        del t.diagnostics[before:]
        number, inner = t.scope(source, env, total=many)
        body = t.expression(tree.arguments[0], inner)
    return n.Aggregate((source, t.box(body), t.box(start)), scope=number, result=shaped((ANY_NAME,), many))


@function("not")
def _not(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    one = t.singleton(source)
    return n.Not((t.condition(one),), result=BOOLEAN)
