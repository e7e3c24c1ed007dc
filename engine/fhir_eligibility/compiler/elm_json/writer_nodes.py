"""What each class of nodes is in ELM JSON (CQL: "Logical Specification")."""

from __future__ import annotations

from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.shapes import short_name
from fhir_eligibility.compiler.elm.types import ANY, IntervalType, ListType, Type
from fhir_eligibility.compiler.elm_json.writer_expressions import COMPONENTS, FHIR, ElmWriter, Json, Unwritable, writes
from fhir_eligibility.compiler.runtime.retrieving import codes_and_context


@writes(n.Null)
def _null(w: ElmWriter, node: n.Null) -> Json:
    if node.result == ANY:
        return {"type": "Null"}
    return {"type": "As", "operand": w.plain("Null"), **w.cast_type(node.result)}


@writes(n.Literal, n.LocalDateTime)
def _literal(w: ElmWriter, node: n.Literal) -> Json:
    return w.literal_value(node.value, node.result)


@writes(n.NewDateTime, n.NewDate, n.NewTime)
def _component(w: ElmWriter, node: Node) -> Json:
    names = COMPONENTS[3:] if isinstance(node, n.NewTime) else COMPONENTS
    return {"type": node.kind, **{name: w.write(o) for name, o in zip(names, node.operands, strict=False)}}


@writes(n.MinValue, n.MaxValue)
def _limit(w: ElmWriter, node: n.MinValue | n.MaxValue) -> Json:
    return {"type": node.kind, "valueType": w.type_name(node.target)}


@writes(n.AliasRef, n.QueryLetRef, n.OperandRef)
def _local(w: ElmWriter, node: n.Scoped) -> Json:
    if isinstance(node, n.AliasRef) and node.name == "$this" and node.scope in w.current:
        return w.current[node.scope]()
    return {"type": node.kind, "name": node.name}


@writes(n.Chosen)
def _current(w: ElmWriter, node: n.Chosen) -> Json:
    return w.current[node.scope]()


@writes(n.ExpressionRef, n.ParameterRef, n.CodeRef, n.ConceptRef, n.ValueSetRef, n.CodeSystemRef)
def _reference(w: ElmWriter, node: n.DefinitionRef) -> Json:
    library = node.library
    return {"type": node.kind, "name": node.name, **({"libraryName": library} if library else {})}


@writes(n.FunctionRef)
def _function(w: ElmWriter, node: n.FunctionRef) -> Json:
    return {**_reference(w, node), "operand": w.writes(node.operands)}


@writes(n.List)
def _list_of(w: ElmWriter, node: n.List) -> Json:
    return {
        "type": "List",
        "element": w.writes(node.operands),
        "typeSpecifier": w.specifier(node.result.element),
    }


@writes(n.NewInterval)
def _interval(w: ElmWriter, node: n.NewInterval) -> Json:
    low, high = w.writes(node.operands[:2])
    closed = {"lowClosed": node.low_closed, "highClosed": node.high_closed}
    return {"type": "Interval", "low": low, "high": high, **closed}


@writes(n.NewTuple)
def _tuple_of(w: ElmWriter, node: n.NewTuple | n.Instance | n.FhirInstance) -> Json:
    pairs = zip(node.names, node.operands, strict=True)
    return {"type": "Tuple", "element": [{"name": name, "value": w.write(o)} for name, o in pairs]}


@writes(n.Instance, n.FhirInstance)
def _instance(w: ElmWriter, node: n.Instance | n.FhirInstance) -> Json:
    return {**_tuple_of(w, node), "type": "Instance", "classType": w.type_name(node.target)}


@writes(n.ElementOf)
def _property(w: ElmWriter, node: n.ElementOf | n.ModelProperty) -> Json:
    (source,) = node.operands
    out: Json = {"type": "Property", "path": node.path}
    if isinstance(source, n.AliasRef) and source.scope not in w.current:
        return out | {"scope": source.name}
    written = w.write(source)
    if written.get("type") == "SortItem":
        return {"type": "IdentifierRef", "name": node.path}
    return out | {"source": written}


@writes(n.ModelProperty)
def _model_property(w: ElmWriter, node: n.ModelProperty) -> Json:
    element = node.element
    if not element.targets:
        return _property(w, node)
    if len(element.targets) > 1 or not element.targets[0][1].own:
        raise Unwritable(f"the element {node.path!r}, which the model takes from elsewhere,", node.span)
    function = element.targets[0][1].function
    if function == "value":
        inner = _property(w, node)
        return inner | {"path": f"{node.path}.value"}
    if isinstance(node.result, ListType):
        raise Unwritable(f"the list element {node.path!r}, which the model converts,", node.span)
    return w.helper(str(function), _property(w, node) | w.place(node.span))


@writes(n.FhirHelper)
def _fhir_helper(w: ElmWriter, node: n.FhirHelper) -> Json:
    return w.helper(node.helper.name, w.write(node.operands[0]))


@writes(n.ModelConversion)
def _to_system(w: ElmWriter, node: n.ModelConversion) -> Json:
    (operand,) = node.operands
    if node.path == "value":
        return {"type": "Property", "path": "value", "source": w.write(operand)}
    name = "ToInterval" if isinstance(node.target, IntervalType) else f"To{short_name(node.target)}"
    return w.helper(name, w.write(operand))


@writes(n.As)
def _cast(w: ElmWriter, node: n.As) -> Json:
    out = {"type": "As", "operand": w.write(node.operands[0]), **w.cast_type(node.target)}
    return out | ({"strict": True} if node.strict else {})


