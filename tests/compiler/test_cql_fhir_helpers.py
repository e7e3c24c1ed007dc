"""FHIRHelpers: every function that the published library has is here, and a file of that name is not passed over in silence."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.elm.helpers import EXTERNAL, NAMES, PUBLISHED, digest
from fhir_eligibility.compiler.elm_json.writer import elm_text
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.ui.commands.cli import main
from tests.shared import shared

HEAD = (
    "library L\nusing FHIR version '4.0.1'\ninclude FHIRHelpers version '4.0.1' called FHIRHelpers\ncontext Patient\n"
)
PATIENT = {"resourceType": "Patient", "id": "p"}
UCUM = "http://unitsofmeasure.org"


def observation(**value: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": "o", "status": "final", "subject": {"reference": "Patient/p"}, **value}


def quantity(number: float, comparator: str | None = None, code: str = "ng/mL") -> dict[str, Any]:
    found = {"value": number, "code": code, "unit": code, "system": UCUM}
    return {"valueQuantity": found if comparator is None else {**found, "comparator": comparator}}


def value(expression: str, **content: Any) -> str:
    """An expression over the only Observation O, by the text and by its ELM."""
    source = Source("L.cql", f"{HEAD}define X: First([Observation] O return all {expression})\n")
    compiler = Compiler()
    resources = [PATIENT, observation(**content)]
    found = []
    for one in (source, Source("L.json", elm_text(compiler.typed(source)))):
        patient = Patient(Run(dt.datetime(2025, 6, 15, tzinfo=dt.UTC)), PATIENT, resources)
        found.append(str(LoadedLibrary(compiler.compile(one)).evaluate("X", patient)))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("comparator", "interval", "four"),
    [
        (None, "Interval[0.1 'ng/mL', 0.1 'ng/mL']", "True"),
        ("<", "Interval[null, 0.1 'ng/mL')", "True"),
        ("<=", "Interval[null, 0.1 'ng/mL']", "True"),
        (">", "Interval(0.1 'ng/mL', null]", "False"),
        (">=", "Interval[0.1 'ng/mL', null]", "False"),
    ],
)
def test_a_quantity_with_a_comparator_as_an_interval(comparator: str | None, interval: str, four: str) -> None:
    content = quantity(0.1, comparator)
    assert value("FHIRHelpers.ToInterval(O.value as Quantity)", **content) == interval
    assert value("FHIRHelpers.ToInterval(O.value)", **content) == interval
    assert value("end of FHIRHelpers.ToInterval(O.value as Quantity) < 4 'ng/mL'", **content) == four
    assert value("FHIRHelpers.ToQuantityIgnoringComparator(O.value as Quantity)", **content) == "0.1 'ng/mL'"
    whole = "0.1 'ng/mL'" if comparator is None else "None"
    assert value("FHIRHelpers.ToQuantity(O.value as Quantity)", **content) == whole


@pytest.mark.parametrize(
    ("expression", "content", "expected"),
    [
        (
            "FHIRHelpers.ToInterval(O.value)",
            {"valuePeriod": {"start": "2024", "end": "2025"}},
            "Interval[2024T, 2025T]",
        ),
        (
            "FHIRHelpers.ToInterval(O.value)",
            {"valueRange": {"low": quantity(1)["valueQuantity"], "high": quantity(2)["valueQuantity"]}},
            "Interval[1 'ng/mL', 2 'ng/mL']",
        ),
        ("FHIRHelpers.ToInterval(O.value)", {"valueString": "x"}, "None"),
        ("FHIRHelpers.ToInterval(O.value)", {}, "None"),
        ("FHIRHelpers.ToInterval(O.value as Quantity)", {"valueQuantity": {"comparator": "<"}}, "None"),
        ("FHIRHelpers.ToQuantityIgnoringComparator(O.value as Quantity)", quantity(3, ">", "d"), "3 days"),
        ("FHIRHelpers.ToQuantityIgnoringComparator(O.value as Quantity)", {}, "None"),
        ("FHIRHelpers.ToCalendarUnit('mo')", {}, "month"),
        ("FHIRHelpers.ToCalendarUnit('mg')", {}, "mg"),
        ("FHIRHelpers.ToCalendarUnit(O.status.value)", {}, "final"),
        ("FHIRHelpers.ToValueSet('http://vs').id", {}, "http://vs"),
        ("FHIRHelpers.reference('Patient/1').reference.value", {}, "Patient/1"),
        ("FHIRHelpers.ToString(O.status)", {}, "final"),
        ("FHIRHelpers.ToBoolean(O.value as boolean)", {"valueBoolean": False}, "False"),
        ("FHIRHelpers.ToValue(O.value)", {"valueInteger": 3}, "3"),
    ],
)
def test_values(expression: str, content: dict[str, Any], expected: str) -> None:
    assert value(expression, **content) == expected


@pytest.mark.parametrize(
    ("expression", "code", "says"),
    [
        ("FHIRHelpers.resolve('Patient/1')", "external-function", "FHIRHelpers.resolve has no body"),
        ("FHIRHelpers.reference(O)", "external-function", "FHIRHelpers.reference has no body"),
        ("FHIRHelpers.ToCalendarUnit(1)", "no-overload", "FHIRHelpers.ToCalendarUnit cannot take (Integer)"),
        ("FHIRHelpers.ToIntervall(O.value)", "unknown-function", "has no function 'ToIntervall'"),
    ],
)
def test_what_is_refused(expression: str, code: str, says: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        Compiler().compile(Source("L.cql", f"{HEAD}define X: [Observation] O return {expression}\n"))
    (found,) = error.value.diagnostics
    assert found.code == code and says in found.message


def published() -> str:
    """The text of the published library, version 4.4.000."""
    file = "CMS104FHIRSTKDCAntithrombotic/library/Library-FHIRHelpers-4.4.000.json"
    library = json.loads(shared("ecqm", "open", *file.split("/")).read_text("utf-8"))
    (content,) = (c["data"] for c in library["content"] if c["contentType"] == "text/cql")
    return base64.b64decode(content).decode()


def test_every_function_of_the_published_text_is_known_and_the_text_compiles() -> None:
    text = published()
    assert digest(text) in PUBLISHED
    named = set(re.findall(r"define function (\w+)\(", text))
    assert named - NAMES - EXTERNAL == set()
    assert {*NAMES, *EXTERNAL} - named == set()
    compiled = Compiler().compile(Source("FHIRHelpers.cql", text))
    assert [d for d in compiled.diagnostics if d.severity == "error"] == []
    assert {f.name for functions in compiled.symbols.functions.values() for f in functions} == named


def test_the_published_text_does_what_is_built_in() -> None:
    """Under another name its own bodies are evaluated; both ways give the same."""
    other = published().replace("library FHIRHelpers version '4.4.000'", "library Theirs", 1)
    calls = [
        "ToInterval(O.value as Quantity)", "ToQuantityIgnoringComparator(O.value as Quantity)", "ToInterval(O.value as Period)",
        "ToInterval(O.value as Range)", "ToConcept(O.code).display", "ToString(O.status)", "ToCalendarUnit('a')",
    ]  # fmt: skip
    text = HEAD + "include Theirs\n".join(["", ""])
    text = text.replace("context Patient\n", "") + "context Patient\n"
    defines = [
        f"define {who}{i}: First([Observation] O return all {who}.{call})\n"
        for i, call in enumerate(calls)
        for who in ("FHIRHelpers", "Theirs")
    ]
    compiler = Compiler(lambda name, version: Source("Theirs.cql", other) if name == "Theirs" else None)
    loaded = LoadedLibrary(compiler.compile(Source("L.cql", text + "".join(defines))))
    contents = [
        quantity(2),
        quantity(2, "<"),
        quantity(2, ">=", "d"),
        {"valuePeriod": {"end": "2024-01-01"}},
        {"valueRange": {"low": quantity(1)["valueQuantity"]}},
    ]
    for content in contents:
        resources = [PATIENT, observation(code={"text": "t"}, **content)]
        patient = Patient(Run(), PATIENT, resources)
        for index, call in enumerate(calls):
            mine, theirs = (str(loaded.evaluate(f"{who}{index}", patient)) for who in ("FHIRHelpers", "Theirs"))
            assert mine == theirs, (call, content)


OWN = "library FHIRHelpers version '4.0.1'\nusing FHIR version '4.0.1'\ndefine function ToString(value FHIR.code): 'mine'\n"


def test_a_file_of_another_text_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "FHIRHelpers.cql").write_text(OWN)
    (tmp_path / "L.cql").write_text(f"{HEAD}define X: 1\n")
    assert main(["cql", "--library", str(tmp_path / "L.cql"), "X"]) == 0
    assert main(["compile", str(tmp_path / "L.cql")]) == 0
    err = capsys.readouterr().err
    assert "warning[fhir-helpers]" in err and "FHIRHelpers.cql" in err


def test_the_published_file_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "FHIRHelpers.cql").write_text("// a comment\n" + published())
    (tmp_path / "L.cql").write_text(f"{HEAD}define X: 1\n")
    assert main(["compile", str(tmp_path / "L.cql")]) == 0
    assert "fhir-helpers" not in capsys.readouterr().err
