"""Parameters of CQL criteria: from the command line, a Parameters resource, extensions, and the library, in this order."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.artifacts.parameters import read_parameters, values_in
from fhir_eligibility.runners.screening.criteria import Criteria, load_criteria
from fhir_eligibility.runners.screening.screening import screen
from fhir_eligibility.ui.commands.cli import main

BASE = "http://hl7.org/fhir/StructureDefinition/"
LIBRARY = """library Trial version '1'
using FHIR version '4.0.1'
parameter Lowest Integer default 18
parameter Window Interval<DateTime>
parameter Wanted Code
context Patient
define Adult: AgeInYearsAt(@2026-01-01) >= Lowest
define Recent: exists ([Observation] O where O.effective as dateTime during Window)
define Coded: exists ([Observation: Wanted])
"""
PATIENT = {"resourceType": "Patient", "id": "p", "birthDate": "2000-01-01"}  # 26 years old on 2026-01-01
OBSERVATION = {
    "resourceType": "Observation",
    "id": "o",
    "status": "final",
    "subject": {"reference": "Patient/p"},
    "code": {"coding": [{"system": "http://loinc.org", "code": "2857-1"}]},
    "effectiveDateTime": "2026-03-31T22:30:00Z",
}


def parameters(*entries: dict[str, Any], name: str = "values") -> dict[str, Any]:
    return {"resourceType": "Parameters", "id": name, "parameter": list(entries)}


def inputs(reference: str) -> dict[str, Any]:
    return {"url": f"{BASE}cqf-inputParameters", "valueReference": {"reference": reference}}


def definition(name: str, type_: str, **default: Any) -> dict[str, Any]:
    own = [{"url": f"{BASE}cqf-defaultValue", **default}] if default else []
    value = {"name": name, "use": "in", "type": type_, "extension": own}
    return {"url": f"{BASE}cqf-parameterDefinition", "valueParameterDefinition": value}


class Folder:
    """Criteria and one patient in files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "Trial.cql").write_text(LIBRARY)
        self.data = path / "data"
        self.data.mkdir()
        bundle = {"resourceType": "Bundle", "type": "collection"}
        entries = [{"resource": resource} for resource in (PATIENT, OBSERVATION)]
        (self.data / "p.json").write_text(json.dumps({**bundle, "entry": entries}))

    def criteria(
        self,
        define: str = "Adult",
        artifact: tuple[dict[str, Any], ...] = (),
        characteristic: tuple[dict[str, Any], ...] = (),
        expression: tuple[dict[str, Any], ...] = (),
        contained: tuple[dict[str, Any], ...] = (),
        file: dict[str, Any] | None = None,
    ) -> Criteria:
        source = {"language": "text/cql-identifier", "expression": define, "reference": "Library/Trial"}
        variable = {
            "resourceType": "EvidenceVariable",
            "id": "ev",
            "status": "active",
            "contained": list(contained),
            "extension": list(artifact),
            "characteristic": [
                {
                    "linkId": "c",
                    "extension": list(characteristic),
                    "definitionExpression": {**source, "extension": list(expression)},
                }
            ],
        }
        (self.path / "ev.json").write_text(json.dumps(variable))
        given = () if file is None else read_parameters(self.file(file))
        return load_criteria(
            self.path / "ev.json", libraries=[self.path / "Trial.cql"], parameters=given, on_error="keep"
        )

    def file(self, resource: dict[str, Any]) -> Path:
        path = self.path / "parameters.json"
        path.write_text(json.dumps(resource))
        return path

    def verdict(self, criteria: Criteria, own: dict[tuple[str, str], Any] | None = None) -> str:
        assert criteria.errors == ()
        (verdict,) = screen(criteria, self.data, parameters=own or {}, now="2026-06-01", timezone="Europe/Paris")
        return verdict.criteria[0].outcome


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def lowest(value: int) -> dict[str, Any]:
    return {"name": "Lowest", "valueInteger": value}


def test_the_library_has_a_default(folder: Folder) -> None:
    assert folder.verdict(folder.criteria()) == "met"


@pytest.mark.parametrize("place", ["artifact", "characteristic", "expression"])
def test_input_parameters_in_an_extension(folder: Folder, place: str) -> None:
    given: dict[str, Any] = {place: (inputs("#values"),), "contained": (parameters(lowest(30)),)}
    assert folder.verdict(folder.criteria(**given)) == "not met"


@pytest.mark.parametrize("place", ["artifact", "characteristic", "expression"])
def test_the_default_of_a_parameter_definition(folder: Folder, place: str) -> None:
    given: dict[str, Any] = {place: (definition("Lowest", "integer", valueInteger=30),)}
    assert folder.verdict(folder.criteria(**given)) == "not met"


def test_a_default_in_cql(folder: Folder) -> None:
    text = {"language": "text/cql", "expression": "15 * 2"}
    criteria = folder.criteria(artifact=(definition("Lowest", "integer", valueExpression=text),))
    assert folder.verdict(criteria) == "not met"


