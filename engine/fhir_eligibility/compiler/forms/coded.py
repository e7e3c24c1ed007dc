"""Coded forms: a CodeableConcept alone, a type with a value (EvidenceVariable and Group), and a DataRequirement.

Each gives selections (rows of resource types with tests); `definition_text` puts them together with instances, duration and time
constraints into FHIRPath.
"""

from __future__ import annotations

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.records import (
    CodeableConceptDefinition,
    CodedConcept,
    Criterion,
    DataRequirementDefinition,
    QuantityValue,
    RangeValue,
    TypeAndValueDefinition,
)
from fhir_eligibility.compiler.forms.base import (
    Form,
    NotComputable,
    Selection,
    comparator,
    concept_condition,
    label,
    quantity_literal,
)
from fhir_eligibility.compiler.forms.data_requirement import data_requirement
from fhir_eligibility.compiler.forms.grouping import exact_only
from fhir_eligibility.compiler.forms.kinds import (
    IMAGING_PROCEDURE,
    concept_selections,
    date_paths,
    in_doubt,
    kind_of_type,
    kinds_of_concept,
    resource_kind,
    selection,
    studied,
    types_of_kind,
)
from fhir_eligibility.compiler.forms.otherwise import coded_otherwise, of_systems, systems_of
from fhir_eligibility.compiler.forms.patient import (
    DEAD,
    DEATH_DATE,
    PatientTest,
    age_test,
    concept_on_patient,
    gender_test,
    is_dead,
)
from fhir_eligibility.compiler.forms.spans import TimeSpan
from fhir_eligibility.compiler.forms.timing import (
    Timeline,
    at_once,
    date_test,
    duration_test,
    study_day,
    study_event,
    time_test,
)
from fhir_eligibility.compiler.forms.values import undecided_value, value_test


def coded_form(model: Model, criterion: Criterion, timeline: Timeline) -> Form:
    """The form of a coded characteristic, or the reason why it cannot be computed."""
    form = Form(criterion.definition.form, constrained=True)
    try:
        patient = patient_test(model, criterion, timeline)
        if patient is not None:
            form.text = patient.text
            if patient.note is not None:
                timeline.note(patient.note)
        else:
            _of_records(model, criterion, timeline, form)
    except NotComputable as problem:
        form.text, form.reason, form.detail = None, problem.reason, problem.detail
    form.causes, form.notes = timeline.causes, timeline.notes
    return form


FORMS = dict.fromkeys(("codeable-concept", "type-and-value", "data-requirement"), coded_form)


def _of_records(model: Model, criterion: Criterion, timeline: Timeline, form: Form) -> None:
    definition = criterion.definition
    if isinstance(definition, TypeAndValueDefinition) and definition.device:
        raise NotComputable(
            f"it has to be measured with the device {definition.device}, which no record can be compared with",
            Reason.NEEDS_REVIEW,
        )
    selections = selections_of(model, criterion)
    records = [chosen.records for chosen in selections]
    form.text = definition_text(model, criterion, selections, timeline)
    form.otherwise = coded_otherwise(model, criterion, selections)
    form.exact = exact_only(chosen.concept for chosen in selections if chosen.concept is not None)
    form.asked = [
        (chosen.type, coding.system or "", coding.code)
        for chosen in selections
        for coding in (chosen.concept.codings if chosen.concept is not None else ())
        if coding.code
    ]
    form.sentences = {test: sentence for chosen in selections for test, sentence in chosen.sentences.items()}
    form.measurement = all(chosen.type == "Observation" for chosen in selections)
    form.presence = " or ".join(f"{row}.exists()" for row in records)
    if form.measurement and any(at_once(constraint) and study_event(constraint) for constraint in criterion.timing):
        _measured_then(model, criterion, selections, timeline, form)


def _measured_then(
    model: Model, criterion: Criterion, selections: list[Selection], timeline: Timeline, form: Form
) -> None:
    """A measurement that is asked for at one moment is unknown where it was not made then."""
    rows = []
    for chosen in selections:
        tests = [time_test(model, chosen.type, constraint, timeline) for constraint in criterion.timing]
        rows.append(Selection(chosen.type, tests, chosen.code_test))
    form.presence = " or ".join(f"{row.rows}.exists()" for row in rows)
    form.absent = "there is no record of this kind at that time"


def selections_of(model: Model, criterion: Criterion) -> list[Selection]:
    """Rows that a coded characteristic speaks of. Raises NotComputable."""
    definition = criterion.definition
    if isinstance(definition, CodeableConceptDefinition):
        kinds = kinds_of_concept(definition.concept)
        found = concept_selections(model, definition.concept, kinds) + in_doubt(model, definition.concept, kinds)
        found += _studied(model, criterion, definition.concept, kinds)
    elif isinstance(definition, TypeAndValueDefinition):
        found = _type_and_value(model, definition)
        concept = definition.value.concept if definition.value is not None else None
        if concept is not None and definition.value is not None:
            kind, resource = kind_of_type(definition.type)
            if kind == "value" or (kind == "procedure" and resource is None):
                found += _studied(model, criterion, concept, kinds_of_concept(concept))
    elif isinstance(definition, DataRequirementDefinition):
        found = [data_requirement(model, definition)]
    else:
        raise NotComputable(f"a definition of form {definition.form} names no resources")
    if not found:
        raise NotComputable(f"no resource type of FHIR {model.version.upper()} records this")
    return found


