"""Which overload of an operator takes operands of some types (CQL: "Conversion Precedence")."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fhir_eligibility.algebra.operators.registry import Operator, Overload
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm import types as t
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.types import ANY, ChoiceType, Conversion, IntervalType, ListType, Type, TypeSystem

# Operators whose results keep the elements as they are; all others see System values in place of FHIR primitives.
_STRUCTURAL = frozenset(
    "First Last Distinct Union Intersect Except Flatten Exists Count SingletonFrom Indexer Skip Take Tail Slice IsNull".split()
)
_SETS = ("Union", "Intersect", "Except")
Resolved = tuple[Overload, dict[str, Type], list[Conversion]]


def resolve(types: TypeSystem, operator: Operator, kinds: Sequence[Type]) -> Resolved | None:
    """The cheapest overload with what its type variables stand for and the conversion of each operand, None where none fits.

    Of equally cheap ones that of simpler types.
    """
    best: tuple[tuple[int, int], Resolved] | None = None
    for overload in operator.of("cql"):
        if len(overload.parameters) != len(kinds):
            continue
        formals = [t.signature_type(p) for p in overload.parameters]
        for bindings in _bindings(types, operator.name, formals, kinds):
            steps = _steps(types, formals, kinds, bindings)
            if steps is None:
                continue
            rank = sum(t.precedence(t.substitute(formal, bindings)) for formal in formals)
            cost = sum(step.cost for step in steps), rank
            if best is None or cost < best[0]:
                best = (cost, (overload, bindings, steps))
    return None if best is None else best[1]


def dividing_choice(types: TypeSystem, operator: Operator, operands: Sequence[Node]) -> int | None:
    """The place of an operand that is a choice whose alternatives select different overloads, None where there is none."""
    if operator.name in _STRUCTURAL:
        return None
    kinds = [operand.result for operand in operands]
    for index, operand in enumerate(operands):
        if not isinstance(operand.result, ChoiceType) or isinstance(operand, n.Null):
            continue
        selected: set[tuple[tuple[str, ...], tuple[tuple[str, Type], ...]]] = set()
        for option in operand.result.options:
            found = resolve(types, operator, [*kinds[:index], option, *kinds[index + 1 :]])
            if found is not None:
                selected.add((found[0].parameters, tuple(sorted(found[1].items()))))
        if len(selected) > 1:
            return index
    return None


def _bindings(types: TypeSystem, name: str, formals: list[Type], kinds: Sequence[Type]) -> Iterable[dict[str, Type]]:
    """What the type variable of a signature may stand for."""
    if not any(_variables(formal) for formal in formals):
        return ({},)
    found: dict[str, list[Type]] = {}
    for formal, kind in zip(formals, kinds, strict=True):
        types.candidates(formal, kind, found)
    options = found.get("T", [])
    if options and options[0] == ANY:
        return ({"T": ANY},)
    options = [o for o in options if o != ANY]
    if name not in _STRUCTURAL:
        options = [o for o in options if not _stands_for_another(types, o)]
    if not options:
        return ({},)
    common = types.common(options)
    if common not in options and (name in _SETS or not isinstance(common, ChoiceType)):
        options = [*options, common]
    return tuple({"T": option} for option in options)


def _stands_for_another(types: TypeSystem, kind: Type) -> bool:
    """Whether values of a type, or of one of a choice, are compared as what they convert to, such as a FHIR.dateTime as a DateTime."""
    options = kind.options if isinstance(kind, ChoiceType) else (kind,)
    return any(types.unwrapped(option) not in (None, option) for option in options)


def _steps(
    types: TypeSystem, formals: list[Type], kinds: Sequence[Type], bindings: dict[str, Type]
) -> list[Conversion] | None:
    """The conversions of operands to the types of a signature, None where one of them cannot be converted."""
    steps = []
    for formal, kind in zip(formals, kinds, strict=True):
        step = types.conversion(kind, t.substitute(formal, bindings))
        if step is None:
            return None
        steps.append(step)
    return steps


def _variables(kind: Type) -> bool:
    if isinstance(kind, t.Var):
        return True
    if isinstance(kind, ListType):
        return _variables(kind.element)
    return isinstance(kind, IntervalType) and _variables(kind.point)


def in_decimals(kind: t.Type) -> t.Type:
    """Points of whole numbers that are cut into parts of one are decimals."""
    if isinstance(kind, t.ListType):
        return t.ListType(in_decimals(kind.element))
    if isinstance(kind, t.IntervalType):
        return t.IntervalType(in_decimals(kind.point))
    return t.DECIMAL if kind in (t.INTEGER, t.LONG) else kind
