"""What each kind of node turns into: the handlers of the emitter, except those for filters and conditions (`fhirpath_filters`)."""

from __future__ import annotations

from fhir_eligibility.algebra.values.element import SYSTEM_TYPE
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.fhirpath_emitter import Body, Emitter, emits_each, emits_value
from fhir_eligibility.compiler.emit.module_text import literal, local
from fhir_eligibility.compiler.emit.reuse import shape

_TO_SYSTEM = {
    "String": "to_text",
    "Boolean": "to_boolean",
    "Integer": "to_integer",
    "Long": "to_integer",
    "Decimal": "to_decimal",
    "Date": "to_date",
    "DateTime": "to_datetime",
    "Time": "to_time",
    "Quantity": "to_quantity",
}
E = Emitter
_NAMED = frozenset("Context Current Iteration Total Reference".split())


def _primitive(type_name: str) -> bool:
    return type_name in SYSTEM_TYPE and not type_name[0].isupper()


# -- leaves


@emits_value("Literal")
def _literal(e: E, node: Node) -> str:
    value = node.attrs["value"]
    return literal(value) if value is None or value.__class__ in (bool, str, int) else e.constant(value)


@emits_value("Null")
def _null(e: E, node: Node) -> str:
    return "[]" if node.many else "None"


@emits_each("Null")
def _each_null(e: E, node: Node, body: Body) -> None:
    return None


@emits_value("Context")
def _context(e: E, node: Node) -> str:
    return "ctx"


@emits_value("Current")
def _current(e: E, node: Node) -> str:
    return local("x", node.attrs["scope"])


@emits_value("Iteration")
def _iteration(e: E, node: Node) -> str:
    return local("i", node.attrs["scope"])


@emits_value("Total")
def _total(e: E, node: Node) -> str:
    return local("s", node.attrs["scope"])


@emits_value("Reference")
def _reference(e: E, node: Node) -> str:
    return local("v", node.attrs["id"])


@emits_value("Parameter")
def _parameter(e: E, node: Node) -> str:
    return f"ev.variables[{literal(node.attrs['name'])}]"


@emits_value("Clock")
def _clock(e: E, node: Node) -> str:
    return {"now": "ev.now", "today": "ev.today", "timeOfDay": "ev.time_of_day"}[node.attrs["function"]]


# -- paths


@emits_value("Property")
def _property(e: E, node: Node) -> str:
    if node.many:
        return e.collect(node)
    source = e.temp(e.value(node.operands[0]))
    access = _access(e, node, source)
    if e.nullable(node.operands[0]):
        return f"(None if {source} is None else {access})"
    return access


def _access(e: E, node: Node, owner: str) -> str:
    """The value of an element that does not repeat, of one owner."""
    if "names" in node.attrs:
        return f"choice({owner}, {e.constant(node.attrs['names'], 'N')})"
    key, kind = node.attrs["json"], node.attrs.get("element_type", "")
    if _primitive(kind):
        return f"primitive({owner}, {literal(key)}, {literal(kind)})"
    return f"{owner}.get({literal(key)})"


@emits_each("Property")
def _each_property(e: E, node: Node, body: Body) -> None:
    if not node.many:
        e.once(node, body)
        return

    def of(owner: str) -> None:
        if node.attrs.get("repeats"):
            key, kind = node.attrs["json"], node.attrs["element_type"]
            item = e.name("x")
            if _primitive(kind):
                with e.block(f"for {item} in primitives({owner}, {literal(key)}, {literal(kind)}):"):
                    body(item)
                return
            _loop(e, owner, key, item, body)
        else:
            value = e.temp(_access(e, node, owner))
            with e.block(f"if {value} is not None:"):
                body(value)

    e.each(node.operands[0], of)


def _loop(e: E, owner: str, key: str, item: str, body: Body) -> None:
    """Loop over a repeating element; data with something else than an array there is an error."""
    values = e.temp(f"{owner}.get({literal(key)})")
    with e.block(
        f"for {item} in (() if {values} is None else {values} if {values}.__class__ is list else as_list({values}, {literal(key)})):"
    ):
        body(item)