def _studied(model: Model, criterion: Criterion, concept: CodedConcept, kinds: tuple[str, ...]) -> list[Selection]:
    """Imaging studies that record an examination which a characteristic asks for; where records are counted, it may stand in a Procedure, too."""
    if IMAGING_PROCEDURE not in kinds or criterion.duration is not None:
        return []
    found = studied(model, concept)
    if criterion.instances is not None:
        found.tests.append("{}")
        found.sentences["{}"] = (
            "a Procedure may be on record for the same examination, so that it would be counted twice"
        )
    return [found]


def definition_text(model: Model, criterion: Criterion, selections: list[Selection], timeline: Timeline) -> str:
    """FHIRPath of a coded characteristic with its instances, duration and time constraints."""
    add_constraints(model, criterion, selections, timeline)
    if criterion.instances is None:
        text = " or ".join(f"{chosen.rows}.exists()" for chosen in selections)
    else:
        count = " + ".join(f"{chosen.rows}.count()" for chosen in selections)
        text = _number_test(f"({count})", criterion.instances)
    return until_known(text, timeline)


def until_known(text: str, timeline: Timeline) -> str:
    """A criterion whose time has not passed yet is not false before it has."""
    for limit in timeline.limits:
        text = f"({text}) or ({limit} and {{}})"
    return text


def add_constraints(model: Model, criterion: Criterion, selections: list[Selection], timeline: Timeline) -> None:
    """Put the time and duration constraints of a characteristic to the tests of its rows. Raises NotComputable."""
    if criterion.timing and not any(date_paths(model, chosen.type) for chosen in selections):
        types = ", ".join(chosen.type for chosen in selections)
        raise NotComputable(f"{criterion.timing[0].origin}: {types} has no date to compare")
    for chosen in selections:
        for constraint in criterion.timing:
            chosen.tests.append(time_test(model, chosen.type, constraint, timeline))
            if chosen.tests[-1] == "{}":
                chosen.sentences["{}"] = f"a {chosen.type} has no date that could be compared"
        if criterion.duration is not None:
            chosen.tests.append(duration_test(model, chosen.type, criterion.duration))


def timed_selections(model: Model, criterion: Criterion, timeline: Timeline) -> list[Selection]:
    """Records that are an event: those of a characteristic at the time that it gives itself. Raises NotComputable."""
    if criterion.review or criterion.instances is not None or criterion.also is not None:
        raise NotComputable("not every record of it counts: it says more than which records it speaks of")
    if any(when.event is not None and when.event.id for when in criterion.timing):
        raise NotComputable("its own time is counted from another characteristic")
    selections = selections_of(model, criterion)
    add_constraints(model, criterion, selections, timeline)
    return selections


def _number_test(number: str, wanted: QuantityValue | RangeValue) -> str:
    if isinstance(wanted, QuantityValue):
        return f"{number} {comparator(wanted)} {quantity_literal(QuantityValue(value=wanted.value))}"
    parts = []
    if wanted.low is not None:
        parts.append(f"{number} >= {quantity_literal(QuantityValue(value=wanted.low.value))}")
    if wanted.high is not None:
        parts.append(f"{number} <= {quantity_literal(QuantityValue(value=wanted.high.value))}")
    if not parts:
        raise NotComputable("instances: the range has no limits")
    return " and ".join(parts)


# -- properties of the patient


def patient_test(model: Model, criterion: Criterion, timeline: Timeline) -> PatientTest | None:
    """FHIRPath on the Patient for age, gender and death; None where the characteristic is none of them. Raises NotComputable."""
    definition = criterion.definition
    kind, concept, value = "", None, None
    if isinstance(definition, CodeableConceptDefinition):
        concept = definition.concept
    elif isinstance(definition, TypeAndValueDefinition):
        kind, value = kind_of_type(definition.type)[0], definition.value
        if kind in ("age", "gender"):
            _without_restriction(definition)
        if kind in ("value", "condition") and value is not None:
            concept = value.concept
    if kind not in ("age", "gender"):
        found = concept_on_patient(concept) if concept is not None else None
        if found is None:
            return None
        if concept is not None and is_dead(concept) and criterion.timing:
            return _died(model, criterion, timeline)
        _only_now(criterion, timeline)
        return found
    day = _only_now(criterion, timeline)
    return age_test(value, day) if kind == "age" else PatientTest(gender_test(value))


