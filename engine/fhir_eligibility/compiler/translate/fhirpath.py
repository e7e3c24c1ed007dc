"""FHIRPath syntax to ELM: names, types, singletons and conversions are resolved here, statically.

This is the one place that knows FHIRPath is a collection language: it inserts the singleton steps and drops them where the model
says that there is at most one. Functions with arguments that are not plain values live in `fhirpath_functions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.algebra.numbers_in_words import so_many_arguments
from fhir_eligibility.algebra.operators.registry import Operator, fhirpath_symbols
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.ucum import UnitError, alias, parse_unit
from fhir_eligibility.algebra.ucum.suggestions import suggest_unit
from fhir_eligibility.algebra.values.element import ElementLike
from fhir_eligibility.algebra.values.quantity import CALENDAR_WORDS, make
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.fhirpath_types import (
    arity,
    describe,
    is_static,
    merge,
    resolve,
    system_of,
)
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import ANY_NAME, shaped
from fhir_eligibility.compiler.elm.types import BOOLEAN, STRING
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.translate.abort import Abort
from fhir_eligibility.compiler.translate.fhirpath_coercion import ABSTRACT_RESOURCES, Coercions

CONSTANTS = {
    "ucum": "http://unitsofmeasure.org",
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
}
SYSTEM_VARIABLES = frozenset((*CONSTANTS, "context", "resource", "rootResource", "terminologies", "factory", "patient"))

_LOGICAL: dict[str, type[Node]] = {"and": n.And, "or": n.Or, "xor": n.Xor, "implies": n.Implies}


class Env(Struct, frozen=True):
    """What names mean at a place: `$this`, `$index`, `$total`, and the variables defined so far."""

    this: Node
    index: Node | None = None
    total: Node | None = None
    variables: Mapping[str, Node] = field(default_factory=dict)


class FhirPathExpressions(Coercions):
    """Translates one expression.

    `root` is the type of the input (None: unknown). With `patient_data`, a resource type name at the start of a path means the
    patient's resources of that type (a retrieve), as published criteria write it; without, it names the type of the input.
    """

    # -- the tree

    def translate(self, tree: s.Expression) -> Node:
        return self.expression(tree, Env(self.context))

    def expression(self, tree: s.Expression, env: Env) -> Node:
        return self.chain(tree, env)[0]

    def chain(self, tree: s.Expression, env: Env) -> tuple[Node, Env]:
        """Translate, and tell what names mean behind this expression in a chain of invocations."""
        if isinstance(tree, s.Member):
            return self.member_of(tree, env)
        if isinstance(tree, s.Call):
            from_functions = self.call(tree, env)
            return from_functions
        node = self.other(tree, env)
        if node.span is None:
            node.span = tree.span
        return node, env

    def call(self, tree: s.Call, env: Env) -> tuple[Node, Env]:
        """Translate a function call; filled in by `fhirpath_functions`."""
        raise NotImplementedError

    def other(self, tree: s.Expression, env: Env) -> Node:
        if isinstance(tree, s.LiteralTerm):
            return self.literal(tree)
        if isinstance(tree, s.QuantityLiteral):
            return self.quantity(tree)
        if isinstance(tree, s.EmptyCollection):
            return n.Empty(span=tree.span)
        if isinstance(tree, s.Special):
            return self.special(tree, env)
        if isinstance(tree, s.Variable):
            return self.variable(tree, env)
        if isinstance(tree, s.Index):
            return self.index(tree, env)
        if isinstance(tree, s.Unary):
            return self.unary(tree, env)
        if isinstance(tree, s.TypeTest):
            operand = self.expression(tree.operand, env)
            return self.type_test(tree.operator, operand, tree.type_name, tree.type_span, tree.span)
        if isinstance(tree, s.Binary):
            return self.binary(tree, env)
        raise AssertionError(type(tree))

    # -- terms

    def literal(self, tree: s.LiteralTerm) -> Node:
        kind, text = tree.kind, tree.text
        value: Any
        try:
            if kind == "Boolean":
                value = text == "true"
            elif kind in ("Integer", "Long"):
                value = int(text)
                limit = 2**31 if kind == "Integer" else 2**63
                if value > limit:
                    hint = "write it as a Long, with L at its end" if kind == "Integer" else None
                    raise self.fail("number-range", f"{text} is too large for {kind}", tree.span, hint)
            elif kind == "Decimal":
                value = Decimal(text)
            elif kind == "String":
                value = text
            else:
                parse = {"Date": Date.parse, "DateTime": DateTime.parse, "Time": Time.parse}[kind]
                value = parse(text)
        except ValueError as error:
            raise self.fail("invalid-literal", f"@{text} is not a valid {kind}: {error}", tree.span) from None
        return n.Literal(value=value, span=tree.span, result=shaped((f"System.{kind}",)))

    def quantity(self, tree: s.QuantityLiteral) -> Node:
        unit = tree.unit
        if not tree.calendar and unit not in CALENDAR_WORDS:
            try:
                parse_unit(unit)
            except UnitError as error:
                meant = alias(unit)
                if meant is not None:
                    message = f"{unit!r} is not UCUM; it is read as {meant!r}"
                    self.report("unit-alias", message, tree.span, f"write '{meant}'", warning=True)
                    unit = meant
                else:
                    near = suggest_unit(unit)
                    hint = f"did you mean '{near}'?" if near is not None else "units stand as UCUM codes"
                    self.report("unknown-unit", str(error), tree.span, hint, warning=True)
        value = make(Decimal(tree.number), unit, tree.calendar)
        return n.Literal(value=value, span=tree.span, result=shaped(("System.Quantity",)))

    def special(self, tree: s.Special, env: Env) -> Node:
        node = {"this": env.this, "index": env.index, "total": env.total}[tree.name]
        if node is None:
            where = "select(), where(), all(), exists() and repeat()" if tree.name == "index" else "aggregate()"
            raise self.fail("special-variable", f"${tree.name} exists only inside {where}", tree.span)
        return replace(node, span=tree.span)

    def variable(self, tree: s.Variable, env: Env) -> Node:
        name = tree.name
        if name in env.variables:
            return replace(env.variables[name], span=tree.span)
        if name in self.variables:
            declared = self.variables[name]
            many = declared.startswith("List<")
            type_name = declared.removeprefix("List<").removesuffix(">")
            return n.Parameter(name=name, span=tree.span, result=shaped((type_name,), many))
        if name in CONSTANTS:
            return n.Literal(value=CONSTANTS[name], span=tree.span, result=STRING)
        if name.startswith("vs-"):
            return self._url("ValueSet", name[3:], tree.span)
        if name.startswith("ext-"):
            return self._url("StructureDefinition", name[4:], tree.span)
        if name in ("resource", "rootResource", "context"):
            return replace(self.context, span=tree.span)
        if name == "patient" and self.patient_data:
            return replace(self.context, span=tree.span)
        if name == "terminologies":
            raise self.fail(
                "unsupported", "%terminologies needs a terminology service, which is not built in", tree.span
            )
        if name == "factory":
            return n.Factory(span=tree.span, result=shaped((ANY_NAME,)))
        known = sorted({*self.variables, *env.variables, *SYSTEM_VARIABLES})
        hint = f"known variables: {', '.join('%' + k for k in known)}"
        raise self.fail("unknown-variable", f"unknown variable %{name}", tree.span, hint)

    def _url(self, kind: str, name: str, span: Span) -> Node:
        return n.Literal(value=f"http://hl7.org/fhir/{kind}/{name}", span=span, result=STRING)

    def index(self, tree: s.Index, env: Env) -> Node:
        source = self.expression(tree.source, env)
        index = self.singleton(self.expression(tree.index, env))
        if index.is_null or source.is_null:
            return n.Empty(span=tree.span)
        if is_static(index) and system_of(index.type or "") != "Integer":
            raise self.fail("index-type", f"an index is an Integer, not {describe(index)}", tree.index.span)
        return n.Indexer((source, self.system(index)), span=tree.span, result=shaped(source.types))

    def unary(self, tree: s.Unary, env: Env) -> Node:
        operand = self.expression(tree.operand, env)
        if tree.operator == "+":
            if is_static(operand) and system_of(operand.type or "") not in ("Integer", "Long", "Decimal", "Quantity"):
                raise self.fail("no-overload", f"+ takes a number or quantity, not {describe(operand)}", tree.span)
            return operand
        if isinstance(operand, n.Literal) and operand.type in ("System.Integer", "System.Long", "System.Decimal"):
            return replace(operand, value=-operand.value, span=tree.span)
        return self.apply(OPERATORS["Negate"], [operand], tree.span, "-")

    # -- operators

    def binary(self, tree: s.Binary, env: Env) -> Node:
        operator = tree.operator
        left = self.expression(tree.left, env)
        right = self.expression(tree.right, env)
        if operator in ("and", "or", "xor", "implies"):
            operands = (self.condition(left), self.condition(right))
            return _LOGICAL[operator](operands, span=tree.span, result=BOOLEAN)
        if operator in ("=", "!="):
            node = self.equality(left, right, tree.span)
            return node if operator == "=" else n.Not((node,), span=tree.span, result=BOOLEAN)
        if operator in ("~", "!~"):
            node = self.equivalence(left, right, tree.span)
            return node if operator == "~" else n.Not((node,), span=tree.span, result=BOOLEAN)
        if operator == "|":
            return self.combine(n.Union, left, right, tree.span)
        if operator in ("in", "contains"):
            item, values = (left, right) if operator == "in" else (right, left)
            if item.is_null:
                return n.Empty(span=tree.span)
            boxed = self.together([item, values])
            return n.In((boxed[0], boxed[1]), span=tree.span, result=BOOLEAN)
        name = fhirpath_symbols()[operator]
        if self.model.version == "r4" and operator in "+-" and name.name in ("Add", "Subtract"):
            seconds = OPERATORS[name.name + "WholeSeconds"]
            if resolve(seconds, [left, right]) is not None and not left.is_null and not right.is_null:
                name = seconds
        return self.apply(name, [left, right], tree.span, operator)

    def apply(self, operator: Operator, operands: list[Node], span: Span, shown: str) -> Node:
        """A scalar operator on single values: choose the overload now, or leave the choice to run time."""
        low, high = arity(operator)
        if not low <= len(operands) <= high:
            takes = f"{low - 1} to {high - 1}" if low != high else str(low - 1)
            raise self.fail("arguments", f"{shown}() takes {so_many_arguments(takes)}, not {len(operands) - 1}", span)
        operands = [self.singleton(operand) for operand in operands]
        for operand in operands:
            if operand.type is not None and not is_static(operand) and operand.type != "FHIR.Element":
                raise self.no_overload(operator, operands, span, shown)
        if operator.propagates("fhirpath") and any(operand.is_null for operand in operands):
            return n.Empty(span=span)
        if all(operand.is_null or is_static(operand) for operand in operands):
            found = resolve(operator, operands)
            if found is None:
                raise self.no_overload(operator, operands, span, shown)
            overload = found.overload
            converted = tuple(self.convert(o, p) for o, p in zip(operands, overload.parameters, strict=True))
            result, many = overload.result, overload.result.startswith("List<")
            result = result.removeprefix("List<").removesuffix(">")
            kind = shaped((f"System.{result}",), many)
            return n.Operation(converted, name=operator.name, overload=overload, span=span, result=kind)
        results = merge(
            *((f"System.{o.result.removeprefix('List<').removesuffix('>')}",) for o in operator.of("fhirpath"))
        )
        many = any(o.result.startswith("List<") for o in operator.of("fhirpath"))
        operands = [self.box(operand) for operand in operands]
        return n.Dynamic(tuple(operands), operator=operator.name, span=span, result=shaped(results, many))

    def no_overload(self, operator: Operator, operands: list[Node], span: Span, shown: str) -> Abort:
        given = ", ".join(describe(operand) for operand in operands)
        takes = "; ".join(dict.fromkeys(f"({', '.join(o.parameters)})" for o in operator.of("fhirpath")))
        return self.fail("no-overload", f"{shown} cannot take ({given})", span, f"it takes {takes}")

    def equality(self, left: Node, right: Node, span: Span) -> Node:
        if left.is_null or right.is_null:
            return n.Empty(span=span)
        if not left.many and not right.many:
            if is_static(left) and is_static(right):
                operator = OPERATORS["Equal"]
                found = resolve(operator, [left, right])
                if found is not None:
                    parameters = found.overload.parameters
                    operands = (self.convert(left, parameters[0]), self.convert(right, parameters[1]))
                    return n.Operation(operands, name="Equal", overload=found.overload, span=span, result=BOOLEAN)
            pair = self.together([left, right])
            return n.EqualAny((pair[0], pair[1]), span=span, result=BOOLEAN)
        pair = self.together([left, right])
        return n.EqualList((pair[0], pair[1]), span=span, result=BOOLEAN)

    def equivalence(self, left: Node, right: Node, span: Span) -> Node:
        return n.EquivalentList((self.box(left), self.box(right)), span=span, result=BOOLEAN)

    def combine(self, kind: type[Node], left: Node, right: Node, span: Span) -> Node:
        if kind is n.Union:
            left, right = self.compared(left), self.compared(right)
        operands, types = self.mixed([left, right])
        return kind(tuple(operands), span=span, result=shaped(types, True))

    # -- paths

    def member_of(self, tree: s.Member, env: Env) -> tuple[Node, Env]:
        if tree.source is None:
            return self.start(tree, env), env
        source, env = self.chain(tree.source, env)
        return self.member(source, tree.name, tree.name_span, tree.span), env

    def start(self, tree: s.Member, env: Env) -> Node:
        """A name at the start of a path: an element of `$this`, or a type."""
        name, this = tree.name, env.this
        if name[0].isupper() and (self.model.has_type(name)):
            if self.patient_data and self.model.kind(name) == "resource":
                return self.resources(name, tree.span)
            if this.type is None:
                return self.of_type(this, "FHIR", name, tree.span)
            own = this.type.partition(".")[2]
            if own == name or self.model.is_subtype(own, name):
                return replace(this, span=tree.span)
            if this.type in ABSTRACT_RESOURCES and self.model.kind(name) == "resource":
                return self.of_type(this, "FHIR", name, tree.span)
            raise self.fail(
                "wrong-context",
                f"the path starts at {name}, but its input is {describe(this)}",
                tree.span,
                "start with an element of the input, or with its type",
            )
        return self.member(this, name, tree.name_span, tree.span)

    def resources(self, name: str, span: Span) -> Node:
        """The patient's resources of a type."""
        if name == "Patient":
            return replace(self.context, span=span)
        if name in ("Resource", "DomainResource"):
            raise self.fail("abstract-type", f"{name} is abstract; name the resource type", span)
        if not self.model.patient_paths(name):
            hint = f"reach a {name} by the reference to it, with resolve()"
            if name == "Bundle":
                hint = "a criterion sees one patient's resources: start with their type, such as Observation"
            raise self.fail(
                "not-in-compartment", f"a {name} belongs to no patient, so a criterion cannot start there", span, hint
            )
        return n.Retrieve(data_type=name, span=span, result=shaped((f"FHIR.{name}",), True))

    def member(self, source: Node, name: str, name_span: Span, span: Span) -> Node:
        if source.is_null:
            return n.Empty(span=span)
        if isinstance(source, n.Factory):
            raise self.fail("factory", f"%factory.{name} is a function; write %factory.{name}(...)", name_span)
        if ANY_NAME in source.types:
            return self.dynamic(source, name, (ANY_NAME,), True, span)
        if source.type is not None:
            return self.static_member(source, source.type, name, name_span, span)
        found: dict[str, ElementLike] = {}
        for type_name in source.types:
            namespace, _, short = type_name.partition(".")
            definition = self.model.element(short, name) if namespace == "FHIR" else None
            if definition is not None:
                found[type_name] = definition
        if not found:
            if self.lenient:
                return self.dynamic(source, name, (ANY_NAME,), True, span)
            raise self.unknown_element(source, name, name_span)
        if isinstance(source, n.Property) and source.names is not None and len(found) < len(source.types):
            narrowed = self.narrow(source, list(found), source.span or span)
            if narrowed is not None and narrowed.type is not None:
                return self.static_member(narrowed, narrowed.type, name, name_span, span)
        types = merge(*(tuple(f"FHIR.{t}" for t in d.types) for d in found.values()))
        many = source.many or any(d.many for d in found.values())
        return self.dynamic(source, name, types, many, span)

    def static_member(self, source: Node, type_name: str, name: str, name_span: Span, span: Span) -> Node:
        namespace, _, short = type_name.partition(".")
        if type_name == "System.TypeInfo" and name in ("namespace", "name", "baseType"):
            return n.Property(
                (source,), json=name, path=name, span=span, result=shaped(("System.String",), source.many)
            )
        definition = self.model.element(short, name) if namespace == "FHIR" else None
        if definition is None:
            if type_name in ABSTRACT_RESOURCES or type_name == "FHIR.Element":
                return self.abstract_member(source, name, name_span, span)
            if self.lenient and namespace == "FHIR" and self.model.kind(short) != "primitive":
                return self.dynamic(source, name, (ANY_NAME,), True, span)
            raise self.unknown_element(source, name, name_span)
        if system_of(type_name) is not None and self.model.kind(short) == "primitive":
            if name == "id":
                return n.ElementId((source,), span=span, result=shaped(("FHIR.string",), source.many))
            if name == "extension":
                return n.PrimitiveExtensions((source,), span=span, result=shaped(("FHIR.Extension",), True))
            raise self.unknown_element(source, name, name_span)
        return self.property(source, definition, span)

    def property(self, source: Node, definition: ElementLike, span: Span) -> Node:
        many = source.many or definition.many
        path = definition.name
        if definition.choice and len(definition.json_names) > 1:
            names = dict(definition.json_names)
            types = tuple(f"FHIR.{kind}" for kind in names.values())
            return n.Property((source,), path=path, names=names, span=span, result=shaped(types, many))
        key, kind = definition.json_names[0] if definition.json_names else (definition.name, definition.types[0])
        return n.Property(
            (source,),
            path=path,
            json=key,
            element_type=kind,
            repeats=definition.many,
            targets=tuple(getattr(definition, "targets", ())),
            span=span,
            result=shaped((f"FHIR.{kind}",), many),
        )

    def abstract_member(self, source: Node, name: str, name_span: Span, span: Span) -> Node:
        """A member of some resource: its possible types are those of all resources that have it."""
        types: list[tuple[str, ...]] = []
        for resource in self.model.resource_types:
            definition = self.model.element(resource, name)
            if definition is not None:
                types.append(tuple(f"FHIR.{t}" for t in definition.types))
        if not types and not self.lenient:
            message = f"no resource type of FHIR {self.model.version.upper()} has an element {name!r}"
            raise self.fail("unknown-element", message, name_span)
        return self.dynamic(source, name, merge(*types) if types else (ANY_NAME,), True, span)

    def dynamic(self, source: Node, name: str, types: tuple[str, ...], many: bool, span: Span) -> Node:
        return n.DynamicProperty(
            (self.box(source),), path=name, lenient=self.lenient, span=span, result=shaped(types, many)
        )

    def below(self, source: Node, name: str) -> str | None:
        """The element of a complex type whose type has an element of that name: codings hold the codes of a CodeableConcept."""
        for type_name in source.types[:5]:
            namespace, _, short = type_name.partition(".")
            if namespace != "FHIR" or self.model.kind(short) == "resource":
                continue
            for element in self.model.elements(short).values():
                if any(self.model.element(kind, name) is not None for kind in element.types if kind != "Extension"):
                    return element.name
        return None

    def unknown_element(self, source: Node, name: str, span: Span) -> Abort:
        owner = describe(source).removeprefix("a collection of ")
        message = f"unknown element {name!r} on {owner} ({self.model.version.upper()})"
        suggestions: list[str] = []
        for type_name in source.types[:5]:
            namespace, _, short = type_name.partition(".")
            if namespace == "FHIR":
                suggestions += [x for x in self.model.suggest(short, name) if x not in suggestions]
        hint = f"did you mean {' or '.join(f'`{x}`' for x in suggestions[:3])}?" if suggestions else None
        below = self.below(source, name)
        if below is not None:
            hint = f"{owner} holds it in `{below}`: write {below}.{name}, or {below}.where({name} = ...)"
        return self.fail("unknown-element", message, span, hint)