@emits_each("ToSystem")
def _each_to_system(e: E, node: Node, body: Body) -> None:
    (source,) = node.operands
    convert = _TO_SYSTEM[node.attrs["to"]]
    if source.kind == "Property" and "json" in source.attrs and _primitive(source.attrs.get("element_type", "")):
        key, kind = source.attrs["json"], source.attrs["element_type"]

        def of(owner: str) -> None:
            if source.attrs.get("repeats"):
                item = e.name("x")

                def one(raw: str) -> None:
                    with e.block(f"if {raw} is not None:"):
                        body(_converted(e, raw, node.attrs["to"], kind))

                _loop(e, owner, key, item, one)
            else:
                value = e.temp(f"{owner}.get({literal(key)})")
                with e.block(f"if {value} is not None:"):
                    body(_converted(e, value, node.attrs["to"], kind))

        e.each(source.operands[0], of)
        return

    def convert_one(item: str) -> None:
        value = e.temp(f"{convert}({item})")
        with e.block(f"if {value} is not None:"):
            body(value)

    e.each(source, convert_one)


def _converted(e: E, raw: str, system: str, kind: str) -> str:
    """A raw primitive, known to be there, as a System value."""
    return e.temp(f"{_TO_SYSTEM[system]}({raw})") if system != "String" or e.traced else raw


@emits_value("ToSystem")
def _to_system(e: E, node: Node) -> str:
    if node.many:
        return e.collect(node)
    (source,) = node.operands
    convert = _TO_SYSTEM[node.attrs["to"]]
    if source.kind == "Property" and "json" in source.attrs and _primitive(source.attrs.get("element_type", "")):
        owner = e.temp(e.value(source.operands[0]))
        access = f"{owner}.get({literal(source.attrs['json'])})"
        if node.attrs["to"] == "String" and e.traced:
            text = e.name()
            access = f"({text} if ({text} := {access}).__class__ is str else to_text({text}))"
        elif node.attrs["to"] != "String":
            access = f"{convert}({access})"
        if e.nullable(source.operands[0]):
            return f"(None if {owner} is None else {access})"
        return access
    return f"{convert}({e.value(source)})"


@emits_value("Box")
def _box(e: E, node: Node) -> str:
    (source,) = node.operands
    if node.many:
        return f"box_all({e.value(source)}, {literal(node.attrs['type'])})"
    value = e.temp(e.value(source))
    return f"box({value}, {literal(node.attrs['type'])})"


@emits_each("Box")
def _each_box(e: E, node: Node, body: Body) -> None:
    e.each(node.operands[0], lambda item: body(e.temp(f"box({item}, {literal(node.attrs['type'])})")))


@emits_each("DynamicProperty")
def _each_dynamic(e: E, node: Node, body: Body) -> None:
    def of(owner: str) -> None:
        item = e.name("x")
        lenient = ", True" if node.attrs.get("lenient") else ""
        with e.block(f"for {item} in children_named(M, {owner}, {literal(node.attrs['path'])}{lenient}):"):
            body(f"unbox({item})" if node.type is not None else item)

    e.each(node.operands[0], of)


@emits_value("DynamicProperty")
def _dynamic(e: E, node: Node) -> str:
    return e.collect(node) if node.many else e.only(node)


@emits_each("OfType")
def _each_of_type(e: E, node: Node, body: Body) -> None:
    namespace, name = node.attrs["namespace"], node.attrs["name"]
    (source,) = node.operands

    def of(item: str) -> None:
        item = e.temp(item)
        resource = source.type in ("FHIR.Resource", "FHIR.DomainResource")
        if resource and name not in ("Resource", "DomainResource"):
            head = f"if {item}.get('resourceType') == {literal(name)}:"
        else:
            head = f"if matches_type(M, {item}, {literal(namespace)}, {literal(name)}):"
        with e.block(head):
            body(item if namespace == "System" or resource else e.temp(f"unbox({item})"))

    e.each(source, of)


@emits_value("OfType")
def _of_type(e: E, node: Node) -> str:
    return e.collect(node) if node.many else e.only(node)


@emits_each("PrimitiveExtensions")
def _each_primitive_extensions(e: E, node: Node, body: Body) -> None:
    def of(owner: str) -> None:
        item = e.name("x")
        with e.block(f"for {item} in primitive_extensions({owner}):"):
            body(item)

    e.each(node.operands[0], of)


