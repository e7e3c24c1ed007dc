"""FHIRPath functions on Booleans, trees and types, references, the clock, sums and joins, and what FHIR adds."""

from __future__ import annotations

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.fhirpath_types import describe, system_of
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import ANY_NAME, shaped
from fhir_eligibility.compiler.elm.types import BOOLEAN, INTEGER, STRING
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.translate.fhirpath import Env
from fhir_eligibility.compiler.translate.fhirpath_functions import FhirPathTranslator, function

T = FhirPathTranslator

# -- Booleans


def _all_boolean(name: str) -> None:
    @function(name)
    def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
        types = [x for x in source.types if x not in ("System.Boolean", "FHIR.boolean", ANY_NAME)]
        if types and len(types) == len(source.types):
            raise t.fail("argument-type", f"{name}() takes Booleans, not {describe(source)}", tree.span)
        if (
            t.patient_data
            and isinstance(source, n.ForEach)
            and not source.operands[1].many
            and source.operands[1].type in _TRUTH
        ):
            return _of_rows(t, name, source)
        return n.AllBoolean((t.box(source),), function=name, result=BOOLEAN)


_TRUTH = ("System.Boolean", "FHIR.boolean")


def _of_rows(t: T, name: str, source: n.ForEach) -> Node:
    """`rows.select(condition).allTrue()` of a patient's records is `rows.all(condition)`: `select` would drop a row whose condition has no answer."""
    rows, body = source.operands
    test = t.condition(body)
    if name.endswith("False"):
        test = n.Not((test,), span=test.span, result=BOOLEAN)
    if name.startswith("all"):
        return n.All((rows, test), scope=source.scope, result=BOOLEAN)
    return n.Exists(
        (n.Filter((rows, test), scope=source.scope, span=rows.span, result=shaped(rows.types, rows.many)),),
        result=BOOLEAN,
    )


for _name in ("allTrue", "anyTrue", "allFalse", "anyFalse"):
    _all_boolean(_name)


# -- tree, types, utilities


@function("children")
def _children(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.Children((t.box(source),), result=shaped((ANY_NAME,), True))


@function("descendants")
def _descendants(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.Descendants((t.box(source),), result=shaped((ANY_NAME,), True))


@function("type")
def _type(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.TypeInfo((t.box(source),), result=shaped(("System.TypeInfo",), source.many))


@function("trace", 1, 2)
def _trace(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    name = t.text_argument(tree, env)
    operands = [source, name]
    scope = None
    if len(tree.arguments) > 1:
        number, body = t.iterate(tree, source, env, 1)
        scope = number
        operands.append(body)
    return n.TraceStep(tuple(operands), scope=scope, result=shaped(source.types, source.many))


def _clock(name: str, kind: type[Node], type_name: str) -> None:
    @function(name)
    def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
        return kind(result=shaped((type_name,)))


_clock("now", n.Now, "System.DateTime")
_clock("today", n.Today, "System.Date")
_clock("timeOfDay", n.TimeOfDay, "System.Time")


@function("extension", 1, section="FHIR")
def _extension(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    url = t.text_argument(tree, env)
    return n.Extension((source, url), result=shaped(("FHIR.Extension",), True))


@function("hasValue", section="FHIR")
def _has_value(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.HasValue((t.box(source),), result=BOOLEAN)


@function("getValue", section="FHIR")
def _get_value(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    one = t.singleton(source)
    if one.type is not None and system_of(one.type) is not None:
        return t.system(one)
    return n.GetValue((t.box(one),), result=shaped((ANY_NAME,)))


@function("resolve", section="FHIR")
def _resolve(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    allowed = ("FHIR.Reference", "FHIR.CodeableReference", "FHIR.canonical", "FHIR.uri", "FHIR.url")
    if source.type is not None and source.type not in allowed and system_of(source.type) != "String":
        raise t.fail("argument-type", f"resolve() takes references, not {describe(source)}", tree.span)
    targets = tuple(
        f"FHIR.{name}" for name in (source.targets if isinstance(source, n.Property) else ()) if t.model.has_type(name)
    )
    types: tuple[str, ...] = ("FHIR.Resource",)
    if targets and not set(targets) & {"FHIR.Resource", "FHIR.DomainResource"}:
        types = targets if len(targets) <= 60 else types
    return n.Resolve((source,), result=shaped(types, source.many))


@function("conformsTo", 1, section="FHIR")
def _conforms(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.ConformsTo((t.box(t.singleton(source)), t.text_argument(tree, env)), result=BOOLEAN)


@function("htmlChecks", section="FHIR")
def _html(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.HtmlChecks((t.box(t.singleton(source)),), result=BOOLEAN)


@function("memberOf", 1, section="FHIR")
def _member_of(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    return n.MemberOf((t.box(t.singleton(source)), t.text_argument(tree, env)), result=BOOLEAN)


def _subsumption(name: str) -> None:
    @function(name, 1, section="FHIR")
    def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
        mine, other = t.box(t.singleton(source)), t.box(t.singleton(t.expression(tree.arguments[0], env)))
        pair = (mine, other) if name == "subsumes" else (other, mine)
        return n.SubsumesCode(pair, result=BOOLEAN)


for _name in ("subsumes", "subsumedBy"):
    _subsumption(_name)


def _unsupported(name: str, why: str) -> None:
    @function(name, 0, 255, section="FHIR", refused=why)
    def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
        raise t.fail("unsupported", f"{name}() is not supported: {why}", tree.name_span)


for _name in ("elementDefinition", "slice", "checkModifiers"):
    _unsupported(_name, "it needs the StructureDefinitions of profiles")
_unsupported("hasTemplateIdOf", "it is defined for CDA documents, which are not read here")


# -- numbers and texts


def _numeric(name: str) -> None:
    @function(name)
    def handler(t: T, tree: s.Call, source: Node, env: Env) -> Node:
        systems = {system_of(x) for x in source.types} if ANY_NAME not in source.types else {None}
        numbers = {"Integer", "Long", "Decimal", "Quantity"}
        allowed = numbers if name in ("sum", "avg") else numbers | {"String", "Date", "DateTime", "Time"}
        if systems and None not in systems and not systems & allowed:
            raise t.fail("argument-type", f"{name}() cannot take {describe(source)}", tree.span)
        values = t.together([source])[0]
        types = t.system(source).types if source.type is not None else values.types
        if name == "avg" and types in (INTEGER, ("System.Long",)):
            types = ("System.Decimal",)
        return n.AggregateNumbers((values,), function=name, result=shaped(types))


for _name in ("min", "max", "sum", "avg"):
    _numeric(_name)


@function("join", 0, 1)
def _join(t: T, tree: s.Call, source: Node, env: Env) -> Node:
    if source.type is not None and system_of(source.type) != "String":
        raise t.fail("argument-type", f"join() takes Strings, not {describe(source)}", tree.span)
    operands = [t.together([source])[0]]
    if tree.arguments:
        operands.append(t.text_argument(tree, env))
    return n.Join(tuple(operands), result=STRING)
