"""What queries turn into: nested loops without lists in between, relations that stop at the first match (CQL: "Queries")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from fhir_eligibility.compiler.analysis.origins import elements_of
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import ListType, Named, Type
from fhir_eligibility.compiler.emit.cql_emitter import EACH, LOOPS, Body, CqlEmitter, emits
from fhir_eligibility.compiler.emit.doubts import asked_about
from fhir_eligibility.compiler.emit.fast_path import FastPath
from fhir_eligibility.compiler.emit.module_text import literal
from fhir_eligibility.compiler.emit.sites import Site

E = CqlEmitter


def _fused(node: n.Query) -> bool:
    """Whether a query's rows can be passed on one by one."""
    return node.over_lists and not node.distinct and node.sort is None and node.aggregate is None


def _is_list(node: Node) -> bool:
    return isinstance(node.result, ListType)


@emits(n.Query)
def _query(e: E, node: n.Query) -> str:
    if node.aggregate is not None:
        return _aggregate(e, node)
    if not node.over_lists:
        return _single(e, node)
    leaf = _leaf(node)
    if leaf is not None:
        e.filtered.add(id(leaf))
    guarded = leaf is not None and e.nullable(leaf)
    out = e.name("rows")
    if not guarded:
        _collect(e, node, out)
        return out
    assert leaf is not None
    source = e.temp(e.value(leaf))
    e.preset[id(leaf)] = source
    with e.block(f"if {source} is None:"):
        e.emit(f"{out} = None")
    with e.block("else:"):
        _collect(e, node, out)
    del e.preset[id(leaf)]
    return out


def _leaf(node: n.Query) -> Node | None:
    """The list that the rows of a query with one source come from in the end."""
    sources = node.sources
    if len(sources) > 1:
        return None
    source = sources[0].node
    if isinstance(source, n.Query) and _fused(source):
        return _leaf(source)
    return source


def _collect(e: E, node: n.Query, out: str) -> None:
    e.emit(f"{out} = []")
    append = e.name("add")
    e.emit(f"{append} = {out}.append")
    outside = e.loop_depth

    def row(item: str) -> None:
        e.emit(f"{append}({item})")
        if e.loop_depth > outside + 1:  # as many rows as the lists have combinations
            with e.block(f"if len({out}) > MAX_ITEMS:"):
                e.emit("too_many_items()")

    _rows(e, node, row)
    if node.distinct:
        e.emit(f"{out} = distinct({out})")
    if node.sort is not None:
        _sort(e, node.sort, out)


def _sort(e: E, items: Sequence[n.SortItem], out: str) -> None:
    keys = []
    for item in items:
        if item.key is None:
            keys.append(f"(None, {literal(item.descending)})")
            continue
        name, value = e.name("key"), e.name("x")
        e.names[item.scope] = value
        with e.block(f"def {name}({value}):"), e.at(item.key):
            e.emit(f"return {e.value(item.key)}")
        keys.append(f"({name}, {literal(item.descending)})")
    e.emit(f"{out} = sort_rows({out}, ({', '.join(keys)},))")


def _single(e: E, node: n.Query) -> str:
    """A query over values that are no lists: a value, or null."""
    out = e.name()
    e.emit(f"{out} = None")
    _rows(e, node, lambda item: e.emit(f"{out} = {item}"), present=len(node.sources) == 1)
    return out


def _rows(e: E, node: n.Query, body: Body, present: bool = False) -> None:
    """Run `body` for every row of a query: the value of `return`, or the alias."""
    if present:
        source = node.sources[0]
        value = e.temp(e.value(source.node))
        if e.nullable(source.node):
            with e.block(f"if {value} is not None:"):
                e.solid.add(source.scope)
                _from(e, node, [], {source.scope: value}, lambda: body(_row(e, node)))
            return
        _from(e, node, [], {source.scope: value}, lambda: body(_row(e, node)))
        return
    _from(e, node, node.sources, {}, lambda: body(_row(e, node)))


def _row(e: E, node: n.Query) -> str:
    ret = node.returned
    if ret is None:
        return e.names[node.sources[0].scope]
    with e.at(ret):
        return e.value(ret)


def _from(
    e: E, query: n.Query, sources: Sequence[n.QuerySource], bound: dict[int, str], body: Callable[[], None]
) -> None:
    """Loops over the sources, then lets, relations and where, then the body."""
    e.names.update(bound)
    own = {source.scope for source in query.sources} | {let.scope for let in query.lets}
    hoisted: dict[int, str] = {}
    for relation in query.relations:
        if sources and _independent(relation.node, own) and not isinstance(relation.node, n.Literal):
            hoisted[relation.scope] = e.name("related")
            e.emit(f"{hoisted[relation.scope]} = MISSING")

    def loops(index: int) -> None:
        if index == len(sources):
            lets(e, query, hoisted, body)
            return
        source = sources[index]
        node, scope = source.node, source.scope

        def bind(item: str) -> None:
            e.names[scope] = e.temp(item, "x")
            loops(index + 1)

        e.filtered.add(id(node))
        if _is_list(node):
            if e.solid_elements(node):
                e.solid.add(scope)
            e.each(node, bind)
        else:
            if not e.nullable(node):
                e.solid.add(scope)
            bind(e.value(node))

    loops(0)