def _without_restriction(definition: TypeAndValueDefinition) -> None:
    """A property of the patient is recorded without a method, a device and limits of normal. Raises NotComputable."""
    _without_method(definition)
    for name, what in (("device", definition.device), ("offset", definition.offset)):
        if what is not None:
            raise NotComputable(
                f"the {name} restricts {label(definition.type)!r}, which a person has to check", Reason.NEEDS_REVIEW
            )


def _only_now(criterion: Criterion, timeline: Timeline) -> str:
    """FHIRPath for the day that a property of the patient is asked for: that of evaluation, or of an event of the study."""
    if criterion.instances or criterion.duration:
        raise NotComputable("a property of the patient has no instances and no duration", Reason.NEEDS_REVIEW)
    days = [study_day(constraint, timeline) for constraint in criterion.timing]
    if None in days or len(set(days)) > 1:
        raise NotComputable(
            "a property of the patient is known on the day of evaluation, and not at the time of another event",
            Reason.NEEDS_REVIEW,
        )
    return next((day for day in days if day is not None), "today()")


def _died(model: Model, criterion: Criterion, timeline: Timeline) -> PatientTest:
    """Death in a window of time: Patient.deceased as a date."""
    if criterion.instances or criterion.duration:
        raise NotComputable("death has no instances and no duration", Reason.NEEDS_REVIEW)
    tests = [
        date_test(model, TimeSpan(DEATH_DATE), TimeSpan(DEATH_DATE), constraint, timeline)
        for constraint in criterion.timing
    ]
    return PatientTest(until_known(" and ".join([f"({DEAD})", *tests]), timeline))


# -- type and value


def _type_and_value(model: Model, definition: TypeAndValueDefinition) -> list[Selection]:
    kind, resource = kind_of_type(definition.type)
    value = definition.value
    if kind == "unknown":
        raise NotComputable(
            f"the type {label(definition.type)!r} is text that maps to no kind of record", Reason.NEEDS_REVIEW
        )
    if kind == "value" or (kind == "any-observation" and value is not None and value.kind == "concept"):
        _without_method(definition)
        if value is None or value.concept is None:
            raise NotComputable("the value alone is the definition: expected a coded concept", Reason.NEEDS_REVIEW)
        kinds = kinds_of_concept(value.concept) if kind == "value" else ("observation",)
        return concept_selections(model, value.concept, kinds) + in_doubt(model, value.concept, kinds)
    if kind == "observation":
        return _observations(model, definition)
    _without_method(definition)
    if value is not None and value.kind == "boolean" and kind != "any-observation":
        raise NotComputable(
            "a truth value of a kind of record as a whole needs a person to read it", Reason.NEEDS_REVIEW
        )
    if value is None or value.concept is None:
        given = value.kind if value is not None else "nothing"
        raise NotComputable(
            f"{label(definition.type)!r} is compared with a coded value, not with {given}", Reason.NEEDS_REVIEW
        )
    if definition.offset is not None:
        raise NotComputable("an offset from the limits of normal has a meaning for measured values only")
    alone = resource is not None and kind != "device" and resource_kind(model, resource) is not None
    types = [resource] if alone and resource is not None else types_of_kind(model, kind)
    return [selection(model, name, value.concept) for name in types]


def _without_method(definition: TypeAndValueDefinition) -> None:
    """Only measurements record by which method. Raises NotComputable."""
    if definition.methods:
        raise NotComputable(
            f"the method {label(definition.methods[0])!r} restricts the characteristic, which a person has to check",
            Reason.NEEDS_REVIEW,
        )


def _observations(model: Model, definition: TypeAndValueDefinition) -> list[Selection]:
    """Observations of the type's code whose value (or a component's) satisfies the value."""
    chosen = selection(model, "Observation", definition.type)
    if definition.methods:
        condition = concept_condition(_any_of(definition.methods))
        systems = systems_of(_any_of(definition.methods))
        coded = f"method.coding.exists({of_systems(systems)}).not()" if systems else "method.coding.code.empty()"
        chosen.tests.append(f"(method.coding.exists({condition}) or ({coded} and {{}}))")
    value = definition.value
    if value is None:
        return [chosen]
    chosen.tests.append(value_test(value, definition.offset))
    sentence = undecided_value(value, definition.offset)
    if sentence is not None:
        chosen.sentences[chosen.tests[-1]] = sentence
    if definition.offset is not None:
        return [chosen]
    coded = f"code.coding.exists({concept_condition(definition.type)})"
    component = Selection("Observation", list(chosen.tests[:-1]), f"component.exists({coded})")
    test = value_test(value, None, in_component=True)
    component.tests.append(f"component.exists({coded} and ({test}))")
    if sentence is not None:
        component.sentences.update({test: sentence, f"({test})": sentence})
    return [chosen, component]


def _any_of(concepts: tuple[CodedConcept, ...]) -> CodedConcept:
    """Concepts that are alternatives, as one. Raises NotComputable for one that is text only."""
    for concept in concepts:
        concept_condition(concept)
    return CodedConcept(codings=tuple(coding for concept in concepts for coding in concept.codings))