@emits_each("ElementId")
def _each_element_id(e: E, node: Node, body: Body) -> None:
    def of(owner: str) -> None:
        value = e.temp(f"element_id({owner})")
        with e.block(f"if {value} is not None:"):
            body(value)

    e.each(node.operands[0], of)


@emits_each("Extension")
def _each_extension(e: E, node: Node, body: Body) -> None:
    url = e.temp(e.value(node.operands[1]))

    def of(owner: str) -> None:
        item = e.name("x")
        with e.block(f"for {item} in extensions({owner}, {url}):"):
            body(item)

    e.each(node.operands[0], of)


@emits_each("ForEach")
def _each_for_each(e: E, node: Node, body: Body) -> None:
    source, inner = node.operands
    scope = node.attrs["scope"]
    counted = e.counts(node)
    if counted:
        e.emit(f"{local('i', scope)} = -1")

    def of(item: str) -> None:
        e.emit(f"{local('x', scope)} = {item}")
        if counted:
            e.emit(f"{local('i', scope)} += 1")
        e.each(inner, body)

    e.each(source, of)


@emits_each("Combine")
def _each_combine(e: E, node: Node, body: Body) -> None:
    item = e.name("x")
    left, right = e.temp(e.listing(node.operands[0])), e.temp(e.listing(node.operands[1]))
    with e.block(f"for {item} in {left} + {right}:"):
        body(item)


# -- subsetting and sets


@emits_value("First")
def _first(e: E, node: Node) -> str:
    (source,) = node.operands
    if source.kind != "Combine" or any(operand.many for operand in source.operands):
        return e.leave_at_first(source, "None", lambda item: item)

    def either() -> str:
        out = e.name()
        e.emit(f"{out} = {e.single(source.operands[0])}")
        with e.block(f"if {out} is None:"):
            e.emit(f"{out} = {e.single(source.operands[1])}")
        return out

    return e.again(shape(source, lambda below: e.value(below) if below.kind in _NAMED else None), either)


@emits_value("Last")
def _last(e: E, node: Node) -> str:
    (source,) = node.operands
    if not source.many:
        return e.value(source)
    items = e.temp(e.value(source))
    return f"({items}[-1] if {items} else None)"


@emits_value("Indexer")
def _indexer(e: E, node: Node) -> str:
    items = e.temp(e.listing(node.operands[0]))
    index = e.temp(f"check_index({e.value(node.operands[1])})")
    return f"({items}[{index}] if 0 <= {index} < len({items}) else None)"


@emits_value("Skip", "Take")
def _slice(e: E, node: Node) -> str:
    items = e.temp(e.listing(node.operands[0]))
    count = e.temp(f"slice_count({e.value(node.operands[1])})")
    part = f"{items}[{count}:]" if node.kind == "Skip" else f"{items}[:{count}]"
    return part if node.many else f"({part} or NONE)[0]"


@emits_value("SingletonFrom")
def _singleton(e: E, node: Node) -> str:
    return f"singleton({e.value(node.operands[0])})"


@emits_value("Distinct")
def _distinct(e: E, node: Node) -> str:
    return f"distinct({e.value(node.operands[0])})" if node.many else e.value(node.operands[0])


@emits_value("Union", "Intersect", "Exclude")
def _sets(e: E, node: Node) -> str:
    left = e.temp(e.listing(node.operands[0]))
    right = e.listing(node.operands[1])
    call = f"{node.kind.lower()}({left}, {right})"
    return call if node.many else f"({call} or NONE)[0]"


@emits_value("SubsetOf", "EqualList", "EquivalentList")
def _two_lists(e: E, node: Node) -> str:
    names = {"SubsetOf": "subset_of", "EqualList": "equal_lists", "EquivalentList": "equivalent_lists"}
    left = e.temp(e.listing(node.operands[0]))
    return f"{names[node.kind]}({left}, {e.listing(node.operands[1])})"


def _texts(node: Node) -> list[str] | None:
    """The strings that a union of literals is made of, None for anything else."""
    if node.kind == "Literal" and node.attrs["value"].__class__ is str and node.types == ("System.String",):
        return [node.attrs["value"]]
    if node.kind in ("Union", "Combine"):
        left, right = _texts(node.operands[0]), _texts(node.operands[1])
        return left + right if left is not None and right is not None else None
    return None


