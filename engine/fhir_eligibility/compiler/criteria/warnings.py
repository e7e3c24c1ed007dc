"""What is said of criteria before anyone is screened: a criterion that nobody can meet or that is unknown for everyone, and what was probably meant otherwise.

Each finding names the file and the element, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

from fhir_eligibility.algebra.diagnostic import Diagnostic
from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.algebra.ucum import UnitError, alias, parse_unit
from fhir_eligibility.algebra.ucum.suggestions import suggest_unit
from fhir_eligibility.algebra.values.code_systems import (
    canonical,
    check_digit_is_wrong,
    is_known,
    is_well_formed,
    label,
    meant,
)
from fhir_eligibility.algebra.values.quantity import CALENDAR_WORDS, Quantity
from fhir_eligibility.artifacts.records import (
    Artifact,
    ArtifactDefinition,
    CodeableConceptDefinition,
    CodedConcept,
    CombinationDefinition,
    Criterion,
    DataRequirementDefinition,
    QuantityValue,
    RangeValue,
    TypeAndValueDefinition,
)
from fhir_eligibility.artifacts.terminology import CodeSystemRecord
from fhir_eligibility.compiler.criteria.cql import CqlCode
from fhir_eligibility.compiler.criteria.fhirpath_code import FhirPathCriterion
from fhir_eligibility.compiler.criteria.rules import Rule, RuleSet
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.forms.kinds import kind_of_type

_GENDERS = ("male", "female", "other", "unknown")


class KnownCodes(Protocol):
    """The code systems that were given."""

    def code_system(self, url: str, version: str | None = None, /) -> CodeSystemRecord | None: ...


def criteria_warnings(rules: RuleSet, artifact: Artifact, given: KnownCodes) -> list[Diagnostic]:
    """All findings about one artifact, in the order of its characteristics; each once."""
    found: list[Diagnostic] = []
    written = {str(criterion.location): criterion for criterion in _criteria(artifact)}
    for rule in rules.walk():
        found += _of_rule(rule, given)
        criterion = written.get(rule.location)
        if criterion is not None:
            found += _of_criterion(rule, criterion)
    return list(dict.fromkeys(found))


def _criteria(artifact: Artifact) -> Iterator[Criterion]:
    stack = list(artifact.criteria)
    while stack:
        criterion = stack.pop()
        yield criterion
        if isinstance(criterion.definition, CombinationDefinition):
            stack.extend(criterion.definition.members)
        elif isinstance(criterion.definition, ArtifactDefinition) and criterion.definition.artifact is not None:
            stack.extend(criterion.definition.artifact.criteria)


def _warn(rule: Rule, code: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(code, f"{rule.id}: {message}", "warning", location=rule.location, hint=hint)


# -- what was compiled


def _of_rule(rule: Rule, given: KnownCodes) -> Iterator[Diagnostic]:
    if rule.reason is not None:
        yield _warn(rule, "unknown-for-everyone", _unknown(rule), _hint(rule))
    if rule.combination == "at-least" and rule.threshold is not None and rule.threshold > len(rule.members):
        message = f"at least {rule.threshold} of {len(rule.members)} can never be met"
        yield _warn(rule, "never-met", message, "lower the threshold, or add what is missing")
    if rule.code is None:
        return
    codes = {(system, code) for found in rule.code.reads().values() for _, system, code in found.codes}
    yield from _of_codes(rule, codes, given)
    if isinstance(rule.code, FhirPathCriterion):
        yield from _constant(rule, rule.code)
    elif isinstance(rule.code, CqlCode):
        yield from _units_of_cql(rule, rule.code)


_HINTS = {
    Reason.NEEDS_REVIEW: "define it by an expression (FHIRPath, CQL) or by codes; a person has to judge it for each patient until then",
    Reason.UNRESOLVED_REFERENCE: "give the file or folder that holds what it refers to",
    Reason.MISSING_VALUESET: "give the value set (--valuesets), or a server (--terminology-server)",
}
_OTHERWISE = "correct the definition; every patient is unknown here until then"


def _hint(rule: Rule) -> str:
    """What helps where a rule is unknown for everyone."""
    detail = rule.detail or ""
    if rule.reason is Reason.UNRESOLVED_REFERENCE:
        if detail.startswith("more than one characteristic"):
            return "give each characteristic a linkId of its own"
        if "the linkId" in detail:
            return "a linkId is that of a characteristic of the same artifact: correct it, or give the characteristic that is meant this linkId"
        if detail.endswith("back to itself"):
            return "leave out the reference that leads back"
    return _HINTS.get(rule.reason, _OTHERWISE) if rule.reason is not None else _OTHERWISE


def _unknown(rule: Rule) -> str:
    detail = str(rule.detail)
    return f"unknown for every patient ({rule.reason}): {detail if len(detail) <= 300 else detail[:297] + '...'}"


def _of_codes(rule: Rule, codes: Iterable[tuple[str, str]], given: KnownCodes) -> Iterator[Diagnostic]:
    for system, code in sorted(codes):
        if not system or not code:
            continue
        yield from _of_system(rule, system, given)
        name = f"{label(system)} {code}"
        record = given.code_system(system) or given.code_system(canonical(system))
        if record is not None and record.complete and code not in record.parents:
            message = f"{name} is not in the CodeSystem that was given: no record with it can be right"
            yield _warn(rule, "unknown-code", message, "correct the code, or give the version that has it")
        elif record is None or code not in record.parents:
            if check_digit_is_wrong(system, code):
                message = f"expected a code of {label(system)}, found {name}: its form or its check digit is wrong; nobody can meet it"
                yield _warn(rule, "wrong-code", message, "correct the code")
            elif not is_well_formed(system, code):
                message = f"{name} is not built as codes of {label(system)} are; nobody can meet it"
                yield _warn(rule, "wrong-code", message, "correct the code")


def _of_system(rule: Rule, system: str, given: KnownCodes) -> Iterator[Diagnostic]:
    if canonical(system) != system:
        message = f"the code system {system} is spelt otherwise than its canonical address {canonical(system)}"
        yield _warn(rule, "system-spelling", message, f"write {canonical(system)}")
    elif not is_known(system) and given.code_system(system) is None:
        other = meant(system)
        hint = f"did you mean {other}?" if other else "give its CodeSystem (--valuesets), or correct the address"
        yield _warn(rule, "unknown-system", f"no known code system has the address {system!r}", hint)


def _constant(rule: Rule, code: FhirPathCriterion) -> Iterator[Diagnostic]:
    node = code.node
    if isinstance(node, n.Literal) and node.value is False:
        yield _warn(rule, "never-met", "the expression is always false: it can never be met", "correct the expression")
    if node.is_null:
        yield _warn(rule, "unknown-for-everyone", "the expression never has a value", "correct the expression")
    for below in node.walk():
        if (
            n.is_operation(below, "Equal")
            and isinstance(below.operands[1], n.Literal)
            and _is_gender(below.operands[0])
        ):
            value = below.operands[1].value
            if value.__class__ is str and value not in _GENDERS:
                message = f"Patient.gender is never {value!r}: it is one of {', '.join(_GENDERS)}"
                near = next((one for one in _GENDERS if one[0] == value[:1].lower()), "male")
                yield _warn(rule, "never-met", message, f"did you mean {near!r}?")


def _is_gender(node: Node) -> bool:
    """Whether a node is the element `Patient.gender`."""
    while isinstance(node, n.ToSystem):
        node = node.operands[0]
    return isinstance(node, n.Property) and node.path == "gender" and node.operands[0].type == "FHIR.Patient"


def _units_of_cql(rule: Rule, code: CqlCode) -> Iterator[Diagnostic]:
    for library in code.compiled.closure():
        units = [value.unit for value in library.constants.values() if isinstance(value, Quantity)]
        for unit in dict.fromkeys(str(unit) for unit in units if unit):
            yield from _of_unit(rule, unit, f"in the library {library.name}" if library.name else "in the expression")


# -- what was written


def _of_criterion(rule: Rule, criterion: Criterion) -> Iterator[Diagnostic]:
    definition = criterion.definition
    if rule.reason is not None and isinstance(definition, (CodeableConceptDefinition, TypeAndValueDefinition)):
        return
    if isinstance(definition, TypeAndValueDefinition) and definition.value is not None:
        kind, _ = kind_of_type(definition.type)
        if definition.value.quantity is not None:
            yield from _of_quantity(rule, definition.value.quantity, kind, definition.offset)
        if definition.value.range is not None:
            yield from _of_range(rule, definition.value.range, kind, definition.offset)
    elif isinstance(definition, DataRequirementDefinition):
        for date in definition.date_filters:
            if date.start and date.end and date.start[: len(date.end)] > date.end[: len(date.start)]:
                message = f"the dates from {date.start} to {date.end} can never be met"
                yield _warn(rule, "never-met", message, "exchange start and end")
    for constraint in criterion.timing:
        period = constraint.period
        if period is not None and period.start and period.end:
            if period.start[: len(period.end)] > period.end[: len(period.start)]:
                message = f"the period from {period.start} to {period.end} can never be met"
                yield _warn(rule, "never-met", message, "exchange start and end")
        if constraint.range is not None:
            yield from _order(rule, constraint.range)
    if isinstance(criterion.instances, RangeValue):
        yield from _order(rule, criterion.instances)


def _of_quantity(rule: Rule, quantity: QuantityValue, kind: str, offset: CodedConcept | None) -> Iterator[Diagnostic]:
    if quantity.comparator is None and kind not in ("age", "gender"):
        message = f"the value {quantity.value} has no comparator: only a value that is equal to it counts"
        yield _warn(rule, "no-comparator", message, "add a comparator (<, <=, >=, >), or use a range")
    if kind in ("age", "gender") or offset is not None:
        return
    yield from _has_unit(rule, quantity)


def _of_range(rule: Rule, value: RangeValue, kind: str, offset: CodedConcept | None) -> Iterator[Diagnostic]:
    yield from _order(rule, value)
    if kind in ("age", "gender") or offset is not None:
        return
    for limit in (value.low, value.high):
        if limit is not None:
            yield from _has_unit(rule, limit)
            return


def _has_unit(rule: Rule, quantity: QuantityValue) -> Iterator[Diagnostic]:
    if not (quantity.code or quantity.unit):
        message = f"the value {quantity.value} has no unit: a value in any unit is compared with the bare number"
        yield _warn(rule, "no-unit", message, "add the UCUM code of the unit (1 for a number without unit)")


def _order(rule: Rule, value: RangeValue) -> Iterator[Diagnostic]:
    low, high = value.low, value.high
    if low is None or high is None or low.value is None or high.value is None:
        return
    if (low.code or low.unit) == (high.code or high.unit) and low.value > high.value:
        message = f"the range from {low.value} to {high.value} can never be met"
        yield _warn(rule, "never-met", message, "exchange low and high")


def _of_unit(rule: Rule, unit: str, where: str) -> Iterator[Diagnostic]:
    if unit in CALENDAR_WORDS or alias(unit) is not None:
        return
    try:
        parse_unit(unit)
    except UnitError:
        near = suggest_unit(unit)
        hint = f"did you mean {near!r}?" if near else "units stand as UCUM codes"
        message = f"the unit {unit!r} {where} is not UCUM: no value can be compared with it"
        yield _warn(rule, "unknown-unit", message, hint)
