"""What queries turn into: nested loops without lists in between, relations that stop at the first match (CQL: "Queries")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from fhir_eligibility.compiler.analysis.origins import elements_of
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import ListType, Named, Type
from fhir_eligibility.compiler.emit.doubts import asked_about
from fhir_eligibility.compiler.emit.emitter import Body, Emitter, counts_loops, emits, emits_each
from fhir_eligibility.compiler.emit.python import (
    FALSE,
    TRUE,
    Emitted,
    called,
    fast_path,
    literal,
    mapped,
    py,
    tupled,
)
from fhir_eligibility.compiler.emit.sites import Site

E = Emitter


def _fused(node: n.Query) -> bool:
    """Whether a query's rows can be passed on one by one."""
    return node.over_lists and not node.distinct and node.sort is None and node.aggregate is None


def _is_list(node: Node) -> bool:
    return isinstance(node.result, ListType)


@emits(n.Query)
def _query(e: E, node: n.Query) -> Emitted:
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
    with e.block("if {0} is None:", source):
        e.emit("{0} = None", out)
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


def _collect(e: E, node: n.Query, out: Emitted) -> None:
    e.emit("{0} = []", out)
    append = e.name("add")
    e.emit("{0} = {1}.append", append, out)
    outside = e.loop_depth

    def row(item: Emitted) -> None:
        e.emit("{0}({1})", append, item)
        if e.loop_depth > outside + 1:  # as many rows as the lists have combinations
            with e.block("if len({0}) > MAX_ITEMS:", out):
                e.emit("too_many_items()")

    _rows(e, node, row)
    if node.distinct:
        e.emit("{0} = distinct({0})", out)
    if node.sort is not None:
        _sort(e, node.sort, out)


def _sort(e: E, items: Sequence[n.SortItem], out: Emitted) -> None:
    keys: list[Emitted] = []
    for item in items:
        if item.key is None:
            keys.append(py("(None, {0})", literal(item.descending)))
            continue
        name, value = e.name("key"), e.name("x")
        e.names[item.scope] = value
        with e.function(name, (value,)), e.at(item.key):
            e.emit("return {0}", e.value(item.key))
        keys.append(py("({0}, {1})", name, literal(item.descending)))
    e.emit("{0} = sort_rows({0}, {1})", out, tupled(keys))


def _single(e: E, node: n.Query) -> Emitted:
    """A query over values that are no lists: a value, or null."""
    out = e.name()
    e.emit("{0} = None", out)
    _rows(e, node, lambda item: e.emit("{0} = {1}", out, item), present=len(node.sources) == 1)
    return out


def _rows(e: E, node: n.Query, body: Body, present: bool = False) -> None:
    """Run `body` for every row of a query: the value of `return`, or the alias."""
    if present:
        source = node.sources[0]
        value = e.temp(e.value(source.node))
        if e.nullable(source.node):
            with e.block("if {0} is not None:", value):
                e.known.never_null.add(source.scope)
                _from(e, node, [], {source.scope: value}, lambda: body(_row(e, node)))
            return
        _from(e, node, [], {source.scope: value}, lambda: body(_row(e, node)))
        return
    _from(e, node, node.sources, {}, lambda: body(_row(e, node)))


def _row(e: E, node: n.Query) -> Emitted:
    ret = node.returned
    if ret is None:
        return e.names[node.sources[0].scope]
    with e.at(ret):
        return e.value(ret)


def _from(
    e: E, query: n.Query, sources: Sequence[n.QuerySource], bound: dict[int, Emitted], body: Callable[[], None]
) -> None:
    """Loops over the sources, then lets, relations and where, then the body."""
    e.names.update(bound)
    own = {source.scope for source in query.sources} | {let.scope for let in query.lets}
    hoisted: dict[int, Emitted] = {}
    for relation in query.relations:
        if sources and _independent(relation.node, own) and not isinstance(relation.node, n.Literal):
            hoisted[relation.scope] = e.name("related")
            e.emit("{0} = MISSING", hoisted[relation.scope])

    def loops(index: int) -> None:
        if index == len(sources):
            lets(e, query, hoisted, body)
            return
        source = sources[index]
        node, scope = source.node, source.scope

        def bind(item: Emitted) -> None:
            e.names[scope] = e.temp(item, "x")
            loops(index + 1)

        e.filtered.add(id(node))
        if _is_list(node):
            if e.known.has_no_null(node):
                e.known.never_null.add(scope)
            e.each(node, bind)
        else:
            if not e.nullable(node):
                e.known.never_null.add(scope)
            bind(e.value(node))

    loops(0)


def lets(e: E, query: n.Query, hoisted: dict[int, Emitted], body: Callable[[], None]) -> None:
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
                e.emit("ev.series({0})", row)
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


def _relations(e: E, query: n.Query, index: int, hoisted: dict[int, Emitted], body: Callable[[], None]) -> None:
    if index == len(query.relations):
        where = query.where
        if where is None:
            body()
        else:
            e.when(where, body)
        return
    relation = query.relations[index]
    found = _related(e, relation, hoisted.get(relation.scope))
    without = relation.kind == "without"
    with e.at(relation.condition), e.block("if not {0}:", found) if without else e.block("if {0}:", found):
        _relations(e, query, index + 1, hoisted, body)


