"""The value sets that definitions of a library ask for, with all that they refer to, and where each is asked for."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from fhir_eligibility.algebra.diagnostic import Source, Span
from fhir_eligibility.algebra.values.clinical import ValueSet
from fhir_eligibility.compiler.criteria.library import Compiled


class ValueSetUse(Struct, frozen=True):
    """One place that asks for a value set."""

    value_set: ValueSet
    source: Source | None
    span: Span | None


def required_value_sets(compiled: Compiled, defines: Iterable[str]) -> dict[str, list[ValueSetUse]]:
    """The value sets that some defines need, by `url` or `url|version`, each with the places that ask for it, in their order."""
    found: dict[str, list[ValueSetUse]] = {}
    for library, uses in compiled.reached(defines):
        for value_set, span in uses.value_sets:
            found.setdefault(canonical_of(value_set), []).append(ValueSetUse(value_set, library.source, span))
    return found


def canonical_of(value_set: ValueSet) -> str:
    """`url|version`, or the url alone."""
    return f"{value_set.id}|{value_set.version}" if value_set.version else str(value_set.id)
