"""What is null, true or false (CQL reference: "Nullological Operators")."""

from __future__ import annotations

from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator

operator(
    "IsNull",
    "(Any) Boolean",
    cql="IsNull is_null",
    section="Null: IsNull",
    nulls="handled",
    language="cql",
    inline="({0} is None)",
    traits=OperatorTraits(ranges=True, looks="counts"),
)(lambda value: value is None)
operator(
    "IsTrue",
    "(Boolean) Boolean",
    cql="IsTrue is_true",
    section="Null: IsTrue",
    nulls="handled",
    language="cql",
    inline="({0} is True)",
    traits=OperatorTraits(moves="up"),
)(lambda value: value is True)
operator(
    "IsFalse",
    "(Boolean) Boolean",
    cql="IsFalse is_false",
    section="Null: IsFalse",
    nulls="handled",
    language="cql",
    inline="({0} is False)",
)(lambda value: value is False)
