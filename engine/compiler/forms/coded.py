"""Coded forms: a CodeableConcept alone, a type with a value (EvidenceVariable and Group), and a DataRequirement.

Each gives selections (rows of resource types with tests); `definition_text` puts them together with instances, duration and time
constraints into FHIRPath.
"""

from __future__ import annotations

from engine.algebra.reasons import Reason
from engine.artifacts.models import Model
from engine.artifacts.records import (
    CodeableConceptDefinition,
    Concept,
    Criterion,
    DataRequirementDefinition,
    QuantityValue,
    RangeValue,
    TypeAndValueDefinition,
    Value,
)
from engine.compiler.forms.base import (
    Form,
    NotComputable,
    Selection,
    calendar_duration,
    comparator,
    concept_condition,
    has_unit,
    label,
    quantity_literal,
    quoted,
)
from engine.compiler.forms.kinds import (
    concept_selections,
    kind_of_type,
    kinds_of_concept,
    resource_kind,
    selection,
    types_of_kind,
)
from engine.compiler.forms.timing import FindSelections, duration_test, time_test

_GENDERS = {
    "male": "male",
    "female": "female",
    "other": "other",
    "unknown": "unknown",
    "m": "male",
    "f": "female",
    "248152002": "female",
    "248153007": "male",
    "703117000": "male",
    "703118005": "female",
}


def coded_form(model: Model, criterion: Criterion, linked: FindSelections) -> Form:
    """The form of a coded characteristic, or the reason why it cannot be computed."""
    definition = criterion.definition
    form = Form(definition.form)
    try:
        if isinstance(definition, TypeAndValueDefinition):
            patient = patient_test(definition)
            if patient is not None:
                if criterion.timing or criterion.instances or criterion.duration:
                    raise NotComputable("a property of the patient has no instances, duration or time of an event")
                form.text = patient
                return form
        selections = selections_of(model, criterion)
        form.text = definition_text(model, criterion, selections, linked)
        form.measurement = all(chosen.type == "Observation" for chosen in selections)
        form.presence = " or ".join(f"{chosen.records}.exists()" for chosen in selections)
        if isinstance(definition, TypeAndValueDefinition) and definition.device:
            form.warnings.append(("device-ignored", "the device that measured is not checked"))
    except NotComputable as problem:
        form.reason, form.detail = problem.reason, problem.detail
    return form


def selections_of(model: Model, criterion: Criterion) -> list[Selection]:
    """Rows that a coded characteristic speaks of. Raises NotComputable."""
    definition = criterion.definition
    if isinstance(definition, CodeableConceptDefinition):
        found = concept_selections(model, definition.concept, kinds_of_concept(definition.concept))
    elif isinstance(definition, TypeAndValueDefinition):
        found = _type_and_value(model, definition)
    elif isinstance(definition, DataRequirementDefinition):
        found = [_data_requirement(model, definition)]
    else:
        raise NotComputable(f"a definition of form {definition.form} names no resources")
    if not found:
        raise NotComputable(f"no resource type of FHIR {model.version.upper()} records this")
    return found


def definition_text(model: Model, criterion: Criterion, selections: list[Selection], linked: FindSelections) -> str:
    """FHIRPath of a coded characteristic with its instances, duration and time constraints."""
    for chosen in selections:
        for constraint in criterion.timing:
            chosen.tests.append(time_test(model, chosen.type, constraint, linked))
        if criterion.duration is not None:
            chosen.tests.append(duration_test(chosen.type, criterion.duration))
    if criterion.instances is None:
        return " or ".join(f"{chosen.rows}.exists()" for chosen in selections)
    count = " + ".join(f"{chosen.rows}.count()" for chosen in selections)
    return _number_test(f"({count})", criterion.instances)


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


def patient_test(definition: TypeAndValueDefinition) -> str | None:
    """FHIRPath on the Patient for age and gender, None where the type is neither. Raises NotComputable."""
    kind, _ = kind_of_type(definition.type)
    if kind == "age":
        return _age(definition.value)
    if kind == "gender":
        return _gender(definition.value)
    return None