def test_the_nearest_extension_counts(folder: Folder) -> None:
    contained = (parameters(lowest(30), name="far"), parameters(lowest(20), name="near"))
    criteria = folder.criteria(artifact=(inputs("#far"),), expression=(inputs("#near"),), contained=contained)
    assert folder.verdict(criteria) == "met"
    criteria = folder.criteria(artifact=(inputs("#near"),), characteristic=(inputs("#far"),), contained=contained)
    assert folder.verdict(criteria) == "not met"


def test_a_value_given_goes_before_the_default_of_a_definition(folder: Folder) -> None:
    both = (definition("Lowest", "integer", valueInteger=30), inputs("#values"))
    assert folder.verdict(folder.criteria(artifact=both, contained=(parameters(lowest(20)),))) == "met"


def test_a_parameters_resource_goes_before_extensions(folder: Folder) -> None:
    extension = (definition("Lowest", "integer", valueInteger=30),)
    assert folder.verdict(folder.criteria(artifact=extension, file=parameters(lowest(20)))) == "met"


def test_the_command_line_goes_before_everything(folder: Folder) -> None:
    extension = (definition("Lowest", "integer", valueInteger=30),)
    criteria = folder.criteria(artifact=extension, file=parameters(lowest(30)))
    assert folder.verdict(criteria, {("", "Lowest"): 20}) == "met"
    assert folder.verdict(criteria, {("Trial", "Lowest"): 20}) == "met"


def test_a_period_holds_its_last_day_in_the_time_zone_of_the_run(folder: Folder) -> None:
    def period(end: str) -> dict[str, Any]:
        return parameters({"name": "Window", "valuePeriod": {"start": "2026-03-01", "end": end}})

    # 22:30 in UTC on 31 March is 00:30 on 1 April in Paris
    assert folder.verdict(folder.criteria("Recent", file=period("2026-03-31"))) == "not met"
    assert folder.verdict(folder.criteria("Recent", file=period("2026-04-01"))) == "met"
    assert folder.verdict(folder.criteria("Recent", file=period("2026-04"))) == "met"
    assert folder.verdict(folder.criteria("Recent", file=period("2026-04-01T00:29:59+02:00"))) == "not met"


def test_a_code(folder: Folder) -> None:
    coding = {"system": "http://loinc.org", "code": "2857-1"}
    assert folder.verdict(folder.criteria("Coded", file=parameters({"name": "Wanted", "valueCoding": coding}))) == "met"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "Lowest", "valueString": "30"}, "valueString cannot give it: write valueInteger or valuePositiveInt"),
        (
            {"name": "Lowest", "valueDecimal": 3.5},
            "valueDecimal cannot give it: write valueInteger or valuePositiveInt",
        ),
        ({"name": "Window", "valueDateTime": "2026"}, "valueDateTime cannot give it: write valuePeriod"),
        (
            {"name": "Wanted", "valueCodeableConcept": {"text": "PSA"}},
            "valueCodeableConcept cannot give it: write valueCoding",
        ),
        ({"name": "Lowest"}, "it is given no value"),
        ({"name": "Lowest", "resource": PATIENT}, "a resource Patient cannot give it"),
    ],
)
def test_a_value_of_another_type_is_an_error(folder: Folder, entry: dict[str, Any], said: str) -> None:
    criteria = folder.criteria(file=parameters(entry))
    (found,) = criteria.errors
    assert found.code == "parameter-type" and said in found.message
    assert f"the parameter {entry['name']!r} of Trial is " in found.message and "parameters.json" in found.message


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": "Window", "valuePeriod": {"start": "soon"}}, "valuePeriod.start: expected dateTime, found 'soon'"),
        ({"name": "Wanted", "valueCodeableConcept": {}}, "valueCodeableConcept is empty"),
        ({"name": "Lowest", "valueInteger": "30"}, "valueInteger: expected integer, found '30'; write 30 without"),
        ({"name": "Lowest", "valueIntger": 30}, "has no element 'valueIntger'; did you mean valueInteger?"),
        ({"nam": "Lowest", "valueInteger": 30}, "has no element 'nam'; did you mean name?"),
    ],
)
def test_parameters_are_read_strictly(folder: Folder, entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=r"parameters.json: Parameters.parameter\[0\]") as raised:
        folder.criteria(file=parameters(entry))
    assert said in str(raised.value)


def test_a_value_given_twice_that_is_no_list(folder: Folder) -> None:
    (found,) = folder.criteria(file=parameters(lowest(1), lowest(2))).errors
    assert "expected one value, found 2: only a list may be given several times" in found.message


def test_a_definition_of_another_type_is_an_error(folder: Folder) -> None:
    (found,) = folder.criteria(artifact=(definition("Window", "date"),)).errors
    assert found.code == "parameter-type"
    assert "the ParameterDefinition says date, but it takes Period" in found.message


