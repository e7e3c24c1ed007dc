"""What criteria read that another version of FHIR writes otherwise: looked for on the resources, and read of files for that."""

from __future__ import annotations

from collections.abc import Mapping

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.models.differences import Difference, differences
from fhir_eligibility.compiler.analysis.requirements import DataRequirement

Checks = dict[str, tuple[Difference, ...]]


def checks_of(reads: Mapping[str, DataRequirement], version: str) -> Checks:
    """What to look for on the resources that a criterion reads, by type; types of which all that is read is written alike are left out."""
    model = load_model(version)
    paths: dict[str, set[str]] = {}
    for name, requirement in reads.items():
        root, _, owner = name.partition(".")
        for path in requirement.paths:
            paths.setdefault(root, set()).add(f"{owner}.{path}" if owner else path)
    found = {name: differences(model, name, sorted(asked)) for name, asked in paths.items()}
    return {name: checks for name, checks in found.items() if checks}