@emits_value("In")
def _in(e: E, node: Node) -> str:
    texts = _texts(node.operands[1])
    if texts and not node.operands[0].many and node.operands[0].types == ("System.String",):
        one = e.temp(e.value(node.operands[0]))
        return f"(None if {one} is None else {one} in {e.constant(frozenset(texts))})"
    left = e.temp(e.listing(node.operands[0]))
    return f"member({left}, {e.listing(node.operands[1])})"


@emits_value("IsDistinct")
def _is_distinct(e: E, node: Node) -> str:
    return f"is_distinct({e.listing(node.operands[0])})"


@emits_value("Count")
def _count(e: E, node: Node) -> str:
    (source,) = node.operands
    if source.kind in ("Filter", "Property", "ForEach"):
        out = e.name("n")
        e.emit(f"{out} = 0")
        e.each(source, lambda item: e.emit(f"{out} += 1"))
        return out
    return f"len({e.listing(source, asked_for=True)})"


@emits_value("Repeat")
def _repeat(e: E, node: Node) -> str:
    source, inner = node.operands
    scope = node.attrs["scope"]
    step = e.name("f")
    with e.block(f"def {step}({local('x', scope)}):"):
        e.emit(f"return {e.listing(inner)}")
    function = "repeat" if node.attrs["unique"] else "repeat_all"
    return f"{function}({e.listing(source)}, {step}, {literal(node.attrs['seeds'])})"


@emits_value("Sort")
def _sort(e: E, node: Node) -> str:
    scope = node.attrs["scope"]
    keys = []
    for operand, direction in zip(node.operands[1:], node.attrs["directions"], strict=True):
        key = e.name("f")
        with e.block(f"def {key}({local('x', scope)}):"):
            e.emit(f"return {e.value(operand)}")
        keys.append(f"({key}, {literal(direction)})")
    items = e.listing(node.operands[0])
    call = f"sort({items}, [{', '.join(keys)}])"
    return call if node.many else f"({call} or NONE)[0]"


@emits_value("Aggregate")
def _aggregate(e: E, node: Node) -> str:
    source, inner, start = node.operands
    scope = node.attrs["scope"]
    whole = e.listing if node.many else e.value
    e.emit(f"{local('s', scope)} = {whole(start)}")
    counted = e.counts(node)
    if counted:
        e.emit(f"{local('i', scope)} = -1")

    def of(item: str) -> None:
        e.emit(f"{local('x', scope)} = {item}")
        if counted:
            e.emit(f"{local('i', scope)} += 1")
        e.emit(f"{local('s', scope)} = {whole(inner)}")

    e.each(source, of)
    return local("s", scope)


@emits_value("AggregateNumbers")
def _numbers(e: E, node: Node) -> str:
    items = e.listing(node.operands[0])
    name = node.attrs["function"]
    if name in ("min", "max"):
        return f"extreme({items}, {name == 'max'})"
    return f"{'total' if name == 'sum' else 'mean'}({items})"


@emits_value("Join")
def _join(e: E, node: Node) -> str:
    items = e.temp(f"texts({e.listing(node.operands[0])})")
    separator = e.value(node.operands[1]) if len(node.operands) > 1 else "None"
    return f"join({items}, {separator})"


# -- variables and branches


@emits_value("Let")
def _let(e: E, node: Node) -> str:
    source, value = node.operands
    whole = local("v", node.attrs["source"])
    e.emit(f"{whole} = {e.value(source)}")
    e.emit(f"{local('v', node.attrs['id'])} = {e.value(value)}")
    return whole


@emits_value("Bind")
def _bind(e: E, node: Node) -> str:
    source, inner = node.operands
    e.emit(f"{local('v', node.attrs['id'])} = {e.value(source)}")
    return e.value(inner)


@emits_value("Coalesce")
def _coalesce(e: E, node: Node) -> str:
    out = e.name("l")
    e.emit(f"{out} = {e.listing(node.operands[0], asked_for=True)}")
    for operand in node.operands[1:]:
        with e.block(f"if not {out}:"):
            e.emit(f"{out} = {e.listing(operand, asked_for=True)}")
    return out if node.many else f"({out} or NONE)[0]"
