"""Which forms there are: each module of this folder that has FORMS says how characteristics of some forms are understood."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Protocol

from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.records import Criterion
from fhir_eligibility.compiler.forms.base import Form
from fhir_eligibility.compiler.forms.timing import Timeline


class Understand(Protocol):
    """Makes FHIRPath of a characteristic for patients in a version of FHIR, or says why it has no truth value.

    `timeline` tells when the events of the study are. FORMS names it by forms of definitions (`codeable-concept`), or by an element that has no record of its
    own (`definitionTriggerDefinition`): the definition is then an ElementDefinition with the element's JSON. Where time constraints, instances and duration of
    the characteristic are minded, the Form says so (`constrained`).
    """

    def __call__(self, model: Model, criterion: Criterion, timeline: Timeline) -> Form: ...


@cache
def forms() -> Mapping[str, Understand]:
    """How characteristics of each form are understood. Raises ValueError where two modules have one form."""
    found: dict[str, Understand] = {}
    for entry in iter_modules([str(Path(__file__).parent)]):
        module = import_module(f"{__package__}.{entry.name}")
        listed: Mapping[str, Understand] = getattr(module, "FORMS", {})
        for name, understand in listed.items():
            if name in found:
                raise ValueError(f"{module.__name__} has the form {name!r}, which another module has, too")
            found[name] = understand
    return found
