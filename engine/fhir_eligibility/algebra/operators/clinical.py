"""Codes, concepts, ratios, and the conversions to them (CQL reference: "Clinical Operators", "Type Operators")."""

from __future__ import annotations

from typing import Any

from fhir_eligibility.algebra.operators.conversion import read_quantity
from fhir_eligibility.algebra.operators.registry import OperatorTraits, operator
from fhir_eligibility.algebra.values.clinical import Code, Concept, Ratio, ValueSet
from fhir_eligibility.algebra.values.quantity import Quantity, divide


@operator(
    "ToConcept",
    "(Code) Concept",
    "(Concept) Concept",
    cql="ToConcept",
    section="Type: ToConcept",
    language="cql",
    traits=OperatorTraits(same_value=True),
)
def concept_of_code(value: Any) -> Concept:
    return value if value.__class__ is Concept else Concept((value,), value.display)


@operator("ToConcept", "(List<Code>) Concept", language="cql")
def concept_of_codes(values: list[Code | None]) -> Concept:
    return Concept(tuple(values))


@operator(
    "ToRatio",
    "(String) Ratio?",
    cql="ToRatio",
    section="Type: ToRatio",
    language="cql",
    traits=OperatorTraits(same_value=True),
)
def ratio_of_string(text: str) -> Ratio | None:
    left, colon, right = text.partition(":")
    numerator, denominator = read_quantity(left.strip()), read_quantity(right.strip())
    return Ratio(numerator, denominator) if colon and numerator and denominator else None


@operator("ToQuantity", "(Ratio) Quantity?", language="cql")
def quantity_of_ratio(value: Ratio) -> Quantity | None:
    from_ratio = value.numerator, value.denominator
    if from_ratio[0] is None or from_ratio[1] is None:
        return None
    return divide(from_ratio[0], from_ratio[1])


@operator("ToString", "(Ratio) String", language="cql")
def string_of_ratio(value: Ratio) -> str:
    return str(value)


@operator(
    "ConvertQuantity",
    "(Quantity, String) Quantity?",
    cql="ConvertQuantity",
    section="Type: ConvertQuantity",
    language="cql",
)
def convert_quantity(value: Quantity, unit: str) -> Quantity | None:
    return value.to_unit(unit)


@operator(
    "CanConvertQuantity",
    "(Quantity, String) Boolean",
    cql="CanConvertQuantity",
    section="Type: CanConvertQuantity",
    language="cql",
)
def can_convert_quantity(value: Quantity, unit: str) -> bool:
    return value.to_unit(unit) is not None


# -- terminology: answered by the environment, which holds it


@operator(
    "InValueSet",
    "(Code, ValueSet) Boolean?",
    "(Concept, ValueSet) Boolean?",
    "(String, ValueSet) Boolean?",
    cql="in",
    section="Clinical: In (Valueset)",
    nulls="handled",
    language="cql",
    context=True,
    traits=OperatorTraits(reports=True, clock=False, tells_codes=True),
)
def in_value_set(environment: Any, code: Any, value_set: ValueSet | None) -> bool | None:
    if code is None:
        return False
    return None if value_set is None else environment.in_value_set(code, value_set)


@operator(
    "AnyInValueSet",
    "(List<Code>, ValueSet) Boolean?",
    "(List<Concept>, ValueSet) Boolean?",
    "(List<String>, ValueSet) Boolean?",
    section="Clinical: In (Valueset)",
    nulls="handled",
    language="cql",
    context=True,
    traits=OperatorTraits(reports=True, clock=False, tells_codes=True),
)
def any_in_value_set(environment: Any, codes: list[Any] | None, value_set: ValueSet | None) -> bool | None:
    if value_set is None:
        return None
    answers = [environment.in_value_set(code, value_set) for code in codes or () if code is not None]
    return True if True in answers else None if None in answers else False


@operator(
    "InCodeSystem",
    "(Code, CodeSystem) Boolean?",
    "(Concept, CodeSystem) Boolean?",
    "(String, CodeSystem) Boolean?",
    section="Clinical: In (Codesystem)",
    nulls="handled",
    language="cql",
    context=True,
    traits=OperatorTraits(reports=True, clock=False, tells_codes=True),
)
def in_code_system(environment: Any, code: Any, code_system: Any) -> bool | None:
    if code is None:
        return False
    return None if code_system is None else environment.in_code_system(code, code_system)


@operator(
    "AnyInCodeSystem",
    "(List<Code>, CodeSystem) Boolean?",
    "(List<Concept>, CodeSystem) Boolean?",
    "(List<String>, CodeSystem) Boolean?",
    section="Clinical: In (Codesystem)",
    nulls="handled",
    language="cql",
    context=True,
    traits=OperatorTraits(reports=True, clock=False, tells_codes=True),
)
def any_in_code_system(environment: Any, codes: list[Any] | None, code_system: Any) -> bool | None:
    if code_system is None:
        return None
    answers = [environment.in_code_system(code, code_system) for code in codes or () if code is not None]
    return True if True in answers else None if None in answers else False


@operator(
    "ExpandValueSet",
    "(ValueSet) List<Code>",
    cql="ExpandValueSet",
    language="cql",
    context=True,
    traits=OperatorTraits(clock=False),
)
def expand_value_set(environment: Any, value_set: ValueSet) -> Any:
    return environment.expand_value_set(value_set)


for _name in ("Subsumes", "SubsumedBy"):

    def _subsumption(environment: Any, a: Any, b: Any, name: str = _name) -> Any:
        return environment.subsumes(a, b) if name == "Subsumes" else environment.subsumes(b, a)

    operator(
        _name,
        "(Code, Code) Boolean?",
        "(Concept, Concept) Boolean?",
        cql=_name,
        section=f"Clinical: {_name}",
        language="cql",
        context=True,
        traits=OperatorTraits(reports=True, clock=False),
    )(_subsumption)
