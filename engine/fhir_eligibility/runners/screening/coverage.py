"""How many of the patients of some data have a record of each kind and code that criteria ask for, so that a typing error shows before a run.

Data is read as a run reads it, a patient at a time where it can be; what is kept are counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.algebra.values.code_systems import block_of, canonical, label, prefix_of
from fhir_eligibility.compiler.criteria.reading import ReadPlan, reading_plan
from fhir_eligibility.compiler.criteria.rules import Rule
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.runners.screening.screening import Data, compartments


class AskedCode(Struct, frozen=True):
    """A code that a criterion asks for on records of a type."""

    type: str
    system: str
    code: str

    @property
    def name(self) -> str:
        """The code in words."""
        return f"{label(self.system)} {self.code}"


class Coverage(Struct):
    """Counts of patients: all, those with a record of a type, those with a code, and the code systems on records of a type.

    `gaps` are the types of which records may be missing, each with the first sentence that says so and the number of patients; `errors` are
    those of the data.
    """

    patients: int = 0
    errors: int = 0
    gaps: dict[str, tuple[str, int]] = field(default_factory=dict)
    types: Counter[str] = field(default_factory=Counter)
    codes: Counter[AskedCode] = field(default_factory=Counter)
    systems: dict[str, Counter[str]] = field(default_factory=dict)
    asked: dict[AskedCode, list[Rule]] = field(default_factory=dict)
    kinds: dict[str, list[Rule]] = field(default_factory=dict)

    def warnings(self) -> Iterator[Diagnostic]:
        """What nobody has: a kind of record, or a code."""
        if not self.patients:
            yield Diagnostic("no-patients", "there are no patients in the data", "warning")
            return
        for kind, rules in self.kinds.items():
            if not self.types[kind]:
                message = f"0 of {self.patients} patients have a record of type {kind}"
                yield self._found(
                    "no-records", message, rules, "is the data complete, and of the version of FHIR that was meant?"
                )
        for asked, rules in self.asked.items():
            if not self.codes[asked] and self.types[asked.type]:
                message = f"0 of {self.patients} patients have a record of type {asked.type} with {asked.name}"
                yield self._found("no-record-with-code", message, rules, self._systems(asked))

    def _found(self, code: str, message: str, rules: list[Rule], hint: str) -> Diagnostic:
        names = ", ".join(dict.fromkeys(rule.id for rule in rules))
        return Diagnostic(code, f"{names}: {message}", "warning", location=rules[0].location, hint=hint)

    def _systems(self, asked: AskedCode) -> str:
        seen = self.systems.get(asked.type, Counter())
        if canonical(asked.system) in {canonical(system) for system in seen}:
            return "is the code right? Its system is in use in the data"
        shown = ", ".join(f"{label(system)} ({count})" for system, count in seen.most_common(5)) or "none"
        return f"no record of that type has a code of {label(asked.system)}; codes in the data are of: {shown}"


def coverage(
    criteria: Criteria, data: Data | Sequence[Data], on_problem: Callable[[Problem], None] | None = None
) -> Coverage:
    """Count what some data has of what criteria ask for. Raises OSError where it cannot be read."""
    found = Coverage()

    def report(problem: Problem) -> None:
        found.errors += problem.severity == "error"
        if on_problem is not None:
            on_problem(problem)

    for rules in criteria.rules:
        for rule in rules.walk():
            for asked in _asked(rule):
                found.asked.setdefault(asked, []).append(rule)
            for kind in rule.code.reads() if rule.code is not None else ():
                if kind != "Patient" and "." not in kind:
                    found.kinds.setdefault(kind, []).append(rule)
    matchers = {asked: _matcher(asked, criteria) for asked in found.asked}
    plan = _plan(criteria)
    for compartment in compartments(data, criteria.fhir_version, report, plan):
        _count(found, matchers, compartment)
    return found


def _asked(rule: Rule) -> Iterator[AskedCode]:
    seen = set(rule.asked)
    if rule.code is not None:
        for kind, requirement in rule.code.reads().items():
            seen |= {(kind, system, code) for _, system, code in requirement.codes}
    for kind, system, code in sorted(seen):
        yield AskedCode(kind, system, code)


def _plan(criteria: Criteria) -> ReadPlan:
    """As a run reads, but with every resource of a type, whatever its code."""
    plan = reading_plan(criteria.rules, criteria.terminology)
    types = {name: replace(one, codes=None, texts=None) for name, one in plan.types.items()}
    return replace(plan, types=types)


def _matcher(asked: AskedCode, criteria: Criteria) -> Callable[[str | None, str], bool]:
    """Whether a code of the data is one that is asked for, or one that it includes."""
    system = canonical(asked.system)
    prefix, block = prefix_of(system, asked.code), block_of(system, asked.code)
    below = criteria.terminology.descendants(system, asked.code)
    codes = below[0] if below is not None else frozenset((asked.code,))

    def matches(recorded: str | None, code: str) -> bool:
        if asked.system and (recorded is None or canonical(recorded) != system):
            return False
        if prefix is not None:
            return code.startswith(prefix)
        if block is not None:
            return block[0] <= code[:3] <= block[1]
        return code in codes

    return matches


def _count(
    found: Coverage, matchers: dict[AskedCode, Callable[[str | None, str], bool]], compartment: Compartment
) -> None:
    found.patients += 1
    for gap in compartment.gaps:
        sentence, count = found.gaps.get(gap.type, (gap.sentence, 0))
        found.gaps[gap.type] = sentence, count + 1
    codes: dict[str, set[tuple[str | None, str]]] = {}
    for kind in {*found.kinds, *(asked.type for asked in found.asked)}:
        resources = compartment.of_type(kind)
        if not resources:
            continue
        found.types[kind] += 1
        codes[kind] = set(_codes(resources))
        systems = found.systems.setdefault(kind, Counter())
        systems.update({system for system, _ in codes[kind] if system is not None and len(systems) < 1000})
    for asked, matches in matchers.items():
        if any(matches(system, code) for system, code in codes.get(asked.type, ())):
            found.codes[asked] += 1


def _codes(resources: list[dict[str, Any]]) -> Iterator[tuple[str | None, str]]:
    """The codes (system, code) anywhere in some resources."""
    stack: list[Any] = list(resources)
    while stack:
        value = stack.pop()
        if value.__class__ is dict:
            code, system = value.get("code"), value.get("system")
            if code.__class__ is str and "value" not in value:
                yield system if system.__class__ is str else None, code
            stack.extend(child for child in value.values() if child.__class__ in (dict, list))
        elif value.__class__ is list:
            stack.extend(value)
