"""Forms are found in their folder; an element that has none is not computable, and what a form does not mind needs a person."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fhir_eligibility.artifacts.models import VERSIONS, Model
from fhir_eligibility.artifacts.records import Criterion, ElementDefinition
from fhir_eligibility.compiler.criteria import rules
from fhir_eligibility.compiler.criteria.rules import Rule
from fhir_eligibility.compiler.forms import registry
from fhir_eligibility.compiler.forms.base import Form
from fhir_eligibility.compiler.forms.registry import forms
from fhir_eligibility.compiler.forms.timing import Timeline
from tests.artifacts.test_artifacts import evidence_variable, rules_of
from tests.compiler.forms.without_form import definitions, without_form

TRIGGER = {"definitionTriggerDefinition": {"type": "data-added", "data": [{"type": "Encounter"}]}}
LASTING = {"participantEffectiveDuration": {"value": 1, "code": "wk", "system": "http://unitsofmeasure.org"}}


def on_trigger(model: Model, criterion: Criterion, timeline: Timeline) -> Form:
    assert isinstance(criterion.definition, ElementDefinition)
    return Form("trigger", f"{criterion.definition.content['data'][0]['type']}.exists()")


def minding(model: Model, criterion: Criterion, timeline: Timeline) -> Form:
    return Form("trigger", "Encounter.exists()", constrained=True)


def compiled(tmp_path: Path, characteristic: dict[str, Any]) -> Rule:
    (rule,) = rules_of(evidence_variable(characteristic), tmp_path)
    return rule


def given(monkeypatch: pytest.MonkeyPatch, form: Any) -> None:
    monkeypatch.setattr(rules, "forms", lambda: {"definitionTriggerDefinition": form})


def test_an_element_without_a_form_is_not_computable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = {name: form for name, form in forms().items() if name not in TRIGGER}
    monkeypatch.setattr(rules, "forms", lambda: others)
    rule = compiled(tmp_path, TRIGGER)
    assert (rule.form, rule.code, rule.reason) == ("not-computable", None, "not-computable")
    assert rule.detail == "a characteristic with a definitionTriggerDefinition has no truth value here"


def test_a_form_is_given_the_json_of_its_element(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, on_trigger)
    rule = compiled(tmp_path, TRIGGER)
    assert rule.code is not None and rule.reason is None
    assert (rule.form, rule.code.text) == ("trigger", "Encounter.exists()")


def test_a_time_that_a_form_does_not_mind_needs_a_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, on_trigger)
    rule = compiled(tmp_path, {**TRIGGER, **LASTING})
    assert (rule.code, rule.reason) == (None, "needs-review")
    assert rule.detail is not None and rule.detail.startswith(
        "participantEffective on a characteristic of form trigger"
    )


def test_a_time_that_a_form_minds_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, minding)
    rule = compiled(tmp_path, {**TRIGGER, **LASTING})
    assert rule.code is not None and rule.reason is None


def test_the_forms_of_the_package() -> None:
    assert set(forms()) >= {"codeable-concept", "type-and-value", "data-requirement"}


def test_the_elements_without_a_form_are_those_that_are_not_computable() -> None:
    assert {*definitions("r4")} >= {"definitionCodeableConcept", "definitionExpression", "definitionTriggerDefinition"}
    for version in VERSIONS:
        lacking = without_form(version)
        assert set(lacking) <= {*definitions(version)} and not set(lacking) & {*forms()}
    assert ("definitionTriggerDefinition" in without_form("r4")) == ("definitionTriggerDefinition" not in forms())


def test_two_modules_with_one_form_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "iter_modules", lambda _: [SimpleNamespace(name="a"), SimpleNamespace(name="b")])
    monkeypatch.setattr(
        registry, "import_module", lambda name: SimpleNamespace(__name__=name, FORMS={"trigger": on_trigger})
    )
    with pytest.raises(
        ValueError, match=r"^fhir_eligibility.compiler.forms.b has the form 'trigger', which another module has, too$"
    ):
        forms.__wrapped__()
