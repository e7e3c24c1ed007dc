"""Results of a measure with codes in the place of what tells who a patient is. Reports and the summary are made from these."""

from __future__ import annotations

import re
from typing import Any

from fhir_eligibility.artifacts.elements import all_resource_types
from fhir_eligibility.evaluation.measures import GroupResult, MeasureResult
from fhir_eligibility.output.pseudonymous import code_of, date_of, ucum_unit
from fhir_eligibility.output.pseudonyms import Pseudonyms

UNTOLD = "it has no answer; why is left out, as it may name a patient"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]{0,63}")
_CODING = ("system", "version", "code")


class PseudonymousResults:
    """Puts codes into results: texts become codes, so that equal ones stay equal; numbers, dates, truths and codes of code systems stay."""

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self.pseudonyms = pseudonyms

    def __call__(self, result: MeasureResult) -> MeasureResult:
        """A result with codes."""
        return result.model_copy(
            update={
                "patient": self.pseudonyms.patient(result.patient),
                "groups": [self._group(group) for group in result.groups],
                "supplemental": {name: self._supplemental(value) for name, value in result.supplemental.items()},
            }
        )

    def _group(self, group: GroupResult) -> GroupResult:
        populations = [
            one.model_copy(
                update={"episodes": [*map(self._episode, one.episodes)], "unknown": _without_answer(one.unknown)}
            )
            for one in group.populations
        ]
        observations = [
            one.model_copy(update={"values": [*map(self.value, one.values)], "unknown": _without_answer(one.unknown)})
            for one in group.observations
        ]
        strata = [
            one.model_copy(
                update={
                    "value": self.value(one.value),
                    "observations": {name: [*map(self.value, found)] for name, found in one.observations.items()},
                    "unknown": _without_answer(one.unknown),
                }
            )
            for one in group.strata
        ]
        return group.model_copy(update={"populations": populations, "observations": observations, "strata": strata})

    def _episode(self, key: str) -> str:
        """An episode, by type and id or by its content."""
        named = key.partition("/")[0] in all_resource_types()
        return self.pseudonyms.resource(key) if named else self._text(key)

    def _supplemental(self, value: Any) -> Any:
        if isinstance(value, dict) and value.keys() == {"unknown"}:
            return {"unknown": UNTOLD}
        return self.value(value)

    def value(self, value: Any) -> Any:
        """A value as results have it."""
        if isinstance(value, str):
            return value if date_of(value) is not None else self._text(value)
        if isinstance(value, list):
            return [self.value(one) for one in value]
        if not isinstance(value, dict):
            return value
        kind = value.get("resourceType")
        if isinstance(kind, str):
            name = self.pseudonyms.resource(f"{kind}/{value.get('id', '')}")
            return {"resourceType": name.partition("/")[0], "id": name.partition("/")[2]}
        if isinstance(value.get("code"), str) and "value" not in value:
            return self._coding(value)
        if "value" in value and value.keys() <= {"value", "unit", "code", "system", "comparator"}:
            return self._quantity(value)
        return {
            self._name(name): self.value(one) for name, one in value.items() if name not in ("display", "text", "id")
        }

    def _coding(self, coding: dict[str, Any]) -> dict[str, Any]:
        system = coding.get("system")
        if code_of(f"{system}|{coding['code']}" if isinstance(system, str) and system else coding["code"]) is None:
            return {"code": self._text(coding["code"])}
        return {name: coding[name] for name in _CODING if isinstance(coding.get(name), str) and coding[name]}

    def _quantity(self, quantity: dict[str, Any]) -> dict[str, Any]:
        unit = quantity.get("code") or quantity.get("unit")
        out: dict[str, Any] = {"value": quantity["value"] if not isinstance(quantity["value"], str) else None}
        if isinstance(unit, str):
            out["unit"] = unit if ucum_unit(unit) is not None else self._text(unit)
        return out

    def _name(self, name: str) -> str:
        return name if _NAME.fullmatch(name) else self._text(name)

    def _text(self, text: str) -> str:
        return f"text-{self.pseudonyms.code('text', text)}"


def _without_answer(unknown: str | None) -> str | None:
    return None if unknown is None else UNTOLD
