"""Typed nodes as ELM JSON expressions: what `elm_writer` puts into definitions (CQL: "Logical Specification")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from fhir_eligibility.algebra.diagnostic import Diagnostic, Span
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.clinical import Code, Concept, Ratio
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.scope import HELPERS
from fhir_eligibility.compiler.elm.types import ChoiceType, IntervalType, ListType, Named, TupleType, Type
from fhir_eligibility.compiler.elm_json.fields import operand_names
from fhir_eligibility.compiler.translate.cql_library import TypedLibrary

Json = dict[str, Any]
SYSTEM = "{urn:hl7-org:elm-types:r1}"
FHIR = "{http://hl7.org/fhir}"
COMPONENTS = ("year", "month", "day", "hour", "minute", "second", "millisecond", "timezoneOffset")


class Unwritable(Exception):
    """A node without a form in ELM; the message says what it is."""

    def __init__(self, what: str, span: Span | None) -> None:
        super().__init__(what)
        self.span = span


class ElmWriter:
    """Expressions of one library."""

    def __init__(self, typed: TypedLibrary) -> None:
        self.typed = typed
        self.source = typed.source
        self.refused: list[Diagnostic] = []
        self.needs_helpers = False
        self._ids = 0
        self.current: dict[int, Callable[[], Json]] = {}

    # -- places and types

    def place(self, span: Span | None) -> Json:
        """A local id, and where the author's text stands (lines and columns from one, the end included)."""
        self._ids += 1
        out: Json = {"localId": str(self._ids)}
        if span is not None:
            line, column = self.source.line_column(span.start)
            end_line, end_column = self.source.line_column(max(span.start, span.end - 1))
            out["locator"] = f"{line}:{column}-{end_line}:{end_column}"
        return out

    def model_uri(self, namespace: str) -> str:
        model: Any = self.typed.types.models.get(namespace)
        info = getattr(model, "info", None)
        return info.url if info is not None else "http://hl7.org/fhir"

    def fhir_version(self) -> str:
        models = list(self.typed.types.models.values())
        return models[0].fhir.fhir_version if models else "4.0.1"

    def type_name(self, kind: Type) -> str:
        if not isinstance(kind, Named):
            return f"{SYSTEM}Any"
        namespace, _, short = kind.name.partition(".")
        if namespace == "System":
            return f"{SYSTEM}{short}"
        return f"{{{self.model_uri(namespace)}}}{short}"

    def specifier(self, kind: Type) -> Json:
        """A type as a type specifier."""
        if isinstance(kind, ListType):
            return {"type": "ListTypeSpecifier", "elementType": self.specifier(kind.element)}
        if isinstance(kind, IntervalType):
            return {"type": "IntervalTypeSpecifier", "pointType": self.specifier(kind.point)}
        if isinstance(kind, ChoiceType):
            return {"type": "ChoiceTypeSpecifier", "choice": [self.specifier(o) for o in kind.options]}
        if isinstance(kind, TupleType):
            elements = [{"name": name, "elementType": self.specifier(part)} for name, part in kind.elements]
            return {"type": "TupleTypeSpecifier", "element": elements}
        return {"type": "NamedTypeSpecifier", "name": self.type_name(kind)}

    def named(self, names: Sequence[str]) -> Json:
        """A reference to a definition, perhaps of an included library."""
        return {"name": names[-1], **({"libraryName": names[0]} if len(names) > 1 else {})}

    # -- nodes

    def write(self, node: Node) -> Json:
        """One node with its place and result type."""
        handler = _WRITERS.get(node.__class__)
        body = handler(self, node) if handler is not None else self.operator(node)
        if "localId" in body:
            return body
        out: Json = {"type": body.pop("type"), **self.placed(node.span, node.result), **body}
        if "operand" in out:
            out.setdefault("signature", [])
        return out

    def placed(self, span: Span | None, kind: Type | None) -> Json:
        """A place and a result type."""
        out = self.place(span)
        if isinstance(kind, Named):
            out["resultTypeName"] = self.type_name(kind)
        elif kind is not None:
            out["resultTypeSpecifier"] = self.specifier(kind)
        return out

    def plain(self, kind: str, **fields: Any) -> Json:
        """A node that stands nowhere in the author's text."""
        return {"type": kind, **self.place(None), **fields}

    def writes(self, nodes: Sequence[Node]) -> list[Json]:
        return [self.write(node) for node in nodes]

    def operator(self, node: Node) -> Json:
        """An operator: operands under their names, or as `operand`, one or several."""
        kind = node.kind
        names = operand_names(kind)
        if isinstance(node, n.Operation):
            if len(node.operands) == 2 and node.operands[1].result in (t.VALUESET, t.CODESYSTEM, t.VOCABULARY):
                return self.membership(node)
        elif not names and not isinstance(node, _STANDARD):
            raise Unwritable(f"the node {kind}", node.span)
        out: Json = {"type": kind}
        precision = node.precision if isinstance(node, (n.Operation, n.DateTimeComponentFrom)) else None
        if precision is not None:
            out["precision"] = precision.capitalize()
        if names:
            return out | {name: self.write(o) for name, o in zip(names, node.operands, strict=False)}
        if kind in ("Skip", "Take", "Tail"):
            return self.slice(node)
        operands = self.writes(node.operands)
        if not operands:
            return out
        out["operand"] = (
            operands[0] if len(operands) == 1 and kind not in ("Coalesce", "Expand", "Collapse") else operands
        )
        return out

    def slice(self, node: Node) -> Json:
        zero = self.plain("Literal", valueType=f"{SYSTEM}Integer", value="0")
        source = self.write(node.operands[0])
        if node.kind == "Tail":
            return {
                "type": "Slice",
                "source": source,
                "startIndex": zero | {"value": "1"},
                "endIndex": self.plain("Null"),
            }
        count = self.write(node.operands[1])
        if node.kind == "Skip":
            return {"type": "Slice", "source": source, "startIndex": count, "endIndex": self.plain("Null")}
        known = self.plain("Coalesce", operand=[count, dict(zero)], signature=[])
        return {"type": "Slice", "source": source, "startIndex": zero, "endIndex": known}

    # -- leaves

    def literal_value(self, value: Any, kind: Type) -> Json:
        if isinstance(value, (Date, DateTime, Time)):
            return self.temporal(value)
        if isinstance(value, Quantity):
            unit = value.unit if value.unit != "1" else "1"
            return {"type": "Quantity", "value": _number(value.value), "unit": unit}
        if isinstance(value, Ratio):
            parts = {"numerator": value.numerator, "denominator": value.denominator}
            return {"type": "Ratio", **{name: self.literal_value(part, t.QUANTITY) for name, part in parts.items()}}
        if isinstance(value, Code):
            return self.code(value)
        if isinstance(value, Concept):
            codes = [self.code(code) for code in value.codes if code is not None]
            return {"type": "Concept", "code": codes, **({"display": value.display} if value.display else {})}
        if isinstance(value, bool):
            text = "true" if value else "false"
        else:
            text = format(value, "f") if isinstance(value, Decimal) else str(value)
            if isinstance(value, Decimal) and "." not in text:
                text += ".0"
        return {"type": "Literal", "valueType": self.type_name(kind), "value": text}

    def temporal(self, value: Any) -> Json:
        parts = value._parts
        names = COMPONENTS[3:7] if isinstance(value, Time) else COMPONENTS
        out: Json = {"type": type(value).__name__}
        for name, part in zip(names, parts, strict=False):
            if part is not None:
                out[name] = self.plain("Literal", valueType=f"{SYSTEM}Integer", value=str(part))
        if isinstance(value, DateTime) and value.offset_minutes is not None and not value.implied:
            hours = Decimal(value.offset_minutes) / 60
            text = format(hours.normalize(), "f")
            text = text if "." in text else f"{text}.0"
            out["timezoneOffset"] = self.plain("Literal", valueType=f"{SYSTEM}Decimal", value=text)
        return out

    def code(self, value: Code) -> Json:
        """A code by the code system's definition: ELM has no other way to say it."""
        definitions = [(None, self.typed.symbols), *self.typed.included.items()]
        for library, symbols in definitions:
            for exported in symbols.definitions.values():
                if exported.kind == "CodeSystemRef" and exported.value.id == value.system:
                    system = self.named([x for x in (library, exported.name) if x])
                    display = {"display": value.display} if value.display else {}
                    return {"type": "Code", "code": value.code, "system": system, **display}
        raise Unwritable(f"the code {value.code!r}, whose code system no library defines,", None)

    # -- structures

    def helper(self, name: str, operand: Json) -> Json:
        self.needs_helpers = True
        library = next((i.alias for i in self.typed.tree.includes if i.name.rpartition(".")[2] == HELPERS), HELPERS)
        return {"type": "FunctionRef", "name": name, "libraryName": library, "operand": [operand]}

    # -- types and conversions

    def cast_type(self, kind: Type, word: str = "as") -> Json:
        if isinstance(kind, Named):
            return {f"{word}Type": self.type_name(kind)}
        return {f"{word}TypeSpecifier": self.specifier(kind)}

    def membership(self, node: n.Operation) -> Json:
        code, values = node.operands
        many = node.kind.startswith("Any")
        system = node.kind.endswith("CodeSystem")
        out: Json = {"type": node.kind, "codes" if many else "code": self.write(code)}
        name = "codesystem" if system else "valueset"
        if isinstance(values, (n.ValueSetRef, n.CodeSystemRef)):
            return out | {name: {k: v for k, v in self.write(values).items() if k in ("name", "libraryName")}}
        return out | {f"{name}Expression": self.write(values)}

    # -- queries

    def sort_item(self, item: n.SortItem) -> Json:
        direction = "desc" if item.descending else "asc"
        key = item.key
        if key is None:
            return {"type": "ByDirection", **self.place(None), "direction": direction}
        if isinstance(key, (n.ElementOf, n.ModelProperty)):
            (row,) = key.operands
            converted = isinstance(key, n.ModelProperty) and key.element.targets
            if isinstance(row, n.AliasRef) and row.scope == item.scope and not converted:
                return {"type": "ByColumn", **self.place(None), "path": key.path, "direction": direction}
        self.current[item.scope] = lambda: {"type": "SortItem", "localId": ""}
        expression = self.write(key)
        if "SortItem" in str(expression):
            raise Unwritable("sorting by the element itself inside an expression", key.span)
        return {"type": "ByExpression", **self.place(None), "direction": direction, "expression": expression}


def _number(value: Decimal) -> int | Decimal:
    return int(value) if value == value.to_integral_value() else value


# What is written as an operator although none is registered.
_STANDARD = (
    n.And,
    n.Or,
    n.Xor,
    n.Implies,
    n.Not,
    n.ToList,
    n.DateTimeComponentFrom,
    n.Now,
    n.Today,
    n.TimeOfDay,
)


_H = TypeVar("_H", bound=Callable[..., Any])
_WRITERS: dict[type[Node], Callable[..., Json]] = {}


def writes(*kinds: type[Node]) -> Callable[[_H], _H]:
    """Register how nodes of some kinds are written."""

    def register(handler: _H) -> _H:
        _WRITERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register
