"""The values next to a value: successor and predecessor (CQL reference: "Successor", "Predecessor")."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator
from fhir_eligibility.algebra.values.points import predecessor, successor


def _stepping(point: str) -> None:
    """Register the neighbours of the values of one type."""

    def successor_of(a: Any) -> Any:
        return successor(a, point)

    def predecessor_of(a: Any) -> Any:
        return predecessor(a, point)

    traits = OperatorTraits(ranges=True, fails=True)
    signature = f"({point}) {point}"
    operator(
        "Successor",
        signature,
        cql="successor_of",
        section="Arithmetic: Successor",
        language="cql",
        traits=traits,
    )(successor_of)
    operator(
        "Predecessor",
        signature,
        cql="predecessor_of",
        section="Arithmetic: Predecessor",
        language="cql",
        traits=traits,
    )(predecessor_of)


for _point in ("Integer", "Long", "Decimal", "Quantity", "Date", "DateTime", "Time"):
    _stepping(_point)
