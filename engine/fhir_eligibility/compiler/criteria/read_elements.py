"""What a criterion reads of the records that it looks at, with all that is run besides it: element by element, for questions about single records."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from fhir_eligibility.compiler.analysis.requirements import DataRequirement
from fhir_eligibility.compiler.criteria.cql import CqlCode, data_requirements
from fhir_eligibility.compiler.criteria.fhirpath_code import FhirPathCriterion
from fhir_eligibility.compiler.criteria.library import Compiled
from fhir_eligibility.compiler.criteria.rules import Rule
from fhir_eligibility.compiler.elm import nodes as n


class ReadElements(Struct):
    """The paths of elements that are read, by resource type (`component.value`), the elements that records are found by, and the types that are looked at whole.

    With `everything`, any resource may be looked at, whole. `reached` tells that references are followed: records are looked at that no retrieve gives.
    `profiles` are those that are asked for of each type, None where records of the type are looked at whatever their profile.
    """

    paths: dict[str, set[str]] = field(default_factory=dict)
    found_by: dict[str, set[str]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    everything: bool = False
    reached: bool = False
    profiles: dict[str, set[str | None]] = field(default_factory=dict)

    def reads(self, resource_type: str) -> bool:
        """Whether resources of a type may be looked at."""
        return self.everything or resource_type in self.paths

    def elements(self, resource_type: str) -> frozenset[str] | None:
        """The elements of a type that are read, None where that may be any."""
        if self.everything or resource_type in self.whole:
            return None
        return frozenset(path.partition(".")[0] for path in self.paths.get(resource_type, ()))


def read_elements(rule: Rule) -> ReadElements:
    """What one rule reads."""
    found = ReadElements()
    for code in (rule.code, *rule.besides()):
        if code is not None:
            _add(code, found)
    return found


def elements_of_define(compiled: Compiled, define: str) -> ReadElements:
    """What one define of a library reads."""
    found = ReadElements()
    _add_requirements(data_requirements(compiled, [define]), found)
    _add_reached(compiled, define, found)
    return found


def _add_reached(compiled: Compiled, define: str, found: ReadElements) -> None:
    for _, uses in compiled.reached([define]):
        found.everything = found.everything or "*" in uses.whole
        for retrieval in uses.retrievals:
            spec = retrieval.spec
            found.profiles.setdefault(spec.resource_type, set()).add(spec.profile)
            if spec.target:
                found.reached = True
                found.profiles.setdefault(spec.target, set()).add(None)


def _add_requirements(requirements: Mapping[str, DataRequirement], found: ReadElements) -> None:
    for name, requirement in requirements.items():
        root, _, owner = name.partition(".")
        before = f"{owner}." if owner else ""
        found.paths.setdefault(root, set()).update(before + path for path in requirement.paths)
        by = {path for path, _, _ in requirement.codes} | {path for path, _ in requirement.value_sets}
        found.found_by.setdefault(root, set()).update(path.partition(".")[0] for path in by)
        if requirement.whole:
            found.whole.add(root)


def _add(code: FhirPathCriterion | CqlCode, found: ReadElements) -> None:
    _add_requirements(code.reads(), found)
    if isinstance(code, CqlCode):
        _add_reached(code.compiled, code.define, found)
        return
    for name in found.paths:
        found.profiles.setdefault(name, set()).add(None)
    for node in code.node.walk():
        if isinstance(node, n.Resolve):
            found.reached = True
            found.everything = found.everything or not all(
                name.removeprefix("FHIR.") in found.paths for name in node.types
            )
