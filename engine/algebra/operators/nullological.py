"""What is null, true or false (CQL reference: "Nullological Operators") and messages ("Errors and Messages")."""

from __future__ import annotations

from typing import Any

from engine.algebra.diagnostic import EvaluationError
from engine.algebra.operators.registry import operator

operator(
    "IsNull",
    "(Any) Boolean",
    cql="IsNull is_null",
    section="Null: IsNull",
    nulls="handled",
    language="cql",
    inline="({0} is None)",
)(lambda value: value is None)
operator(
    "IsTrue",
    "(Boolean) Boolean",
    cql="IsTrue is_true",
    section="Null: IsTrue",
    nulls="handled",
    language="cql",
    inline="({0} is True)",
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


def first_of(values: list[Any] | None) -> Any:
    """The first element that is not null (CQL: Coalesce on a list)."""
    return next((value for value in values or () if value is not None), None)


def message(environment: Any, source: Any, condition: Any, code: Any, severity: Any, text: Any) -> Any:
    """`source`, with a message recorded where the condition holds (CQL: Message).

    Raises EvaluationError `message` where the severity is Error.
    """
    if condition is True:
        level = str(severity or "Message").lower()
        if level == "error":
            raise EvaluationError("message", f"{code or 'Error'}: {text or ''}")
        environment.message(level, code, text, source)
    return source
