"""What the emitter of CQL knows of the values of nodes before they run, beside what the table of operators tells."""

from __future__ import annotations

from fhir_eligibility.compiler.elm import nodes as n

# What always has a value.
NEVER_NULL = (
    n.Literal,
    n.List,
    n.NewInterval,
    n.NewTuple,
    n.Is,
    n.Now,
    n.Today,
    n.TimeOfDay,
    n.MinValue,
    n.MaxValue,
    n.ModelRetrieve,
    n.CodeRef,
    n.ConceptRef,
    n.ValueSetRef,
    n.CodeSystemRef,
)
# What is one point, never a range of possible ones (CQL: "Uncertainty").
CERTAIN = (
    n.Literal,
    n.Null,
    n.ToSystem,
    n.ModelProperty,
    n.DateTimeComponentFrom,
    n.Now,
    n.Today,
    n.TimeOfDay,
    n.NewDate,
    n.NewDateTime,
    n.NewTime,
    n.MinValue,
    n.MaxValue,
)
# What can fail on good data: each stands in a line of its own, so that an error tells its place.
FAILING = (n.Message, n.FunctionRef, n.NewDateTime, n.NewDate, n.NewTime)