def _gender(value: Value | None) -> str:
    concept = value.concept if value is not None else None
    if concept is None:
        raise NotComputable("gender is compared with a coded value, and there is none")
    names = [coding.code or coding.display or "" for coding in concept.codings] + [concept.text or ""]
    for name in names:
        if name.lower() in _GENDERS:
            return f"Patient.gender = {quoted(_GENDERS[name.lower()])}"
    raise NotComputable(f"{label(concept)!r} is no administrative gender", Reason.NEEDS_REVIEW)


def _age(value: Value | None) -> str:
    """Completed years (or other units) at the time of evaluation."""
    if value is not None and value.range is not None:
        parts = []
        if value.range.low is not None:
            parts.append(_age_at_least(value.range.low))
        if value.range.high is not None:
            parts.append(f"({_age_at_least(_next_whole(value.range.high))}).not()")
        if parts:
            return " and ".join(parts)
    if value is not None and value.quantity is not None:
        quantity = value.quantity
        sign = comparator(quantity)
        if sign == ">=":
            return _age_at_least(quantity)
        if sign == "<":
            return f"({_age_at_least(quantity)}).not()"
        if sign == ">":
            return _age_at_least(_next_whole(quantity))
        if sign == "<=":
            return f"({_age_at_least(_next_whole(quantity))}).not()"
        return f"{_age_at_least(quantity)} and ({_age_at_least(_next_whole(quantity))}).not()"
    raise NotComputable("age is compared with a quantity or a range, and there is none")


def _next_whole(quantity: QuantityValue) -> QuantityValue:
    if quantity.value is None:
        raise NotComputable("a quantity has no value")
    return quantity.model_copy(update={"value": quantity.value.to_integral_value() + 1})


def _age_at_least(quantity: QuantityValue) -> str:
    if quantity.value is not None and not has_unit(quantity):
        quantity = quantity.model_copy(update={"code": "a"})
    moved = calendar_duration(quantity)
    if moved is None:
        return "Patient.birthDate <= today()"
    if moved[0]:
        raise NotComputable("an age cannot be negative")
    return f"Patient.birthDate <= today() - {moved[1]}"


# -- type and value


def _type_and_value(model: Model, definition: TypeAndValueDefinition) -> list[Selection]:
    kind, resource = kind_of_type(definition.type)
    value = definition.value
    if kind == "unknown":
        raise NotComputable(
            f"the type {label(definition.type)!r} is text that maps to no kind of record", Reason.NEEDS_REVIEW
        )
    if kind == "value" or (kind == "any-observation" and value is not None and value.kind == "concept"):
        if value is None or value.concept is None:
            raise NotComputable("the value alone is the definition, and it is no coded concept", Reason.NEEDS_REVIEW)
        kinds = kinds_of_concept(value.concept) if kind == "value" else ("observation",)
        return concept_selections(model, value.concept, kinds)
    if kind == "observation":
        return _observations(model, definition)
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
    types = [resource] if resource and resource_kind(model, resource) is not None else types_of_kind(model, kind)
    return [selection(model, name, value.concept) for name in types]


def _observations(model: Model, definition: TypeAndValueDefinition) -> list[Selection]:
    """Observations of the type's code whose value (or a component's) satisfies the value."""
    chosen = selection(model, "Observation", definition.type)
    for method in definition.methods:
        chosen.tests.append(f"method.coding.exists({concept_condition(method)})")
    value = definition.value
    if value is None:
        return [chosen]
    chosen.tests.append(value_test(value, definition.offset))
    coded = f"code.coding.exists({concept_condition(definition.type)})"
    component = Selection("Observation", list(chosen.tests[:-1]), f"component.exists({coded})")
    component.tests.append(f"component.exists({coded} and ({value_test(value, definition.offset)}))")
    if definition.offset is not None or value.kind not in ("quantity", "range"):
        return [chosen]
    return [chosen, component]


