"""Passes over ELM between translation and emission.

`push_codes` moves the code tests of a filter into the retrieve below it, so that the compartment's index answers them and rows of other
codes are never looked at. It recognises `path.coding.exists(system = 'S' and code = 'C')` (also `where(...).exists()`, several such
joined by `or` on one path, and `code in ('A' | 'B')`) and nothing else: what it does not recognise stays a filter.
"""

from __future__ import annotations

from msgspec.structs import replace

from fhir_eligibility.compiler.analysis.monotonicity import in_doubt
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.conjuncts import conjuncts
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.elm.questions import bound_in
from fhir_eligibility.compiler.elm.types import BOOLEAN

Code = tuple[str, str]


def simplify(node: Node) -> Node:
    """All passes, in order."""
    return mark_unfiltered(combine_unions(push_codes(node)))


# What lies between a question and the union whose repeats do not matter to it.
_PASSED_THROUGH = (n.Filter, n.ForEach, n.OfType, n.Property, n.Box, n.ToSystem, n.Union)


def combine_unions(node: Node, repeats: bool = False) -> Node:
    """A union need not be without repeats where only its first item, or whether there is one, is asked for.

    `repeats` tells that repeats in the items of `node` do not matter.
    """
    free = isinstance(node, (n.Exists, n.First)) or (repeats and isinstance(node, _PASSED_THROUGH))
    operands = tuple(
        combine_unions(
            operand, free and (isinstance(node, n.Union) or index == (1 if isinstance(node, n.ForEach) else 0))
        )
        for index, operand in enumerate(node.operands)
    )
    if isinstance(node, n.Union) and repeats and node.many:
        return n.Combine(operands, span=node.span, result=node.result)
    if any(new is not old for new, old in zip(operands, node.operands, strict=True)):
        return replace(node, operands=operands)
    return node


def push_codes(node: Node) -> Node:
    """Code tests of a filter directly over a retrieve become the retrieve's codes."""
    operands = tuple(push_codes(operand) for operand in node.operands)
    if any(new is not old for new, old in zip(operands, node.operands, strict=True)):
        node = replace(node, operands=operands)
    if (
        not isinstance(node, n.Filter)
        or not isinstance(node.operands[0], n.Retrieve)
        or node.operands[0].codes is not None
    ):
        return node
    retrieve, condition = node.operands
    assert isinstance(retrieve, n.Retrieve)
    parts = conjuncts(condition)
    for index, part in enumerate(parts):
        found = codes_of(part, node.scope)
        if found is None:
            continue
        path, codes = found
        source = replace(retrieve, code_property=path, codes=tuple(codes))
        rest = parts[:index] + parts[index + 1 :]
        if not rest:
            return source
        return replace(node, operands=(source, _joined(rest)))
    return node


def _joined(parts: list[Node]) -> Node:
    node = parts[0]
    for part in parts[1:]:
        node = n.And((node, part), span=part.span, result=BOOLEAN)
    return node


def codes_of(node: Node, scope: int) -> tuple[str, list[Code]] | None:
    """Path and codes of a test that some coding of a row's element is one of them, or None if it is not such a test."""
    if isinstance(node, n.Or):
        left, right = codes_of(node.operands[0], scope), codes_of(node.operands[1], scope)
        if left is None or right is None or left[0] != right[0]:
            return None
        return left[0], left[1] + right[1]
    if not isinstance(node, n.Exists) or not isinstance(node.operands[0], n.Filter):
        return None
    codings, condition = node.operands[0].operands
    if not isinstance(codings, n.Property) or codings.path != "coding":
        return None
    concept = codings.operands[0]
    if not isinstance(concept, n.Property) or concept.json is None or concept.type != "FHIR.CodeableConcept":
        return None
    row = concept.operands[0]
    if not isinstance(row, n.Current) or row.scope != scope:
        return None
    pairs = _pairs(condition, node.operands[0].scope)
    return (concept.path, pairs) if pairs else None


def _pairs(condition: Node, scope: int) -> list[Code] | None:
    if isinstance(condition, n.Or):
        left, right = _pairs(condition.operands[0], scope), _pairs(condition.operands[1], scope)
        return None if left is None or right is None else left + right
    system: str | None = None
    codes: list[str] | None = None
    for part in conjuncts(condition):
        name, values = _test(part, scope)
        if name == "system" and len(values) == 1 and system is None:
            system = values[0]
        elif name == "code" and codes is None:
            codes = values
        else:
            return None
    if system is None or codes is None:
        return None
    return [(system, code) for code in codes]


def _test(node: Node, scope: int) -> tuple[str | None, list[str]]:
    """Name of the element of the coding that is compared with constants, and the constants."""
    if n.is_operation(node, "Equal"):
        for one, other in (node.operands, node.operands[::-1]):
            name = _element(one, scope)
            if name is not None and isinstance(other, n.Literal):
                return name, [other.value]
    if isinstance(node, n.In):
        name = _element(node.operands[0], scope)
        values = _literals(node.operands[1])
        if name is not None and values:
            return name, values
    if isinstance(node, n.Or):
        left, right = _test(node.operands[0], scope), _test(node.operands[1], scope)
        if left[0] is not None and left[0] == right[0]:
            return left[0], left[1] + right[1]
    return None, []


def _element(node: Node, scope: int) -> str | None:
    if isinstance(node, n.ToSystem):
        node = node.operands[0]
    if isinstance(node, n.Property) and isinstance(node.operands[0], n.Current) and node.operands[0].scope == scope:
        return str(node.path)
    return None


def _literals(node: Node) -> list[str] | None:
    if isinstance(node, n.Literal) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, n.Union):
        left, right = _literals(node.operands[0]), _literals(node.operands[1])
        return left + right if left is not None and right is not None else None
    return None


def mark_unfiltered(node: Node, filtered: bool = False) -> Node:
    """Mark the retrieves whose rows no filter tries: all of their rows are evidence."""
    if isinstance(node, n.Retrieve):
        return node if filtered else replace(node, filtered=False)
    operands = tuple(
        mark_unfiltered(operand, isinstance(node, n.Filter) and index == 0)
        for index, operand in enumerate(node.operands)
    )
    if any(new is not old for new, old in zip(operands, node.operands, strict=True)):
        return replace(node, operands=operands)
    return node


def by_number(node: Node) -> bool:
    """Whether an answer depends only on how many of the doubtful rows are kept: it compares the number of rows of one filter."""
    if not n.traits_of(node).symbol or len(node.operands) != 2:
        return False
    counts = [operand for operand in node.operands if isinstance(operand, n.Count)]
    rest = [operand for operand in node.operands if not isinstance(operand, n.Count)]
    bound = bound_in(node)
    if len(counts) != 1 or any(in_doubt(operand, bound) for operand in rest):
        return False
    (filtered,) = counts[0].operands
    return isinstance(filtered, n.Filter) and not any(in_doubt(operand, bound) for operand in filtered.operands)
