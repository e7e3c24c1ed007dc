"""What both parsers can say of a tree: kinds of nodes and the text that each takes, as a multiset of (kind, start, end).

Names without more around them are left out: the grammar has several rules for them, by place. Everything else is compared: which operator takes
which operands, literals, selectors, calls, queries and their clauses, definitions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.compiler.syntax import cql_nodes as c
from fhir_eligibility.compiler.syntax import nodes as s
from fhir_eligibility.compiler.syntax.lexer import tokenize

Trees = Counter[tuple[str, int, int]]

_BINARY = (
    "andExpression orExpression impliesExpression equalityExpression inequalityExpression inFixSetExpression membershipExpression "
    "timingExpression additionExpressionTerm multiplicationExpressionTerm powerExpressionTerm multiplicativeExpression "
    "additiveExpression unionExpression"
)
_PREFIX = (
    "notExpression existenceExpression polarityExpressionTerm polarityExpression timeBoundaryExpressionTerm "
    "timeUnitExpressionTerm widthExpressionTerm successorExpressionTerm predecessorExpressionTerm "
    "elementExtractorExpressionTerm pointExtractorExpressionTerm aggregateExpressionTerm"
)
THEIRS: dict[str, str] = {
    **dict.fromkeys(_BINARY.split(), "binary"),
    **dict.fromkeys(_PREFIX.split(), "prefix"),
    **dict.fromkeys(("durationExpressionTerm", "differenceExpressionTerm"), "elapsed"),
    **dict.fromkeys(("durationBetweenExpression", "differenceBetweenExpression"), "elapsed"),
    "betweenExpression": "between",
    "castExpression": "cast",
    "typeExpression": "cast",
    "booleanExpression": "is",
    "conversionExpressionTerm": "convert",
    "typeExtentExpressionTerm": "extent",
    "ifThenElseExpressionTerm": "if",
    "caseExpressionTerm": "case",
    "setAggregateExpressionTerm": "set",
    "intervalSelector": "interval",
    "tupleSelector": "instance",
    "instanceSelector": "instance",
    "listSelector": "list",
    "codeSelector": "code",
    "conceptSelector": "concept",
    "retrieve": "retrieve",
    "query": "query",
    "withClause": "relation",
    "withoutClause": "relation",
    "letClauseItem": "let",
    "aggregateClause": "aggregate",
    "indexedExpressionTerm": "index",
    "indexerExpression": "index",
    "booleanLiteral": "literal",
    "stringLiteral": "literal",
    "numberLiteral": "literal",
    "simpleNumberLiteral": "literal",
    "longNumberLiteral": "literal",
    "dateTimeLiteral": "literal",
    "dateLiteral": "literal",
    "timeLiteral": "literal",
    "nullLiteral": "null",
    "ratioLiteral": "ratio",
    "expressionDefinition": "define",
    "functionDefinition": "function",
    "parameterDefinition": "parameter",
    "usingDefinition": "using",
    "includeDefinition": "include",
    "codesystemDefinition": "codesystem",
    "valuesetDefinition": "valueset",
    "codeDefinition": "codedef",
    "conceptDefinition": "conceptdef",
}
OURS: dict[type, str] = {
    s.Binary: "binary", c.Membership: "binary", c.Timing: "binary", s.Unary: "prefix", c.Prefix: "prefix",
    c.Elapsed: "elapsed", c.Between: "between", c.Cast: "cast", s.TypeTest: "cast", c.IsTest: "is", c.Convert: "convert",
    c.Extent: "extent", c.IfThenElse: "if", c.CaseExpression: "case", c.SetAggregate: "set", c.IntervalSelector: "interval",
    c.InstanceSelector: "instance", c.ListSelector: "list", c.CodeSelector: "code", c.ConceptSelector: "concept",
    c.RetrieveExpression: "retrieve", c.QueryExpression: "query", c.RelationClause: "relation", c.LetClause: "let", c.Aggregated: "aggregate",
    s.Index: "index", s.LiteralTerm: "literal", c.NullLiteral: "null", s.EmptyCollection: "null", c.RatioLiteral: "ratio", c.Define: "define",
    c.Function: "function", c.ParameterDefinition: "parameter", c.Using: "using", c.Include: "include",
    c.CodeSystemDefinition: "codesystem", c.ValueSetDefinition: "valueset", c.CodeDefinition: "codedef",
    c.ConceptDefinition: "conceptdef",
}  # fmt: skip


def theirs(nodes: Iterable[tuple[str, int, int]]) -> Trees:
    """The grammar's tree."""
    return Counter((THEIRS[name], start, end) for name, start, end in nodes if name in THEIRS)


def ours(tree: Any, text: str) -> Trees:
    """Our tree. In FHIRPath an expression's span takes in the parentheses around it, for messages; the grammar's does not."""
    pairs = _parentheses(text)
    found: Trees = Counter()
    for node in _nodes(tree):
        if node.__class__ in OURS:
            start, end = node.span.start, node.span.end
            while pairs.get(start, (0, 0))[0] == end:
                start, end = _trimmed(text, start + 1, pairs[start][1])
            found[OURS[node.__class__], start, end] += 1
    return found


def _parentheses(text: str) -> dict[int, tuple[int, int]]:
    """Where each opening parenthesis is closed: the offsets behind and at the closing one."""
    found: dict[int, tuple[int, int]] = {}
    opened: list[int] = []
    for token in tokenize(Source("test", text))[0]:
        if token.kind == "operator" and token.text == "(":
            opened.append(token.start)
        elif token.kind == "operator" and token.text == ")" and opened:
            found[opened.pop()] = (token.end, token.start)
    return found


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The offsets of the first and the last token between two offsets."""
    inside = [token for token in tokenize(Source("test", text))[0] if start <= token.start and token.end <= end]
    inside = [token for token in inside if token.kind != "end"]
    return (inside[0].start, inside[-1].end) if inside else (start, end)


def _nodes(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack.extend(item)
        elif is_dataclass(item) and not isinstance(item, type):
            yield item
            stack.extend(getattr(item, field.name) for field in fields(item))
        elif isinstance(item, msgspec.Struct):
            yield item
            stack.extend(getattr(item, name) for name in item.__struct_fields__)
