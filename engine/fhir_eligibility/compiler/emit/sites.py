"""The places in traced code that report to the environment, and what a reader is told of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from fhir_eligibility.algebra.diagnostic import Span
from fhir_eligibility.compiler.analysis.origins import Origin, origins
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.python import Emitted, literal, name_of


class Site(Struct, frozen=True):
    """A place in traced code that reports: a filter with its clauses, a comparison with its operands, a condition.

    `origins` are those of the operands of a comparison, `elements` those of the row that each clause of a filter reads.
    """

    kind: str
    span: Span | None
    clauses: tuple[Span | None, ...]
    origins: tuple[Origin, ...] = ()
    elements: tuple[tuple[str, ...], ...] = ()


class Sites:
    """The sites of one module, while it is emitted.

    They are `named` where the module is told their numbers when it is loaded with others. `bound` are the expressions that the values of a choice stand for, by scope; `absent` those that have no value in the branch that is emitted.
    """

    def __init__(self, *, named: bool) -> None:
        self.named = named
        self.all: list[Site] = []
        self.bound: dict[int, Node] = {}
        self.absent: list[Node] = []

    def add(self, site: Site) -> Emitted:
        """The number of a site, or a module-level name for it."""
        self.all.append(site)
        number = len(self.all) - 1
        return name_of("SITE", number) if self.named else literal(number)

    def origins(self, operands: Sequence[Node], type_of: Callable[[Node], str | None]) -> list[tuple[Node, Origin]]:
        """The origins of the operands of a comparison at this place, each with the node of the record that holds it."""
        return origins(operands, type_of, self.bound, self.absent)
