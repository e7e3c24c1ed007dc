"""Typed nodes as ELM JSON expressions: what `elm_writer` puts into definitions (CQL: "Logical Specification")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from fhir_eligibility.algebra.diagnostic import Diagnostic, Span
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.values.clinical import Code, Concept, Ratio
from fhir_eligibility.algebra.values.quantity import Quantity
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.scope import HELPERS
from fhir_eligibility.compiler.elm.shapes import short_name
from fhir_eligibility.compiler.elm.types import ANY, ChoiceType, IntervalType, ListType, Named, TupleType, Type
from fhir_eligibility.compiler.elm_json.fields import operand_names
from fhir_eligibility.compiler.runtime.retrieving import codes_and_context
from fhir_eligibility.compiler.translate.cql_library import TypedLibrary

Json = dict[str, Any]
SYSTEM = "{urn:hl7-org:elm-types:r1}"
FHIR = "{http://hl7.org/fhir}"
_COMPONENTS = ("year", "month", "day", "hour", "minute", "second", "millisecond", "timezoneOffset")


class Unwritable(Exception):
    """A node without a form in ELM; the message says what it is."""

    def __init__(self, what: str, span: Span | None) -> None:
        super().__init__(what)
        self.span = span


class ElmNodes:
    """Expressions of one library."""

    def __init__(self, typed: TypedLibrary) -> None:
        self.typed = typed
        self.source = typed.source
        self.refused: list[Diagnostic] = []
        self.needs_helpers = False
        self._ids = 0
        self._current: dict[int, Callable[[], Json]] = {}

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

    def null(self, node: n.Null) -> Json:
        if node.result == ANY:
            return {"type": "Null"}
        return {"type": "As", "operand": self.plain("Null"), **self.cast_type(node.result)}

    def literal(self, node: n.Literal) -> Json:
        return self.literal_value(node.value, node.result)

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
        names = _COMPONENTS[3:7] if isinstance(value, Time) else _COMPONENTS
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

    def component(self, node: Node) -> Json:
        names = _COMPONENTS[3:] if isinstance(node, n.NewTime) else _COMPONENTS
        return {"type": node.kind, **{name: self.write(o) for name, o in zip(names, node.operands, strict=False)}}

    def limit(self, node: n.MinValue | n.MaxValue) -> Json:
        return {"type": node.kind, "valueType": self.type_name(node.target)}

    def local(self, node: n.Scoped) -> Json:
        if isinstance(node, n.AliasRef) and node.name == "$this" and node.scope in self._current:
            return self._current[node.scope]()
        return {"type": node.kind, "name": node.name}

    def current(self, node: n.Chosen) -> Json:
        return self._current[node.scope]()

    def reference(self, node: n.DefinitionRef) -> Json:
        library = node.library
        return {"type": node.kind, "name": node.name, **({"libraryName": library} if library else {})}

    def function(self, node: n.FunctionRef) -> Json:
        return {**self.reference(node), "operand": self.writes(node.operands)}

    # -- structures

    def list_of(self, node: n.List) -> Json:
        return {
            "type": "List",
            "element": self.writes(node.operands),
            "typeSpecifier": self.specifier(node.result.element),
        }

    def interval(self, node: n.NewInterval) -> Json:
        low, high = self.writes(node.operands[:2])
        closed = {"lowClosed": node.low_closed, "highClosed": node.high_closed}
        return {"type": "Interval", "low": low, "high": high, **closed}

    def tuple_of(self, node: n.NewTuple | n.Instance | n.FhirInstance) -> Json:
        pairs = zip(node.names, node.operands, strict=True)
        return {"type": "Tuple", "element": [{"name": name, "value": self.write(o)} for name, o in pairs]}

    def instance(self, node: n.Instance | n.FhirInstance) -> Json:
        return {**self.tuple_of(node), "type": "Instance", "classType": self.type_name(node.target)}

    def property(self, node: n.ElementOf | n.ModelProperty) -> Json:
        (source,) = node.operands
        out: Json = {"type": "Property", "path": node.path}
        if isinstance(source, n.AliasRef) and source.scope not in self._current:
            return out | {"scope": source.name}
        written = self.write(source)
        if written.get("type") == "SortItem":
            return {"type": "IdentifierRef", "name": node.path}
        return out | {"source": written}

    def model_property(self, node: n.ModelProperty) -> Json:
        element = node.element
        if not element.targets:
            return self.property(node)
        if len(element.targets) > 1 or not element.targets[0][1].own:
            raise Unwritable(f"the element {node.path!r}, which the model takes from elsewhere,", node.span)
        function = element.targets[0][1].function
        if function == "value":
            inner = self.property(node)
            return inner | {"path": f"{node.path}.value"}
        if isinstance(node.result, ListType):
            raise Unwritable(f"the list element {node.path!r}, which the model converts,", node.span)
        return self.helper(str(function), self.property(node) | self.place(node.span))

    def helper(self, name: str, operand: Json) -> Json:
        self.needs_helpers = True
        library = next((i.alias for i in self.typed.tree.includes if i.name.rpartition(".")[2] == HELPERS), HELPERS)
        return {"type": "FunctionRef", "name": name, "libraryName": library, "operand": [operand]}

    def fhir_helper(self, node: n.FhirHelper) -> Json:
        return self.helper(node.helper.name, self.write(node.operands[0]))

    def to_system(self, node: n.ModelConversion) -> Json:
        (operand,) = node.operands
        if node.path == "value":
            return {"type": "Property", "path": "value", "source": self.write(operand)}
        name = "ToInterval" if isinstance(node.target, IntervalType) else f"To{short_name(node.target)}"
        return self.helper(name, self.write(operand))

    # -- types and conversions

    def cast_type(self, kind: Type, word: str = "as") -> Json:
        if isinstance(kind, Named):
            return {f"{word}Type": self.type_name(kind)}
        return {f"{word}TypeSpecifier": self.specifier(kind)}

    def cast(self, node: n.As) -> Json:
        out = {"type": "As", "operand": self.write(node.operands[0]), **self.cast_type(node.target)}
        return out | ({"strict": True} if node.strict else {})

    def is_of(self, node: n.Is) -> Json:
        return {"type": "Is", "operand": self.write(node.operands[0]), **self.cast_type(node.target, "is")}

    def inner(self, node: Node) -> Json:
        return self.write(node.operands[0])

    def can_convert(self, node: n.CanConvert) -> Json:
        converted = node.operands[0]
        return {"type": f"ConvertsTo{node.to}", "operand": self.write(converted.operands[0])}

    def members(self, node: n.Members) -> Json:
        """A value of several types: the first type that it is of decides."""
        source, *others = node.operands
        for number, other in zip(node.bound or (), others, strict=True):
            self._current[number] = lambda other=other: self.write(other)  # type: ignore[misc]
        items = []
        for kind, value in node.options:
            test = self.plain("Is", operand=self.write(source), signature=[], **self.cast_type(kind, "is"))

            def seen(kind: Type = kind) -> Json:
                return self.plain("As", operand=self.write(source), signature=[], **self.cast_type(kind))

            self._current[node.scope] = seen
            items.append({"when": test, "then": self.write(value)})
        otherwise = node.otherwise
        if otherwise is not None and not isinstance(otherwise, n.Null):
            missing = self.plain("IsNull", operand=self.write(source), signature=[])
            items.append({"when": missing, "then": self.write(otherwise)})
        return {
            "type": "Case",
            "caseItem": items,
            "else": self.plain("As", operand=self.plain("Null"), **self.cast_type(node.result)),
        }

    def convert_interval(self, node: n.ConvertInterval) -> Json:
        (source,) = node.operands
        out: Json = {"type": "Interval"}
        for side in ("low", "high"):
            self._current[node.scope] = lambda side=side: self.plain(  # type: ignore[misc]
                "Property", path=side, source=self.write(source)
            )
            out[side] = self.write(node.inner)
            closed = self.plain("Property", path=f"{side}Closed", source=self.write(source))
            out[f"{side}ClosedExpression"] = closed
        return out

    def case(self, node: n.Case) -> Json:
        out: Json = {"type": "Case"}
        comparand = node.comparand
        if comparand is not None:
            out["comparand"] = self.write(comparand)
            self._current[node.scope] = lambda: self.write(comparand)
        items = []
        for test, result in zip(node.operands[:-1:2], node.operands[1:-1:2], strict=True):
            when = self.write(test if comparand is None else test.operands[1])
            items.append({"when": when, "then": self.write(result)})
        return out | {"caseItem": items, "else": self.write(node.operands[-1])}

    def if_then(self, node: n.If) -> Json:
        """A chain as ELM has it: each `else` holds the next `If`."""
        otherwise = self.write(node.operands[-1])
        spans = node.spans or (node.span,)
        for index in reversed(range(len(node.operands) // 2)):
            condition, then = (self.write(x) for x in node.operands[2 * index : 2 * index + 2])
            place = {} if index == 0 else self.placed(spans[index], node.result)
            otherwise = place | {"type": "If", "condition": condition, "then": then, "else": otherwise}
        return otherwise

    def coalesce(self, node: n.Coalesce) -> Json:
        return {"type": "Coalesce", "operand": self.writes(node.operands)}

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

    def query(self, node: n.Query) -> Json:
        out: Json = {
            "type": "Query",
            "source": [{**self.place(None), "alias": x.alias, "expression": self.write(x.node)} for x in node.sources],
            "let": [{**self.place(None), "identifier": x.alias, "expression": self.write(x.node)} for x in node.lets],
            "relationship": [
                {
                    "type": x.kind.capitalize(),
                    **self.place(None),
                    "alias": x.alias,
                    "expression": self.write(x.node),
                    "suchThat": self.write(x.condition),
                }
                for x in node.relations
            ],
        }
        if node.where is not None:
            out["where"] = self.write(node.where)
        if node.returned is not None:
            out["return"] = {**self.place(None), "distinct": node.distinct, "expression": self.write(node.returned)}
        aggregate = node.aggregate
        if aggregate is not None:
            out["aggregate"] = {
                **self.place(None),
                "identifier": aggregate.alias,
                "distinct": aggregate.distinct,
                "starting": self.write(aggregate.starting),
                "expression": self.write(aggregate.value),
            }
        if node.sort:
            out["sort"] = {**self.place(None), "by": [self.sort_item(item) for item in node.sort]}
        return out

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
        self._current[item.scope] = lambda: {"type": "SortItem", "localId": ""}
        expression = self.write(key)
        if "SortItem" in str(expression):
            raise Unwritable("sorting by the element itself inside an expression", key.span)
        return {"type": "ByExpression", **self.place(None), "direction": direction, "expression": expression}

    def retrieve(self, node: n.ModelRetrieve) -> Json:
        spec = node.spec
        template = spec.profile or f"http://hl7.org/fhir/StructureDefinition/{spec.resource_type}"
        out: Json = {"type": "Retrieve", "dataType": f"{FHIR}{spec.resource_type}", "templateId": template}
        codes, context = codes_and_context(node)
        if context is not None:
            out["context"] = self.write(context)
        if codes is not None:
            written = self.write(codes)
            if codes.result == t.CODE:
                written = self.plain("ToList", operand=written, signature=[])
            elif codes.result == t.CONCEPT:
                written = self.plain("Property", path="codes", source=written)
            elif codes.result == t.VALUESET:
                written = self.plain("ExpandValueSet", operand=written, signature=[])
            comparator = "in" if codes.result == t.VALUESET else "~"
            out |= {"codeProperty": spec.code_path, "codeComparator": comparator, "codes": written}
        return out


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
W = ElmNodes
_WRITERS: dict[type[Node], Callable[[Any, Any], Json]] = {
    n.Null: W.null, n.Literal: W.literal, n.LocalDateTime: W.literal, n.NewDateTime: W.component, n.NewDate: W.component, n.NewTime: W.component,
    n.MinValue: W.limit, n.MaxValue: W.limit, n.AliasRef: W.local, n.QueryLetRef: W.local, n.OperandRef: W.local,
    n.Chosen: W.current, n.ExpressionRef: W.reference, n.ParameterRef: W.reference, n.CodeRef: W.reference,
    n.ConceptRef: W.reference, n.ValueSetRef: W.reference, n.CodeSystemRef: W.reference, n.FunctionRef: W.function,
    n.List: W.list_of, n.NewInterval: W.interval, n.NewTuple: W.tuple_of, n.Instance: W.instance, n.FhirInstance: W.instance, n.ElementOf: W.property,
    n.ModelProperty: W.model_property, n.ModelConversion: W.to_system, n.FhirHelper: W.fhir_helper, n.As: W.cast, n.Is: W.is_of, n.Box: W.inner,
    n.Unbox: W.inner, n.CanConvert: W.can_convert, n.Members: W.members, n.ConvertInterval: W.convert_interval,
    n.Case: W.case, n.If: W.if_then, n.Coalesce: W.coalesce, n.Query: W.query, n.ModelRetrieve: W.retrieve,
}  # fmt: skip