def lets(e: E, query: n.Query, hoisted: dict[int, str], body: Callable[[], None]) -> None:
    """Let clauses that are used, then relations and where."""
    used = {below.scope for child in query.children for below in child.walk() if isinstance(below, n.QueryLetRef)}
    resources = [s.scope for s in query.sources if e.is_resource(_element(s.node))] if e.traced else []
    rows = [e.names[scope] for scope in resources]
    e.rows.extend(rows)
    for let in query.lets:
        if let.scope in used:
            e.names[let.scope] = e.temp(e.value(let.node), "let")
    if e.traced:
        series = [e.names[s.scope] for s in query.sources if _is_series(e, _element(s.node))]

        def kept() -> None:
            for row in series:
                e.emit(f"ev.series({row})")
            body()

        traced_clauses(e, query.relations, query.where, rows, hoisted, kept)
    else:
        _relations(e, query, 0, hoisted, body)
    del e.rows[len(e.rows) - len(rows) :]


def _is_series(e: E, kind: Type) -> bool:
    """Whether values of a type are series of an imaging study: those that a query keeps are evidence."""
    return isinstance(kind, Named) and e.fhir_type(kind.name) == "ImagingStudy.series"


def _element(node: Node) -> Type:
    return node.result.element if isinstance(node.result, ListType) else node.result


def _relations(e: E, query: n.Query, index: int, hoisted: dict[int, str], body: Callable[[], None]) -> None:
    if index == len(query.relations):
        where = query.where
        if where is None:
            body()
        else:
            e.when(where, body)
        return
    relation = query.relations[index]
    found = _related(e, relation, hoisted.get(relation.scope))
    with e.at(relation.condition), e.block(f"if {'not ' if relation.kind == 'without' else ''}{found}:"):
        _relations(e, query, index + 1, hoisted, body)


def traced_clauses(
    e: E,
    relations: Sequence[n.Relation],
    where: Node | None,
    rows: list[str],
    hoisted: dict[int, str],
    body: Callable[[], None],
) -> None:
    """Try the relations and the parts of `where` one after the other; report the one that fails or has no answer."""
    parts: list[n.Relation | Node] = [*relations, *(conjuncts(where) if where is not None else ())]
    spans = [part.condition.span if isinstance(part, n.Relation) else part.span for part in parts]
    scope = next((scope for scope, name in e.names.items() if rows and name == rows[-1]), -1)
    elements = [elements_of(part.condition if isinstance(part, n.Relation) else part, scope) for part in parts]
    site = e.sites.add(Site("filter", spans[0] if spans else None, tuple(spans), elements=tuple(elements)))
    conditions = [part for part in parts if isinstance(part, Node)]
    unknown = e.name("u")
    doubtful = any(e.nullable(part) for part in conditions)
    if doubtful:
        e.emit(f"{unknown} = -1")
    with ExitStack() as blocks:
        for index, part in enumerate(parts):
            if isinstance(part, n.Relation):
                found = _related(e, part, hoisted.get(part.scope))
                value = e.temp(f"not {found}" if part.kind == "without" else found)
            else:
                value = e.temp(e.value(part))
            recorded = rows if isinstance(part, n.Relation) or not tests_code(part) else []
            if recorded:
                with e.block(f"if {value} is False:"):
                    for row in recorded:
                        e.emit(f"ev.failed({site}, {row}, {index})")
            blocks.enter_context(e.block("else:" if recorded else f"if {value} is not False:"))
            if isinstance(part, Node) and e.nullable(part):
                with e.block(f"if {value} is None:"):
                    e.emit(f"{unknown} = {index}")
        if doubtful:
            on = asked_about(e, conditions)
            blocks.enter_context(e.block(f"if {unknown} < 0 or ev.doubt({site}, {e.row}, {unknown}{on}):"))
        for row in rows:
            e.emit(f"ev.passed({site}, {row})")
        body()


def conjuncts(node: Node) -> list[Node]:
    """The parts of a condition joined by `and`."""
    return conjuncts(node.operands[0]) + conjuncts(node.operands[1]) if isinstance(node, n.And) else [node]


# Elements that say what a record is about: a row that fails there is of another kind, not a near miss.
_CODE_PATHS = frozenset(("code", "medication", "concept", "vaccineCode", "type"))


