"""Items of FHIRPath's collections: lists of them, the first of them, and how many rounds of a loop there were."""

from __future__ import annotations

from collections.abc import Callable

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.emitter import Emitter, counts_loops, single
from fhir_eligibility.compiler.emit.python import Emitted, py

SERIES = "FHIR.ImagingStudy.series"


def listing(e: Emitter, node: Node, *, asked_for: bool = False) -> Emitted:
    """A list of the items of any node; `asked_for` where the author asks whether there is an item, so that what has no answer is none."""
    if node.is_null:
        return py("[]")
    if node.many:
        return e.value(node)
    value = e.temp(e.value(node)) if asked_for else single(e, node)
    return py("([] if {0} is None else [{0}])", value) if e.nullable(node) else py("[{0}]", value)


def first_item(e: Emitter, node: Node, start: Emitted, found: Callable[[Emitted], Emitted]) -> Emitted:
    """A name that holds `start`, or `found(item)` of the first item of a node; stops at that item."""
    records = (below for below in node.walk() if isinstance(below, n.Retrieve) or below.type == SERIES)
    names = (below for below in node.walk() if isinstance(below, (n.Let, n.Bind)))
    # every record and every series that matches is evidence, so that none may be skipped; variables are bound outside of functions
    if (e.traced and any(True for _ in records)) or (e.loops(node) > 1 and any(True for _ in names)):
        items = e.temp(listing(e, node))
        return py("({0} if {1} else {2})", found(py("{0}[0]", items)), items, start)
    return e.first_of(node, start, found, every=False)


@counts_loops(n.Property, n.Filter, n.ToSystem, n.Box, n.OfType, n.DynamicProperty, n.PrimitiveExtensions)
def _loops_of_a_step(e: Emitter, node: Node) -> int:
    repeats = (
        node.repeats if isinstance(node, n.Property) else isinstance(node, (n.DynamicProperty, n.PrimitiveExtensions))
    )
    return e.loops(node.operands[0]) + repeats


@counts_loops(n.ForEach)
def _loops_of_a_projection(e: Emitter, node: n.ForEach) -> int:
    return e.loops(node.operands[0]) + e.loops(node.operands[1])


def counts(e: Emitter, node: n.ItemStep) -> bool:
    """Whether the rounds of a loop are counted: where the number is asked for, and in traced code where the items are not objects that can be told apart."""
    source = node.operands[0]
    objects = source.types and all(map(_is_object, source.types))
    counted = any(_asks_for_the_number(body, node.scope) for body in node.operands[1:]) or (e.traced and not objects)
    if counted:
        e.counted.add(node.scope)
    return counted


def _is_object(type_name: str) -> bool:
    """Whether the values of a type are objects of the data; a System value, or a primitive, is made of them anew in each run."""
    namespace, _, name = type_name.partition(".")
    return namespace == "FHIR" and name[:1].isupper()


def _asks_for_the_number(node: Node, scope: int) -> bool:
    return any(isinstance(below, n.Iteration) and below.scope == scope for below in node.walk())