def test_a_name_that_no_library_has(folder: Folder) -> None:
    criteria = folder.criteria(file=parameters({"name": "Lowset", "valueInteger": 1}))
    (found,) = criteria.errors
    assert found.code == "unknown-parameter" and found.hint == "they declare 'Lowest', 'Wanted', 'Window'"
    criteria = folder.criteria(artifact=(definition("Lowset", "integer", valueInteger=1),))
    assert [(d.code, d.severity) for d in criteria.diagnostics] == [
        ("library-guessed", "warning"),
        ("unknown-parameter", "warning"),
    ]
    with pytest.raises(ValueError, match="no library has a parameter 'Lowset'; there are Lowest, Wanted, Window"):
        folder.verdict(folder.criteria(), {("", "Lowset"): 1})


def test_input_parameters_that_are_not_there(folder: Folder) -> None:
    criteria = folder.criteria(artifact=(inputs("#values"),))
    found = next(d for d in criteria.diagnostics if d.code != "library-guessed")
    assert (found.code, found.severity) == ("parameters", "warning")
    assert found.message == "cqf-inputParameters of the artifact refers to #values, which is not there"


def test_null_and_the_empty_list() -> None:
    absent = {"extension": [{"url": f"{BASE}data-absent-reason", "valueCode": "unknown"}]}
    empty = {"extension": [{"url": f"{BASE}cqf-isEmptyList", "valueBoolean": True}]}
    from fhir_eligibility.algebra.diagnostic import Source
    from fhir_eligibility.compiler.criteria.library import Compiler
    from fhir_eligibility.compiler.criteria.parameters import bind_parameters

    text = "library L parameter N Integer parameter E List<Integer> parameter M List<Integer> parameter T Tuple { a Integer, b String }"
    resource = parameters(
        {"name": "N", "_valueInteger": absent},
        {"name": "E", "_valueBoolean": empty},
        {"name": "M", "valueInteger": 1},
        {"name": "M", "valueInteger": 2},
        {"name": "T", "part": [{"name": "a", "valueInteger": 3}]},
    )
    problems: list[Any] = []
    bound = bind_parameters(Compiler().compile(Source("L", text)), values_in(resource, "x"), "r4", "", problems)
    assert problems == []
    assert {name: value for (_, name), value in bound.values.items()} == {
        "N": None,
        "E": [],
        "M": [1, 2],
        "T": {"a": 3, "b": None},
    }


def test_a_library_resource_tells_a_default(folder: Folder) -> None:
    own = definition("Lowest", "integer", valueInteger=30)["valueParameterDefinition"]
    resource = {
        "resourceType": "Library",
        "id": "Trial",
        "name": "Trial",
        "parameter": [own],
        "content": [{"contentType": "text/cql", "data": base64.b64encode(LIBRARY.encode()).decode()}],
    }
    folder.criteria()
    (folder.path / "Trial.cql").unlink()
    (folder.path / "library.json").write_text(json.dumps(resource))
    criteria = load_criteria(folder.path / "ev.json", libraries=[folder.path / "library.json"], on_error="keep")
    assert folder.verdict(criteria) == "not met"


def test_run_json_says_what_was_used(folder: Folder) -> None:
    folder.criteria(artifact=(definition("Lowest", "integer", valueInteger=30),))
    file = folder.file(parameters({"name": "Window", "valuePeriod": {"start": "2026-03-01", "end": "2026-03-31"}}))
    arguments = ["screen", str(folder.path / "ev.json"), "--libraries", str(folder.path / "Trial.cql"), "--quiet"]
    arguments += ["--data", str(folder.data), "--out", str(folder.path / "out"), "--parameters", str(file)]
    arguments += ["--parameter", "Wanted=Code { code: '2857-1', system: 'http://loinc.org' }"]
    assert main(arguments) == 0
    record = json.loads((folder.path / "out" / "run.json").read_text())
    assert {used["name"]: (used["library"], used["origin"]) for used in record["parameters"]} == {
        "Lowest": ("Trial", "cqf-parameterDefinition of the artifact"),
        "Window": ("Trial", str(file)),
        "Wanted": ("Trial", "given to the run"),
    }
    shown = {used["name"]: used["value"] for used in record["parameters"]}
    assert shown["Lowest"] == "30"
    assert shown["Window"] == "Interval[@2026-03-01T00:00:00.000, @2026-03-31T23:59:59.999]"


def test_a_file_that_is_no_parameters_resource(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.criteria()
    file = folder.file({"resourceType": "Bundle"})
    arguments = ["screen", str(folder.path / "ev.json"), "--libraries", str(folder.path / "Trial.cql")]
    assert main([*arguments, "--data", str(folder.data), "--out", "-", "--parameters", str(file)]) == 2
    assert f"{file}: expected a Parameters resource, found Bundle" in capsys.readouterr().err


def test_parameters_as_evaluate_takes_them() -> None:
    (found,) = values_in(parameters({"name": "parameters", "resource": parameters(lowest(3))}), "x")
    assert (found.name, found.entries) == ("Lowest", (lowest(3),))


def test_the_cql_command_takes_a_file(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder.file(parameters(lowest(7)))
    arguments = ["cql", "Lowest + 1", "--library", str(folder.path / "Trial.cql"), "--parameters", str(file)]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("8 ")
