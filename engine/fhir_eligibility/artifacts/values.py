"""FHIR data types of definitions (CodeableConcept, Quantity, Expression, ...) from JSON to records."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from fhir_eligibility.artifacts.parameters import extension_values
from fhir_eligibility.artifacts.records import (
    CodedConcept,
    CodeFilter,
    Coding,
    DataRequirementDefinition,
    DateFilter,
    ExpressionSource,
    ParameterValue,
    PeriodValue,
    QuantityValue,
    RangeValue,
    Value,
)

Json = dict[str, Any]
CQF_LIBRARY = "http://hl7.org/fhir/StructureDefinition/cqf-library"

# FHIR extension "codeOptions": a value set that says which codes an element may have.
CODE_OPTIONS = "http://hl7.org/fhir/StructureDefinition/codeOptions"


def coding(data: Any) -> Coding:
    """A Coding."""
    data = data if isinstance(data, dict) else {}
    return Coding(
        **{key: data[key] for key in ("system", "code", "display", "version") if isinstance(data.get(key), str)}
    )


def concept(data: Any) -> CodedConcept:
    """A CodeableConcept."""
    data = data if isinstance(data, dict) else {}
    options = next((item for item in _extensions(data) if item.get("url") == CODE_OPTIONS), {})
    value_set = options.get("valueCanonical") or options.get("valueUri")
    return CodedConcept(
        codings=tuple(coding(item) for item in data.get("coding") or ()),
        text=data.get("text"),
        value_set=value_set if isinstance(value_set, str) else None,
    )


def _extensions(data: Json) -> list[Json]:
    """The extensions of an object."""
    found = data.get("extension")
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def quantity(data: Any) -> QuantityValue:
    """A Quantity, Duration or Age."""
    data = data if isinstance(data, dict) else {}
    value: Decimal | None = None
    if data.get("value") is not None:
        try:
            value = Decimal(str(data["value"]))
        except InvalidOperation:
            value = None
    return QuantityValue(
        value=value,
        comparator=data.get("comparator"),
        unit=data.get("unit"),
        system=data.get("system"),
        code=data.get("code"),
    )


def range_of(data: Any) -> RangeValue:
    """A Range. A unit that stands on one of its limits is that of both (FHIR: "low and high have the same unit")."""
    data = data if isinstance(data, dict) else {}
    low = quantity(data["low"]) if "low" in data else None
    high = quantity(data["high"]) if "high" in data else None
    if low is not None and high is not None:
        low, high = _with_unit_of(low, high), _with_unit_of(high, low)
    return RangeValue(low=low, high=high)


def _with_unit_of(limit: QuantityValue, other: QuantityValue) -> QuantityValue:
    if limit.unit or limit.code or not (other.unit or other.code):
        return limit
    return limit.changed(unit=other.unit, code=other.code, system=other.system or limit.system)


def period(data: Json) -> PeriodValue:
    """A Period."""
    return PeriodValue(start=data.get("start"), end=data.get("end"))


def reference(data: Any) -> str | None:
    """The text of a Reference; a logical one as `system|value`."""
    if not isinstance(data, dict):
        return None
    if data.get("reference"):
        return str(data["reference"])
    identifier = data.get("identifier") or {}
    if identifier.get("value"):
        return f"{identifier.get('system', '')}|{identifier['value']}"
    return data.get("display")


def libraries_of(data: Json) -> tuple[str, ...]:
    """Libraries named by the cqf-library extension."""
    return tuple(
        str(e.get("valueCanonical") or e.get("valueUri"))
        for e in data.get("extension") or ()
        if e.get("url") == CQF_LIBRARY and (e.get("valueCanonical") or e.get("valueUri"))
    )


def _nothing(reference: str) -> Json | None:
    return None


def _silent(code: str, message: str) -> None:
    return None


class Surroundings(Struct, frozen=True):
    """What extensions say for the expressions below them, the nearest first: libraries, and values for parameters.

    `find` gives the resource that a reference of the artifact means, `warn` takes a code and a message.
    """

    libraries: tuple[str, ...] = ()
    parameters: tuple[ParameterValue, ...] = ()
    find: Callable[[str], Json | None] = _nothing
    warn: Callable[[str, str], None] = _silent

    def within(self, data: Json, place: str) -> Surroundings:
        """The surroundings inside an element (`place` names it in messages)."""
        if not data.get("extension"):
            return self
        parameters = extension_values(data, place, self.find, self.warn)
        return replace(self, libraries=libraries_of(data) + self.libraries, parameters=parameters + self.parameters)


NOWHERE = Surroundings()


def expression(data: Any, around: Surroundings = NOWHERE) -> ExpressionSource:
    """An Expression."""
    data = data if isinstance(data, dict) else {}
    around = around.within(data, "the expression")
    return ExpressionSource(
        language=data.get("language"),
        text=data.get("expression"),
        name=data.get("name"),
        reference=data.get("reference"),
        libraries=around.libraries,
        parameters=around.parameters,
        description=data.get("description"),
    )


def value_of(data: Json, prefix: str = "value", around: Surroundings = NOWHERE) -> Value | None:
    """The choice element that starts with `prefix`."""
    for key, content in data.items():
        if not key.startswith(prefix) or content is None or not key[len(prefix) :][:1].isupper():
            continue
        kind = key[len(prefix) :]
        if kind == "CodeableConcept":
            return Value(kind="concept", concept=concept(content))
        if kind == "Coding":
            return Value(kind="concept", concept=CodedConcept(codings=(coding(content),)))
        if kind == "Boolean":
            return Value(kind="boolean", boolean=bool(content))
        if kind in ("Quantity", "Duration", "Age", "SimpleQuantity"):
            return Value(kind="quantity", quantity=quantity(content))
        if kind in ("Integer", "Decimal", "PositiveInt", "UnsignedInt"):
            return Value(kind="quantity", quantity=QuantityValue(value=Decimal(str(content))))
        if kind == "Range":
            return Value(kind="range", range=range_of(content))
        if kind == "Reference":
            return Value(kind="reference", reference=reference(content))
        if kind == "Expression":
            return Value(kind="expression", expression=expression(content, around))
        if kind in ("Uri", "Url", "Canonical"):
            return Value(kind="uri", uri=str(content))
        if kind in ("Id", "String"):
            return Value(kind="id", id=str(content))
        if kind in ("DateTime", "Date"):
            return Value(kind="date", date=str(content))
        if kind == "Period":
            return Value(kind="period", period=period(content))
        return Value(kind="other")
    if any(key.startswith(f"_{prefix}") and key[len(prefix) + 1 :][:1].isupper() for key in data):
        return Value(kind="other")  # only extensions, such as data-absent-reason: there is a value, and nobody knows it
    return None


def data_requirement(data: Json) -> DataRequirementDefinition:
    """A DataRequirement."""
    codes = []
    for item in data.get("codeFilter") or ():
        codes.append(
            CodeFilter(
                path=item.get("path"),
                search_param=item.get("searchParam"),
                value_set=item.get("valueSet"),
                codes=tuple(coding(code) for code in item.get("code") or ()),
            )
        )
    dates = []
    for item in data.get("dateFilter") or ():
        when = item.get("valuePeriod") or {}
        moment = item.get("valueDateTime")
        dates.append(
            DateFilter(
                path=item.get("path"),
                search_param=item.get("searchParam"),
                start=when.get("start") or moment,
                end=when.get("end") or moment,
                duration=quantity(item["valueDuration"]) if "valueDuration" in item else None,
            )
        )
    return DataRequirementDefinition(
        type=str(data.get("type", "")),
        restrictions=_restrictions(data),
        code_filters=tuple(codes),
        date_filters=tuple(dates),
    )


def _restrictions(data: Json) -> tuple[str, ...]:
    """What else a DataRequirement asks for than codes and dates, in words: a profile, a subject that is no patient, filters on values."""
    own = f"http://hl7.org/fhir/StructureDefinition/{data.get('type')}"
    found = [f"the profile {one}" for one in data.get("profile") or () if str(one).partition("|")[0] != own]
    subject = data.get("subjectCodeableConcept")
    if isinstance(subject, dict) and "Patient" not in [one.code for one in concept(subject).codings]:
        found.append("another subject than the patient")
    if "subjectReference" in data:
        found.append("a subject of its own")
    if data.get("valueFilter"):
        found.append("a filter on values")
    return tuple(found)