@writes(n.Is)
def _is_of(w: ElmWriter, node: n.Is) -> Json:
    return {"type": "Is", "operand": w.write(node.operands[0]), **w.cast_type(node.target, "is")}


@writes(n.Box, n.Unbox)
def _inner(w: ElmWriter, node: Node) -> Json:
    return w.write(node.operands[0])


@writes(n.CanConvert)
def _can_convert(w: ElmWriter, node: n.CanConvert) -> Json:
    converted = node.operands[0]
    return {"type": f"ConvertsTo{node.to}", "operand": w.write(converted.operands[0])}


@writes(n.Members)
def _members(w: ElmWriter, node: n.Members) -> Json:
    """A value of several types: the first type that it is of decides."""
    source, *others = node.operands
    for number, other in zip(node.bound or (), others, strict=True):
        w.current[number] = lambda other=other: w.write(other)  # type: ignore[misc]
    items = []
    for kind, value in node.options:
        test = w.plain("Is", operand=w.write(source), signature=[], **w.cast_type(kind, "is"))

        def seen(kind: Type = kind) -> Json:
            return w.plain("As", operand=w.write(source), signature=[], **w.cast_type(kind))

        w.current[node.scope] = seen
        items.append({"when": test, "then": w.write(value)})
    otherwise = node.otherwise
    if otherwise is not None and not isinstance(otherwise, n.Null):
        missing = w.plain("IsNull", operand=w.write(source), signature=[])
        items.append({"when": missing, "then": w.write(otherwise)})
    return {
        "type": "Case",
        "caseItem": items,
        "else": w.plain("As", operand=w.plain("Null"), **w.cast_type(node.result)),
    }


@writes(n.ConvertInterval)
def _convert_interval(w: ElmWriter, node: n.ConvertInterval) -> Json:
    (source,) = node.operands
    out: Json = {"type": "Interval"}
    for side in ("low", "high"):
        w.current[node.scope] = lambda side=side: w.plain(  # type: ignore[misc]
            "Property", path=side, source=w.write(source)
        )
        out[side] = w.write(node.inner)
        closed = w.plain("Property", path=f"{side}Closed", source=w.write(source))
        out[f"{side}ClosedExpression"] = closed
    return out


@writes(n.Case)
def _case(w: ElmWriter, node: n.Case) -> Json:
    out: Json = {"type": "Case"}
    comparand = node.comparand
    if comparand is not None:
        out["comparand"] = w.write(comparand)
        w.current[node.scope] = lambda: w.write(comparand)
    items = []
    for test, result in zip(node.operands[:-1:2], node.operands[1:-1:2], strict=True):
        when = w.write(test if comparand is None else test.operands[1])
        items.append({"when": when, "then": w.write(result)})
    return out | {"caseItem": items, "else": w.write(node.operands[-1])}


@writes(n.If)
def _if_then(w: ElmWriter, node: n.If) -> Json:
    """A chain as ELM has it: each `else` holds the next `If`."""
    otherwise = w.write(node.operands[-1])
    spans = node.spans or (node.span,)
    for index in reversed(range(len(node.operands) // 2)):
        condition, then = (w.write(x) for x in node.operands[2 * index : 2 * index + 2])
        place = {} if index == 0 else w.placed(spans[index], node.result)
        otherwise = place | {"type": "If", "condition": condition, "then": then, "else": otherwise}
    return otherwise


@writes(n.Coalesce)
def _coalesce(w: ElmWriter, node: n.Coalesce) -> Json:
    return {"type": "Coalesce", "operand": w.writes(node.operands)}


@writes(n.Query)
def _query(w: ElmWriter, node: n.Query) -> Json:
    out: Json = {
        "type": "Query",
        "source": [{**w.place(None), "alias": x.alias, "expression": w.write(x.node)} for x in node.sources],
        "let": [{**w.place(None), "identifier": x.alias, "expression": w.write(x.node)} for x in node.lets],
        "relationship": [
            {
                "type": x.kind.capitalize(),
                **w.place(None),
                "alias": x.alias,
                "expression": w.write(x.node),
                "suchThat": w.write(x.condition),
            }
            for x in node.relations
        ],
    }
    if node.where is not None:
        out["where"] = w.write(node.where)
    if node.returned is not None:
        out["return"] = {**w.place(None), "distinct": node.distinct, "expression": w.write(node.returned)}
    aggregate = node.aggregate
    if aggregate is not None:
        out["aggregate"] = {
            **w.place(None),
            "identifier": aggregate.alias,
            "distinct": aggregate.distinct,
            "starting": w.write(aggregate.starting),
            "expression": w.write(aggregate.value),
        }
    if node.sort:
        out["sort"] = {**w.place(None), "by": [w.sort_item(item) for item in node.sort]}
    return out


@writes(n.ModelRetrieve)
def _retrieve(w: ElmWriter, node: n.ModelRetrieve) -> Json:
    spec = node.spec
    template = spec.profile or f"http://hl7.org/fhir/StructureDefinition/{spec.resource_type}"
    out: Json = {"type": "Retrieve", "dataType": f"{FHIR}{spec.resource_type}", "templateId": template}
    codes, context = codes_and_context(node)
    if context is not None:
        out["context"] = w.write(context)
    if codes is not None:
        written = w.write(codes)
        if codes.result == t.CODE:
            written = w.plain("ToList", operand=written, signature=[])
        elif codes.result == t.CONCEPT:
            written = w.plain("Property", path="codes", source=written)
        elif codes.result == t.VALUESET:
            written = w.plain("ExpandValueSet", operand=written, signature=[])
        comparator = "in" if codes.result == t.VALUESET else "~"
        out |= {"codeProperty": spec.code_path, "codeComparator": comparator, "codes": written}
    return out