def tests_code(node: Node) -> bool:
    """Whether a clause tests what a record is about (its code), rather than something recorded about it."""
    return n.traits_of(node).tells_codes and any(
        isinstance(below, n.ModelProperty) and below.path in _CODE_PATHS and isinstance(below.operands[0], n.AliasRef)
        for below in node.walk()
    )


def _related(e: E, relation: n.Relation, hoisted: str | None) -> str:
    """Whether some element of the related source satisfies the condition."""
    node, scope, condition = relation.node, relation.scope, relation.condition
    if not _is_list(node):
        e.names[scope] = e.temp(e.value(node))
        out = e.name()
        e.emit(f"{out} = False")
        with e.block(f"if {e.names[scope]} is not None:"):
            if e.traced:
                traced_clauses(e, [], condition, [], {}, lambda: e.emit(f"{out} = True"))
            else:
                e.when(condition, lambda: e.emit(f"{out} = True"))
        return out
    e.filtered.add(id(node))
    if hoisted is not None:
        with e.block(f"if {hoisted} is MISSING:"):
            e.emit(f"{hoisted} = {e.value(node)} or ()")
        e.preset[id(node)] = hoisted
    if e.solid_elements(node):
        e.solid.add(scope)
    try:
        return _any(e, node, scope, condition)
    finally:
        e.preset.pop(id(node), None)


def _any(e: E, node: Node, scope: int, condition: Node) -> str:
    def run(body: Body) -> None:
        def bind(item: str) -> None:
            e.names[scope] = e.temp(item, "x")
            if not e.traced:
                e.when(condition, lambda: body(item))
                return
            rows = [e.names[scope]] if e.is_resource(_element(node)) else []
            e.rows.extend(rows)
            traced_clauses(e, [], condition, rows, {}, lambda: body(item))
            del e.rows[len(e.rows) - len(rows) :]

        e.filtered.add(id(node))
        e.each(node, bind)

    return e.first_of(node, "False", lambda item: "True", run)


def _independent(node: Node, scopes: set[int]) -> bool:
    """Whether a node does not depend on some scopes."""
    return not any(isinstance(below, (n.AliasRef, n.QueryLetRef)) and below.scope in scopes for below in node.walk())


def _each(e: E, node: n.Query, body: Body) -> bool:
    if not _fused(node):
        return False
    _rows(e, node, body)
    return True


def _loops(e: E, node: n.Query) -> int:
    if not _fused(node):
        return 1
    sources = [source.node for source in node.sources]
    return sum(e.loops(source) for source in sources if _is_list(source))


EACH[n.Query] = _each
LOOPS[n.Query] = _loops


@emits("Exists")
def _exists(e: E, node: n.Operation) -> str:
    (operand,) = node.operands
    if isinstance(operand, n.Query) and _fused(operand):
        nullable = not e.solid_elements(operand)

        def run(body: Body) -> None:
            def present(item: str) -> None:
                if nullable:
                    item = e.temp(item)
                    with e.block(f"if {item} is not None:"):
                        body(item)
                else:
                    body(item)

            e.each(operand, present)

        return e.first_of(operand, "False", lambda item: "True", run)
    if e.solid_elements(operand):
        values = e.value(operand)
        return f"bool({values})"
    if not isinstance(operand, n.ExpressionRef) or id(operand) in e.preset:
        return e.operator(node)
    # as a rule the first element tells; only where that is null are the others looked at
    values = e.preset[id(operand)] = e.temp(e.value(operand))
    call = e.operator(node)
    del e.preset[id(operand)]
    return FastPath(f"(({values}[0] is not None or {call}) if {values} else False)", call)


def _aggregate(e: E, node: n.Query) -> str:
    aggregate = node.aggregate
    assert aggregate is not None
    total = e.name("total")
    e.emit(f"{total} = {e.value(aggregate.starting)}")
    e.names[aggregate.scope] = total

    def step() -> None:
        with e.at(aggregate.value):
            e.emit(f"{total} = {e.value(aggregate.value)}")

    if not aggregate.distinct:
        _from(e, node, node.sources, {}, step)
        return total
    rows = e.name("rows")
    e.emit(f"{rows} = []")
    scopes = [source.scope for source in (*node.sources, *node.lets)]
    kept: list[int] = []
    collected: list[bool] = []

    def collect() -> None:
        collected.append(True)
        kept[:] = [scope for scope in scopes if scope in e.names]
        e.emit(f"{rows}.append(Tuple({{{', '.join(f'{i}: {e.names[s]}' for i, s in enumerate(kept))}}}))")
        with e.block(f"if len({rows}) > MAX_ITEMS:"):
            e.emit("too_many_items()")

    _from(e, node, node.sources, {}, collect)
    if not collected:  # no row can be: the text of a row was never written
        return total
    with e.loop(f"distinct({rows})") as row:
        for index, scope in enumerate(kept):
            e.names[scope] = e.temp(f"{row}[{index}]", "x")
        step()
    return total