def value_test(value: Value, offset: Concept | None) -> str:
    """FHIRPath condition on an Observation or component: that its value satisfies a value. Raises NotComputable."""
    if value.quantity is not None:
        return _quantity_test(value.quantity, comparator(value.quantity), offset)
    if value.range is not None:
        parts = []
        if value.range.low is not None:
            parts.append(_quantity_test(value.range.low, ">=", offset))
        if value.range.high is not None:
            parts.append(_quantity_test(value.range.high, "<=", offset))
        if not parts:
            raise NotComputable("the range has no limits")
        return " and ".join(parts)
    if offset is not None:
        raise NotComputable("an offset from the limits of normal needs a quantity or a range")
    if value.concept is not None:
        return f"value.ofType(CodeableConcept).coding.exists({concept_condition(value.concept)})"
    if value.boolean is not None:
        return f"value.ofType(boolean) = {'true' if value.boolean else 'false'}"
    raise NotComputable(f"a value of kind {value.kind} cannot be compared with an observation", Reason.NEEDS_REVIEW)


def _quantity_test(quantity: QuantityValue, sign: str, offset: Concept | None) -> str:
    literal = quantity_literal(quantity)
    if offset is not None:
        limit = _limit(offset)
        if quantity.value == 0:
            return f"value.ofType(Quantity) {sign} {limit}"
        if not has_unit(quantity):
            # a bare number counts multiples of the limit itself
            return f"value.ofType(Quantity) {sign} {limit} * {literal}"
        return f"(value.ofType(Quantity) - {limit}) {sign} {literal}"
    if has_unit(quantity):
        return f"value.ofType(Quantity) {sign} {literal}"
    return f"(value.ofType(Quantity).value | value.ofType(integer)).first() {sign} {literal}"


def _limit(offset: Concept) -> str:
    codes = {coding.code for coding in offset.codings} | {offset.text}
    if "UNL" in codes:
        return "referenceRange.high.first()"
    if "LNL" in codes:
        return "referenceRange.low.first()"
    raise NotComputable(
        f"the offset {label(offset)!r} is neither the upper nor the lower limit of normal", Reason.NEEDS_REVIEW
    )


# -- data requirement


def _data_requirement(model: Model, definition: DataRequirementDefinition) -> Selection:
    name = definition.type
    if name not in model.resource_types:
        raise NotComputable(f"{name!r} is no resource type of FHIR {model.version.upper()}")
    rule = resource_kind(model, name)
    chosen = Selection(name, list(rule.tests) if rule is not None else [])
    for code_filter in definition.code_filters:
        path = code_filter.path or code_filter.search_param
        if path is None or not (code_filter.codes or code_filter.value_set):
            raise NotComputable("a code filter without a path or codes")
        element = model.element(name, path)
        if element is None:
            raise NotComputable(f"{name} has no element {path!r}")
        test = f"{path}.ofType(CodeableConcept)" if element.choice and "CodeableConcept" in element.types else path
        ways = []
        if code_filter.value_set:
            member = f"memberOf({quoted(code_filter.value_set)})"
            ways.append(f"{test}.exists({member})" if element.many else f"{test}.{member}")
        if code_filter.codes:
            condition = concept_condition(Concept(codings=code_filter.codes, text=None))
            if "CodeableConcept" in element.types:
                ways.append(f"{test}.coding.exists({condition})")
            elif "Coding" in element.types:
                ways.append(f"{path}.exists({condition})")
            else:
                codes = " | ".join(quoted(coding.code or "") for coding in code_filter.codes)
                ways.append(f"{path} in ({codes})")
        chosen.tests.append(ways[0] if len(ways) == 1 else f"({' or '.join(ways)})")
    for date_filter in definition.date_filters:
        path = date_filter.path or date_filter.search_param
        if path is None:
            raise NotComputable("a date filter without a path")
        element = model.element(name, path)
        if element is None:
            raise NotComputable(f"{name} has no element {path!r}")
        date = f"{path}.ofType(dateTime)" if element.choice else path
        if date_filter.start:
            chosen.tests.append(f"{date} >= @{date_filter.start}")
        if date_filter.end:
            chosen.tests.append(f"{date} <= @{date_filter.end}")
        if date_filter.duration is not None:
            moved = calendar_duration(date_filter.duration)
            if moved is not None:
                chosen.tests.append(f"{date} >= now() - {moved[1]} and {date} <= now()")
    return chosen
