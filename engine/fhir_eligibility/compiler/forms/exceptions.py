"""Inclusions with exceptions (Group.combinationMethod `except-subset`): what is excluded is excepted from the records included.

"Cancer, except basal cell carcinoma" is met by a melanoma whatever else the patient has, and not by a basal cell carcinoma alone: the
exclusions are conditions on the same record. An exclusion of another kind of record, or of the patient, cannot be the same record; it
excepts the patient.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.records import (
    CodeableConceptDefinition,
    Criterion,
    DataRequirementDefinition,
    TypeAndValueDefinition,
)
from fhir_eligibility.compiler.forms.base import Form, NotComputable, Selection, TextCause
from fhir_eligibility.compiler.forms.coded import add_constraints, patient_test, selections_of, until_known
from fhir_eligibility.compiler.forms.grouping import exact_only
from fhir_eligibility.compiler.forms.otherwise import coded_otherwise, of_systems, systems_of
from fhir_eligibility.compiler.forms.timing import Timeline

_CODED = (CodeableConceptDefinition, TypeAndValueDefinition, DataRequirementDefinition)


def except_subset_form(model: Model, criteria: Sequence[Criterion], timeline: Timeline) -> Form:
    """The form of characteristics that are combined as inclusions with exceptions."""
    form = Form("except-subset")
    try:
        _fill(form, model, criteria, timeline)
    except NotComputable as problem:
        form.text, form.reason, form.detail = None, problem.reason, problem.detail
    form.causes, form.notes = timeline.causes, timeline.notes
    return form


def _fill(form: Form, model: Model, criteria: Sequence[Criterion], timeline: Timeline) -> None:
    included = [(one, _rows(model, one, timeline)) for one in criteria if not one.exclude]
    excepted = [_rows(model, one, timeline) for one in criteria if one.exclude]
    if not included:
        raise NotComputable("except-subset has nothing that the exclusions are exceptions to", Reason.NEEDS_REVIEW)
    parts: dict[str, None] = {}
    records: list[Selection] = []
    for criterion, found in included:
        if isinstance(found, str):
            parts[f"({found})"] = None
            continue
        rows = [_without(row, excepted) for row in found]
        parts[f"({' or '.join(f'{row.rows}.exists()' for row in rows)})"] = None
        form.otherwise += coded_otherwise(model, criterion, rows)
        records += rows
    types = {row.type for row in records}
    for found in excepted:
        if isinstance(found, str):
            parts[f"({found}).not()"] = None
            continue
        others = [f"{row.rows}.exists()" for row in found if row.type not in types]
        if others and all(row.type == "Observation" for row in found):
            # a measurement that was never made tells nothing, as one that is an exclusion of its own
            absent = f"({' or '.join(f'{row.records}.exists()' for row in found)}).not()"
            timeline.cause(TextCause(absent, Reason.NO_DATA, "there is no record of the measurement of an exception"))
            others.append(f"({absent} and {{}})")
        if others:
            parts[f"({' or '.join(others)}).not()"] = None
    form.text = until_known(" and ".join(parts), timeline)
    form.measurement = bool(records) and all(row.type == "Observation" for row in records)
    form.presence = " or ".join(f"{row.records}.exists()" for row in records) or None
    selected = [*records, *(row for found in excepted if not isinstance(found, str) for row in found)]
    form.sentences = {test: sentence for row in records for test, sentence in row.sentences.items()}
    form.exact = exact_only(row.concept for row in selected if row.concept is not None)


def _rows(model: Model, criterion: Criterion, timeline: Timeline) -> list[Selection] | str:
    """Rows of a characteristic, or FHIRPath on the Patient. Raises NotComputable."""
    name = criterion.title or criterion.id
    if not isinstance(criterion.definition, _CODED) or criterion.also is not None:
        raise NotComputable(
            f"except-subset: {name!r} names no records of its own, so that nobody can tell what is excepted from what",
            Reason.NEEDS_REVIEW,
        )
    if criterion.review:
        raise NotComputable(f"{name}: {'; '.join(criterion.review)}", Reason.NEEDS_REVIEW)
    patient = patient_test(model, criterion, timeline)
    if patient is not None:
        if patient.note is not None:
            timeline.note(patient.note)
        return patient.text
    if criterion.instances is not None:
        raise NotComputable(
            f"except-subset: {name!r} counts records, and exceptions are made of single ones", Reason.NEEDS_REVIEW
        )
    selections = selections_of(model, criterion)
    add_constraints(model, criterion, selections, timeline)
    return selections


def _without(row: Selection, excepted: list[list[Selection] | str]) -> Selection:
    """A row with the exclusions of the same type as conditions on it."""
    tests = list(row.tests)
    for found in excepted:
        if isinstance(found, str):
            continue
        same = [f"({_excepting(one)})" for one in found if one.type == row.type]
        if same:
            tests.append(f"({' or '.join(same)}).not()")
    return replace(row, tests=tests)


def _excepting(row: Selection) -> str:
    """The condition of an exception, unknown for a record that has no code of the systems that the exception asks for."""
    systems = systems_of(row.concept) if row.concept is not None else None
    if systems is None or row.code_path is None or row.code_test is None:
        return row.condition or "true"
    lacking = f"{row.code_path}.coding.exists({of_systems(systems)}).not() and {{}}"
    return " and ".join([f"({row.code_test} or ({lacking}))", *row.tests])