def traced_clauses(
    e: E,
    relations: Sequence[n.Relation],
    where: Node | None,
    rows: list[Emitted],
    hoisted: dict[int, Emitted],
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
        e.emit("{0} = -1", unknown)
    with ExitStack() as blocks:
        for index, part in enumerate(parts):
            if isinstance(part, n.Relation):
                found = _related(e, part, hoisted.get(part.scope))
                value = e.temp(py("not {0}", found) if part.kind == "without" else found)
            else:
                value = e.temp(e.value(part))
            recorded = rows if isinstance(part, n.Relation) or not tests_code(part) else []
            if recorded:
                with e.block("if {0} is False:", value):
                    for row in recorded:
                        e.emit("ev.failed({0}, {1}, {2})", site, row, literal(index))
            blocks.enter_context(e.block("else:") if recorded else e.block("if {0} is not False:", value))
            if isinstance(part, Node) and e.nullable(part):
                with e.block("if {0} is None:", value):
                    e.emit("{0} = {1}", unknown, literal(index))
        if doubtful:
            doubt = called(py("ev.doubt"), [site, e.row, unknown, *asked_about(e, conditions)])
            blocks.enter_context(e.block("if {0} < 0 or {1}:", unknown, doubt))
        for row in rows:
            e.emit("ev.passed({0}, {1})", site, row)
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


def _related(e: E, relation: n.Relation, hoisted: Emitted | None) -> Emitted:
    """Whether some element of the related source satisfies the condition."""
    node, scope, condition = relation.node, relation.scope, relation.condition
    if not _is_list(node):
        e.names[scope] = e.temp(e.value(node))
        out = e.name()
        e.emit("{0} = False", out)
        with e.block("if {0} is not None:", e.names[scope]):
            if e.traced:
                traced_clauses(e, [], condition, [], {}, lambda: e.emit("{0} = True", out))
            else:
                e.when(condition, lambda: e.emit("{0} = True", out))
        return out
    e.filtered.add(id(node))
    if hoisted is not None:
        with e.block("if {0} is MISSING:", hoisted):
            e.emit("{0} = {1} or ()", hoisted, e.value(node))
        e.preset[id(node)] = hoisted
    if e.known.has_no_null(node):
        e.known.never_null.add(scope)
    try:
        return _any(e, node, scope, condition)
    finally:
        e.preset.pop(id(node), None)


def _any(e: E, node: Node, scope: int, condition: Node) -> Emitted:
    def run(body: Body) -> None:
        def bind(item: Emitted) -> None:
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

    return e.first_of(node, FALSE, lambda item: TRUE, run, every=e.traced)


def _independent(node: Node, scopes: set[int]) -> bool:
    """Whether a node does not depend on some scopes."""
    return not any(isinstance(below, (n.AliasRef, n.QueryLetRef)) and below.scope in scopes for below in node.walk())


@emits_each(n.Query)
def _each(e: E, node: n.Query, body: Body) -> bool:
    if not _fused(node):
        return False
    _rows(e, node, body)
    return True


@counts_loops(n.Query)
def _loops(e: E, node: n.Query) -> int:
    if not _fused(node):
        return 1
    sources = [source.node for source in node.sources]
    return sum(e.loops(source) for source in sources if _is_list(source))


@emits("Exists")
def _exists(e: E, node: n.Operation) -> Emitted:
    (operand,) = node.operands
    if isinstance(operand, n.Query) and _fused(operand):
        nullable = not e.known.has_no_null(operand)

        def run(body: Body) -> None:
            def present(item: Emitted) -> None:
                if nullable:
                    item = e.temp(item)
                    with e.block("if {0} is not None:", item):
                        body(item)
                else:
                    body(item)

            e.each(operand, present)

        return e.first_of(operand, FALSE, lambda item: TRUE, run, every=e.traced)
    if e.known.has_no_null(operand):
        values = e.value(operand)
        return py("bool({0})", values)
    if not isinstance(operand, n.ExpressionRef) or id(operand) in e.preset:
        return e.operator(node)
    # as a rule the first element tells; only where that is null are the others looked at
    values = e.preset[id(operand)] = e.temp(e.value(operand))
    call = e.operator(node)
    del e.preset[id(operand)]
    return fast_path(py("(({0}[0] is not None or {1}) if {0} else False)", values, call), call)


def _aggregate(e: E, node: n.Query) -> Emitted:
    aggregate = node.aggregate
    assert aggregate is not None
    total = e.name("total")
    e.emit("{0} = {1}", total, e.value(aggregate.starting))
    e.names[aggregate.scope] = total

    def step() -> None:
        with e.at(aggregate.value):
            e.emit("{0} = {1}", total, e.value(aggregate.value))

    if not aggregate.distinct:
        _from(e, node, node.sources, {}, step)
        return total
    rows = e.name("rows")
    e.emit("{0} = []", rows)
    scopes = [source.scope for source in (*node.sources, *node.lets)]
    kept: list[int] = []
    collected: list[bool] = []

    def collect() -> None:
        collected.append(True)
        kept[:] = [scope for scope in scopes if scope in e.names]
        found = mapped([(literal(index), e.names[scope]) for index, scope in enumerate(kept)])
        e.emit("{0}.append(Tuple({1}))", rows, found)
        with e.block("if len({0}) > MAX_ITEMS:", rows):
            e.emit("too_many_items()")

    _from(e, node, node.sources, {}, collect)
    if not collected:  # no row can be: the text of a row was never written
        return total
    with e.loop(py("distinct({0})", rows)) as row:
        for index, scope in enumerate(kept):
            e.names[scope] = e.temp(py("{0}[{1}]", row, literal(index)), "x")
        step()
    return total
