"""The typed tree: queries with their clauses, and retrieves (CQL: "Queries", "Retrieve")."""

from __future__ import annotations

from typing import Any, ClassVar
from typing import Literal as OneOf

from msgspec import Struct

from fhir_eligibility.compiler.elm.node import Node
from fhir_eligibility.compiler.elm.traits import HANDS_ON, LEAF, Traits
from fhir_eligibility.compiler.elm.types import Named, Type


class QuerySource(Struct, kw_only=True):
    """A source of a query, or a `let`: its alias, the number of its scope and its expression."""

    alias: str
    scope: int
    node: Node


class Relation(QuerySource, kw_only=True):
    """`with` or `without` another source such that a condition holds."""

    kind: OneOf["with", "without"]
    condition: Node


class Aggregation(Struct, kw_only=True):
    """The total of a query: `QueryLetRef` of the scope, which starts with one value and becomes another with each row."""

    alias: str
    scope: int
    starting: Node
    value: Node
    distinct: bool
    target: Type


class SortItem(Struct, kw_only=True):
    """A key to sort by: of `AliasRef` of the scope, or the element itself (None)."""

    key: Node | None
    descending: bool
    scope: int = 0


class Query(Node, kw_only=True):
    """A query with its clauses; `over_lists` where some source is a list."""

    sources: tuple[QuerySource, ...]
    lets: tuple[QuerySource, ...] = ()
    relations: tuple[Relation, ...] = ()
    where: Node | None = None
    returned: Node | None = None
    distinct: bool = False
    aggregate: Aggregation | None = None
    sort: tuple[SortItem, ...] | None = None
    over_lists: bool = True

    about: ClassVar[Traits] = HANDS_ON

    @property
    def children(self) -> tuple[Node, ...]:
        found = [source.node for source in (*self.sources, *self.lets)]
        for relation in self.relations:
            found += [relation.node, relation.condition]
        found += [node for node in (self.where, self.returned) if node is not None]
        if self.aggregate is not None:
            found += [self.aggregate.starting, self.aggregate.value]
        found += [item.key for item in self.sort or () if item.key is not None]
        return tuple(found)


class ModelRetrieve(Node, kw_only=True):
    """The records of a type of a data model, of the codes that the first operand gives; where `related`, of the person that the last one names."""

    target: Named
    spec: Any
    comparator: str = "in"
    related: bool = False

    about: ClassVar[Traits] = HANDS_ON


class Retrieve(Node, kw_only=True):
    """The patient's records of a FHIR type; those with `codes` (system and code) in an element where they are given.

    `spellings` are codes with other addresses of their systems. A retrieve that is not `filtered` has no filter above it that tries its rows.
    """

    data_type: str
    code_property: str | None = None
    codes: tuple[tuple[str, str], ...] | None = None
    spellings: tuple[tuple[str, str], ...] = ()
    filtered: bool = True

    about: ClassVar[Traits] = LEAF
