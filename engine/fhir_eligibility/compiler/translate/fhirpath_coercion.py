"""How a translator reports, represents values, and converts them: types and singletons, independent of the syntax.

A value of one known FHIR type is raw JSON; where the type is known only at run time it is boxed with its type's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Diagnostic, Source, Span
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.fhirpath_types import SYSTEM_NAMES, describe, is_static, merge, system_of
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import ANY_NAME, shaped
from fhir_eligibility.compiler.elm.types import BOOLEAN, DECIMAL, QUANTITY, Named
from fhir_eligibility.compiler.translate.abort import Abort

ABSTRACT_RESOURCES = ("FHIR.Resource", "FHIR.DomainResource")


_WRITTEN_AS_TEXT = frozenset(("Date", "DateTime", "Time", "Long"))


class Coercions:
    """The typed side of a translator: diagnostics, how values are represented, conversions, type names."""

    def __init__(
        self,
        source: Source,
        model: Model,
        *,
        root: str | None,
        variables: Mapping[str, str],
        lenient: bool,
        patient_data: bool,
    ) -> None:
        self.source = source
        self.model = model
        self.lenient = lenient
        self.patient_data = patient_data
        self.variables = dict(variables)
        self.diagnostics: list[Diagnostic] = []
        self.context = n.Context(result=shaped((f"FHIR.{root}",) if root else (ANY_NAME,)))
        self._ids = 0

    # -- diagnostics

    def report(self, code: str, message: str, span: Span, hint: str | None = None, *, warning: bool = False) -> None:
        severity: Any = "warning" if warning else "error"
        self.diagnostics.append(Diagnostic(code, message, severity, self.source, span, hint))

    def fail(self, code: str, message: str, span: Span, hint: str | None = None) -> Abort:
        self.report(code, message, span, hint)
        return Abort()

    def new_id(self) -> int:
        self._ids += 1
        return self._ids

    # -- representation and conversion

    def together(self, nodes: list[Node]) -> list[Node]:
        """Operands made comparable with each other: System values where the type is known, else values with their type.

        A collection keeps its items as they are: those with extensions alone count, and what they are compared with is unknown.
        """
        if all(node.is_null or is_static(node) for node in nodes):
            return [self.box(node) if node.many else self.system(node) for node in nodes]
        return [self.box(node) for node in nodes]

    def mixed(self, nodes: list[Node]) -> tuple[list[Node], tuple[str, ...]]:
        """Operands whose values come to stand for each other, and the types that these may have: as they are where all are of one known type, else with their type."""
        types = merge(*(node.types for node in nodes))
        if len(types) != 1 or types == (ANY_NAME,):
            nodes = [self.box(node) for node in nodes]
        return nodes, types

    def compared(self, node: Node) -> Node:
        """A collection whose items are compared: dates, times and Longs, which stand in the data as text, with their type."""
        return self.box(node) if node.type and system_of(node.type) in _WRITTEN_AS_TEXT else node

    def box(self, node: Node) -> Node:
        """The same values with their type, so that they can stand among values of other types."""
        if node.type is None or node.is_null:
            return node
        namespace, _, name = node.type.partition(".")
        if namespace == "System" or self.model.kind(name) == "resource":
            return node
        return n.Box((node,), target=Named(node.type), span=node.span, result=shaped(node.types, node.many))

    def system(self, node: Node) -> Node:
        """FHIR primitives as System values; anything else as it is."""
        if node.type is None or node.type.startswith("System."):
            return node
        name = system_of(node.type)
        if name is None:
            return node
        return n.ToSystem(
            (node,), target=Named(f"System.{name}"), span=node.span, result=shaped((f"System.{name}",), node.many)
        )

    def convert(self, node: Node, parameter: str) -> Node:
        """Implicit conversion of a single operand to the type of a parameter."""
        node = self.system(node)
        name = system_of(node.type or "") if node.type else None
        if name in ("Integer", "Long") and parameter == "Decimal":
            if isinstance(node, n.Literal):
                return replace(node, value=Decimal(node.value), result=DECIMAL)
            overload = OPERATORS["ToDecimal"].overload("Integer")
            return n.Operation((node,), name="ToDecimal", overload=overload, span=node.span, result=DECIMAL)
        if name in ("Integer", "Long", "Decimal") and parameter == "Quantity":
            overload = OPERATORS["ToQuantity"].overload("Integer")
            return n.Operation((node,), name="ToQuantity", overload=overload, span=node.span, result=QUANTITY)
        return node

    def singleton(self, node: Node) -> Node:
        """At most one value; several are an error at run time."""
        if not node.many:
            return node
        return n.SingletonFrom((node,), span=node.span, result=shaped(node.types))

    def condition(self, node: Node) -> Node:
        """A collection as a condition (FHIRPath: "Singleton Evaluation of Collections")."""
        node = self.singleton(node)
        if node.is_null or node.type == "System.Boolean":
            return node
        if node.type == "FHIR.boolean":
            return self.system(node)
        if node.type is not None:
            self.report(
                "non-boolean-condition",
                f"{describe(node)} is used as a condition; it is true whenever there is a value",
                node.span or Span(0, 0),
                "write .exists() if that is meant",
                warning=True,
            )
            return n.Present((node,), span=node.span, result=BOOLEAN)
        return n.Condition((node,), span=node.span, result=BOOLEAN)

    # -- types

    def type_name(self, names: tuple[str, ...], span: Span) -> tuple[str, str]:
        """Namespace and name of a type specifier."""
        if len(names) > 1 and names[0] == "System":
            if ".".join(names[1:]) not in SYSTEM_NAMES:
                self.report("unknown-type", f"there is no type {'.'.join(names)}", span, warning=True)
            return "System", ".".join(names[1:])
        if len(names) > 1 and names[0] == "FHIR":
            names = names[1:]
        name = ".".join(names)
        if self.model.has_type(name):
            return "FHIR", name
        if name in SYSTEM_NAMES:
            return "System", name
        hint = _nearest(name, [*self.model.resource_types, *SYSTEM_NAMES, "string", "boolean", "dateTime", "code"])
        raise self.fail("unknown-type", f"there is no type {name!r} in FHIR {self.model.version.upper()}", span, hint)

    def type_test(self, operator: str, operand: Node, names: tuple[str, ...], type_span: Span, span: Span) -> Node:
        namespace, name = self.type_name(names, type_span)
        if operator == "is":
            return self.is_type(self.singleton(operand), namespace, name, span)
        return self.of_type(self.singleton(operand), namespace, name, span)

    def _both_quantities(self, node: Node, namespace: str, name: str) -> tuple[str, str]:
        """`Quantity` without a namespace means System.Quantity for a System value."""
        if (namespace, name) == ("FHIR", "Quantity") and node.type is not None and node.type.startswith("System."):
            return "System", "Quantity"
        return namespace, name

    def is_type(self, node: Node, namespace: str, name: str, span: Span) -> Node:
        namespace, name = self._both_quantities(node, namespace, name)
        if node.is_null:
            return n.Empty(span=span)
        if node.type is not None and node.type not in ABSTRACT_RESOURCES and node.type != "FHIR.Element":
            own_namespace, _, own = node.type.partition(".")
            answer = own_namespace == namespace and (
                own == name or (namespace == "FHIR" and self.model.is_subtype(own, name))
            )
            return n.IsStatic((node,), answer=answer, span=span, result=BOOLEAN)
        return n.ItemIs((self.box(node),), target=Named(f"{namespace}.{name}"), span=span, result=BOOLEAN)

    def of_type(self, node: Node, namespace: str, name: str, span: Span) -> Node:
        namespace, name = self._both_quantities(node, namespace, name)
        wanted = f"{namespace}.{name}"
        if node.is_null:
            return n.Empty(span=span)
        primitive = namespace == "FHIR" and self.model.kind(name) == "primitive"
        if node.type is not None and node.type not in ABSTRACT_RESOURCES and node.type != "FHIR.Element":
            own_namespace, _, own = node.type.partition(".")
            if node.type == wanted or (
                own_namespace == namespace == "FHIR" and not primitive and self.model.is_subtype(own, name)
            ):
                return node
            return n.Empty(span=span, result=shaped((wanted,), node.many))
        if isinstance(node, n.Property) and node.names is not None:
            narrowed = self.narrow(node, [wanted], span)
            if narrowed is not None:
                return narrowed
        if (
            node.types
            and ANY_NAME not in node.types
            and namespace == "System"
            and not any(t.startswith("System.") for t in node.types)
        ):
            return n.Empty(span=span, result=shaped((wanted,), node.many))
        return n.OfType((node,), target=Named(wanted), span=span, result=shaped((wanted,), node.many))

    def narrow(self, node: n.Property, wanted: list[str], span: Span) -> Node | None:
        """A choice element restricted to some of its types; None where it has none of them."""
        names = node.names or {}
        kept = {key: kind for key, kind in names.items() if f"FHIR.{kind}" in wanted}
        if not kept:
            return None
        if len(kept) == 1:
            key, kind = next(iter(kept.items()))
            result = shaped((f"FHIR.{kind}",), node.many)
            return replace(node, names=None, json=key, element_type=kind, span=span, result=result)
        result = shaped(tuple(f"FHIR.{kind}" for kind in kept.values()), node.many)
        return replace(node, names=kept, span=span, result=result)


def certainly_many(node: Node) -> bool:
    """Whether a collection is known at compile time to have several items: a union of unequal constants."""
    if not isinstance(node, n.Union):
        return False
    values: list[Any] = []
    stack = list(node.operands)
    while stack:
        operand = stack.pop()
        if isinstance(operand, n.Union):
            stack.extend(operand.operands)
        elif isinstance(operand, n.Literal):
            values.append((operand.type, operand.value))
    return any(a != b for a in values for b in values)


def _nearest(name: str, candidates: list[str]) -> str | None:
    close = difflib.get_close_matches(name, candidates, n=2, cutoff=0.7)
    return f"did you mean {' or '.join(close)}?" if close else None
