"""The values of the parts of a define, on one patient."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.compiler.criteria.library import LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.runtime.explaining import ExplainedPart, Explanation


def explain_define(library: LoadedLibrary, name: str, environment: Run) -> tuple[Any, list[ExplainedPart]]:
    """The value of a define, and that of every part of the text that was evaluated for it, with those of the definitions that it refers to.

    The library has to be compiled with `explained`, and the environment to be a new one: what was evaluated in it before has no parts.
    Raises EvaluationError as `LoadedLibrary.evaluate`.
    """
    found = Explanation()

    def explained(site: int, value: Any) -> None:
        source, part = library.sites[site]
        assert part.span is not None
        found.add(source, part.span, value)

    environment.explained = environment.run.explained = explained
    return library.evaluate(name, environment), found.parts
