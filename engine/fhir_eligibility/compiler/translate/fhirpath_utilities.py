"""FHIRPath functions on Booleans, trees and types, references, the clock, sums and joins, and what FHIR adds."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.compiler.elm.fhirpath_types import describe, system_of
from fhir_eligibility.compiler.elm.nodes import ANY, Node
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.translate.fhirpath import Env
from fhir_eligibility.compiler.translate.fhirpath_coercion import BOOLEAN, INTEGER, STRING
from fhir_eligibility.compiler.translate.fhirpath_functions import FhirPathTranslator, function

T = FhirPathTranslator

# -- Booleans


def _all_boolean(name: str) -> None:
    @function(name)
    def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
        types = [x for x in source.types if x not in ("System.Boolean", "FHIR.boolean", ANY)]
        if types and len(types) == len(source.types):
            raise t.fail("argument-type", f"{name}() takes Booleans, not {describe(source)}", tree.span)
        if (
            t.patient_data
            and source.kind == "ForEach"
            and not source.operands[1].many
            and source.operands[1].type in _TRUTH
        ):
            return _of_rows(t, name, source)
        return Node("AllBoolean", (t.box(source),), {"function": name}, BOOLEAN)


_TRUTH = ("System.Boolean", "FHIR.boolean")


def _of_rows(t: T, name: str, source: Node) -> Node:
    """`rows.select(condition).allTrue()` of a patient's records is `rows.all(condition)`: `select` would drop a row whose condition has no answer."""
    rows, body = source.operands
    test = t.condition(body)
    if name.endswith("False"):
        test = Node("Not", (test,), types=BOOLEAN, span=test.span)
    scope = {"scope": source.attrs["scope"]}
    if name.startswith("all"):
        return Node("All", (rows, test), scope, BOOLEAN)
    return Node("Exists", (Node("Filter", (rows, test), scope, rows.types, rows.many, rows.span),), types=BOOLEAN)


for _name in ("allTrue", "anyTrue", "allFalse", "anyFalse"):
    _all_boolean(_name)


# -- tree, types, utilities


@function("children")
def _children(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return Node("Children", (t.box(source),), types=(ANY,), many=True)


@function("descendants")
def _descendants(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return Node("Descendants", (t.box(source),), types=(ANY,), many=True)


@function("type")
def _type(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return Node("TypeInfo", (t.box(source),), types=("System.TypeInfo",), many=source.many)


@function("trace", 1, 2)
def _trace(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    name = t.text_argument(tree, env)
    operands = [source, name]
    attrs: dict[str, Any] = {}
    if len(tree.arguments) > 1:
        number, body = t.iterate(tree, source, env, 1)
        attrs["scope"] = number
        operands.append(body)
    return Node("Trace", tuple(operands), attrs, source.types, source.many)


for _name, _type_name in (("now", "DateTime"), ("today", "Date"), ("timeOfDay", "Time")):

    def _clock(kind: str, type_name: str) -> None:
        @function(kind)
        def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
            return Node("Clock", attrs={"function": kind}, types=(f"System.{type_name}",))

    _clock(_name, _type_name)


@function("extension", 1)
def _extension(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    url = t.text_argument(tree, env)
    return Node("Extension", (source, url), types=("FHIR.Extension",), many=True)


@function("hasValue")
def _has_value(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return Node("HasValue", (t.box(source),), types=BOOLEAN)


@function("getValue")
def _get_value(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    one = t.singleton(source)
    if one.type is not None and system_of(one.type) is not None:
        return t.system(one)
    return Node("GetValue", (t.box(one),), types=(ANY,))


@function("resolve")
def _resolve(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    allowed = ("FHIR.Reference", "FHIR.CodeableReference", "FHIR.canonical", "FHIR.uri", "FHIR.url")
    if source.type is not None and source.type not in allowed and system_of(source.type) != "String":
        raise t.fail("argument-type", f"resolve() takes references, not {describe(source)}", tree.span)
    targets = tuple(f"FHIR.{name}" for name in source.attrs.get("targets", ()) if t.model.has_type(name))
    types: tuple[str, ...] = ("FHIR.Resource",)
    if targets and not set(targets) & {"FHIR.Resource", "FHIR.DomainResource"}:
        types = targets if len(targets) <= 60 else types
    return Node("Resolve", (source,), types=types, many=source.many)


@function("conformsTo", 1)
def _conforms(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return Node("ConformsTo", (t.box(t.singleton(source)), t.text_argument(tree, env)), types=BOOLEAN)


@function("htmlChecks")
def _html(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return Node("HtmlChecks", (t.box(t.singleton(source)),), types=BOOLEAN)


@function("memberOf", 1)
def _member_of(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return Node("MemberOf", (t.box(t.singleton(source)), t.text_argument(tree, env)), types=BOOLEAN)


def _subsumption(name: str) -> None:
    @function(name, 1)
    def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
        mine, other = t.box(t.singleton(source)), t.box(t.singleton(t.expression(tree.arguments[0], env)))
        pair = (mine, other) if name == "subsumes" else (other, mine)
        return Node("SubsumesCode", pair, types=BOOLEAN)


for _name in ("subsumes", "subsumedBy"):
    _subsumption(_name)


def _unsupported(name: str, why: str) -> None:
    @function(name, 0, 255)
    def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
        raise t.fail("unsupported", f"{name}() is not supported: {why}", tree.name_span)


for _name in ("elementDefinition", "slice", "checkModifiers"):
    _unsupported(_name, "it needs the StructureDefinitions of profiles")
_unsupported("hasTemplateIdOf", "it is defined for CDA documents, which are not read here")


# -- numbers and texts


def _numeric(name: str) -> None:
    @function(name)
    def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
        systems = {system_of(x) for x in source.types} if ANY not in source.types else {None}
        numbers = {"Integer", "Long", "Decimal", "Quantity"}
        allowed = numbers if name in ("sum", "avg") else numbers | {"String", "Date", "DateTime", "Time"}
        if systems and None not in systems and not systems & allowed:
            raise t.fail("argument-type", f"{name}() cannot take {describe(source)}", tree.span)
        values = t.together([source])[0]
        types = t.system(source).types if source.type is not None else values.types
        if name == "avg" and types in (INTEGER, ("System.Long",)):
            types = ("System.Decimal",)
        return Node("AggregateNumbers", (values,), {"function": name}, types)


for _name in ("min", "max", "sum", "avg"):
    _numeric(_name)


@function("join", 0, 1)
def _join(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    if source.type is not None and system_of(source.type) != "String":
        raise t.fail("argument-type", f"join() takes Strings, not {describe(source)}", tree.span)
    operands = [t.together([source])[0]]
    if tree.arguments:
        operands.append(t.text_argument(tree, env))
    return Node("Join", tuple(operands), types=STRING)
