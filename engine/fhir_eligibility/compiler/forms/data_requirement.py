"""A DataRequirement as a form: records of a type that filters on codes and on dates let pass.

A filter on the code that a record is about is read as that code is in any other form. Any other element that a filter asks for and a record lacks leaves
the record in doubt.
"""

from __future__ import annotations

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.records import CodedConcept, CodeFilter, DataRequirementDefinition, DateFilter
from fhir_eligibility.compiler.forms.base import (
    NotComputable,
    Selection,
    calendar_duration,
    concept_condition,
    in_concept,
    quoted,
)
from fhir_eligibility.compiler.forms.kinds import drug_path, resource_kind, selection
from fhir_eligibility.compiler.forms.spans import TimeSpan, whole_day


def data_requirement(model: Model, definition: DataRequirementDefinition) -> Selection:
    """The records that a DataRequirement asks for. Raises NotComputable."""
    name = definition.type
    if name not in model.resource_types:
        raise NotComputable(f"expected a resource type of FHIR {model.version.upper()}, found {name!r}")
    if definition.restrictions:
        raise NotComputable(
            f"the data requirement asks for {' and '.join(definition.restrictions)}, which a person has to check",
            Reason.NEEDS_REVIEW,
        )
    about = [one for one in definition.code_filters if _is_code(model, name, one)]
    chosen = selection(model, name, CodedConcept(codings=about[0].codes, text=None) if len(about) == 1 else None)
    for code_filter in definition.code_filters:
        if len(about) != 1 or code_filter is not about[0]:
            _add_code_test(model, chosen, code_filter)
    for date_filter in definition.date_filters:
        chosen.tests.extend(_date_tests(model, name, date_filter))
    return chosen


def _path(filtered: CodeFilter | DateFilter, what: str) -> str:
    path = filtered.path or filtered.search_param
    if path is None:
        raise NotComputable(f"a {what} filter without a path")
    return path


def _is_code(model: Model, name: str, code_filter: CodeFilter) -> bool:
    """Whether a filter is on the code that records of the type are about, by codes alone."""
    rule = resource_kind(model, name)
    if rule is None or not code_filter.codes or code_filter.value_set:
        return False
    path = code_filter.path or code_filter.search_param
    return path == rule.code or (path == "medication" and rule.code == drug_path(model))


def _add_code_test(model: Model, chosen: Selection, code_filter: CodeFilter) -> None:
    name, path = chosen.type, _path(code_filter, "code")
    if not (code_filter.codes or code_filter.value_set):
        raise NotComputable("a code filter without codes")
    element = model.element(name, path)
    if element is None:
        raise NotComputable(f"{name} has no element {path!r}")
    rule = resource_kind(model, name)
    coded, many = path, element.many
    if rule is not None and path == "medication" and rule.code == drug_path(model):
        coded, many = rule.code, True
    elif element.choice and "CodeableConcept" in element.types:
        coded = f"{path}.ofType(CodeableConcept)"
    elif "CodeableReference" in element.types:
        coded = f"{path}.concept"
    is_concept = coded != path or "CodeableConcept" in element.types
    ways = []
    if code_filter.value_set:
        member = f"memberOf({quoted(code_filter.value_set)})"
        ways.append(f"{coded}.exists({member})" if many else f"{coded}.{member}")
    if code_filter.codes:
        concept = CodedConcept(codings=code_filter.codes, text=None)
        if is_concept:
            ways.append(in_concept(coded, concept))
        elif "Coding" in element.types:
            ways.append(f"{coded}.exists({concept_condition(concept)})")
        else:
            codes = " | ".join(quoted(coding.code or "") for coding in code_filter.codes)
            ways.append(f"{coded} in ({codes})")
    missing = f"{coded}.coding.empty()" if is_concept else f"{coded}.empty()"
    test = f"({' or '.join(ways)} or ({missing} and {{}}))"
    chosen.tests.append(test)
    chosen.sentences[test] = f"it has no code in `{path}`"


def _date_tests(model: Model, name: str, date_filter: DateFilter) -> list[str]:
    """Tests that a date, or a Period from its start to its end, lies within the bounds; a Period that only overlaps them is in doubt."""
    path = _path(date_filter, "date")
    element = model.element(name, path)
    if element is None:
        raise NotComputable(f"{name} has no element {path!r}")
    types = [one for one in ("dateTime", "date", "instant") if one in element.types]
    period = None
    if "Period" in element.types:
        period = f"{path}.ofType(Period)" if element.choice else path
    moments = [f"{path}.ofType({one})" if element.choice else path for one in types]
    if not moments and period is None:
        raise NotComputable(f"{name}.{path} is neither a date nor a period")
    moment = f"({' | '.join(moments)}).first()" if len(moments) > 1 else "".join(moments) or f"{period}.start"
    bounds = [(">=", date_filter.start), ("<=", date_filter.end)]
    tests = [
        _bounded(TimeSpan(moment, by_day="T" not in bound), period, sign, bound) for sign, bound in bounds if bound
    ]
    moved = calendar_duration(date_filter.duration) if date_filter.duration is not None else None
    if moved is not None:
        within = f"{moment} >= now() - {moved[1]} and {moment} <= now()"
        tests.append(within if period is None else f"iif({period}.exists(), {_lasted(period, moved[1])}, {within})")
    return tests


def _lasted(period: str, duration: str) -> str:
    """That a Period lies within a duration before now."""
    inside = f"{period}.start >= now() - {duration} and {period}.end <= now()"
    return f"(({inside}) or ({period}.start <= now() and {period}.end >= now() - {duration} and {{}}))"


def _bounded(moment: TimeSpan, period: str | None, sign: str, bound: str) -> str:
    """A date on its side of a bound; of a Period both ends, in doubt where only one is."""
    point = f"@{whole_day(bound, last=sign == '<=')}"
    alone = moment.until(sign, point)
    if period is None:
        return alone
    day = ".toDate()" if moment.by_day else ""
    start, end = f"{period}.start{day} {sign} {point}", f"{period}.end{day} {sign} {point}"
    both = f"({start} and {end} or (({start} or {end}) and {{}}))"
    return f"iif({period}.exists(), {both}, {alone})"
