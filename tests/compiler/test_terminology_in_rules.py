"""Value sets and code systems as criteria, CQL and FHIRPath see them: what is missing, what is known in part, and who is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fhir_eligibility
from fhir_eligibility.algebra.diagnostic import EvaluationError, Source
from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.criteria.value_sets import required_value_sets
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.data.terminology.files import TerminologyOptions
from fhir_eligibility.data.terminology.value_sets import Terminology
from fhir_eligibility.runners.measures.measuring import load_measure
from fhir_eligibility.runners.screening.criteria import Criteria
from fhir_eligibility.ui.commands.cli import main
from tests.data.test_terminology import BASE, SYSTEM, code_system, concepts, filtered, terminology, value_set
from tests.shared import reported

LIBRARY = """library Smoking version '1'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
valueset "Tobacco": 'http://example.org/tobacco'
context Patient
define "Smokes": exists [Condition: "Tobacco"]
define "Fine": Patient.gender = 'male'
"""
TOBACCO = BASE + "tobacco"
PARTLY = {"include": [concepts("t"), filtered("is-a", "smoking")], "exclude": [concepts("never")]}


def criteria_folder(folder: Path, library: str = LIBRARY, names: tuple[str, ...] = ("Smokes", "Fine")) -> Path:
    (folder / "Smoking.cql").write_text(library)
    expressions = [{"language": "text/cql-identifier", "expression": name} for name in names]
    return artifact(folder, [{"definitionExpression": expression} for expression in expressions])


def artifact(folder: Path, definitions: list[dict[str, Any]]) -> Path:
    characteristics = [{"linkId": str(number), **definition} for number, definition in enumerate(definitions, 1)]
    found = {"resourceType": "EvidenceVariable", "id": "smoking", "status": "draft", "characteristic": characteristics}
    (folder / "EvidenceVariable.json").write_text(json.dumps(found))
    return folder


def fhirpath(folder: Path, expression: str) -> Path:
    return artifact(folder, [{"definitionExpression": {"language": "text/fhirpath", "expression": expression}}])


def save(folder: Path, *resources: dict[str, Any]) -> None:
    for number, resource in enumerate(resources):
        (folder / f"{resource['resourceType']}-{number}.json").write_text(json.dumps(resource))


def patient(*codings: tuple[str | None, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{"resourceType": "Patient", "id": "p", "gender": "male"}]
    for number, (system, code) in enumerate(codings):
        coding = {"code": code} if system is None else {"system": system, "code": code}
        subject = {"reference": "Patient/p"}
        found.append(
            {"resourceType": "Condition", "id": f"c{number}", "code": {"coding": [coding]}, "subject": subject}
        )
    return found


def outcome(criteria: Criteria | Path, *codings: tuple[str | None, str], **options: Any) -> tuple[Any, Any, Any]:
    """Outcome, reason and detail of the first criterion."""
    loaded = criteria if isinstance(criteria, Criteria) else fhir_eligibility.load_criteria(criteria, on_error="keep")
    (compartment,) = fhir_eligibility.compartments_of(patient(*codings))
    (verdict,) = fhir_eligibility.screen(loaded, compartment, **options)
    first = verdict.criteria[0]
    return first.outcome, first.reason, first.detail


# -- missing


def test_a_missing_value_set_is_an_error_that_names_who_needs_it(tmp_path: Path) -> None:
    criteria = fhir_eligibility.load_criteria(criteria_folder(tmp_path), on_error="keep")
    (found,) = criteria.errors
    assert found.code == "missing-valueset"
    assert found.message == "the value set 'Tobacco' (http://example.org/tobacco) was not given"
    assert "Smoking.cql:6:37" in found.render()
    allowed = fhir_eligibility.load_criteria(tmp_path, allow_missing_valuesets=True, on_error="keep")
    assert allowed.errors == ()
    (compartment,) = fhir_eligibility.compartments_of(patient((SYSTEM, "t")))
    (verdict,) = fhir_eligibility.screen(allowed, compartment)
    assert [(c.outcome, c.reason) for c in verdict.criteria] == [("unknown", "missing-valueset"), ("met", None)]


@pytest.mark.parametrize(
    ("code", "system", "wanted", "reason"),
    [
        ("t", SYSTEM, "met", None),
        ("u", SYSTEM, "not met", None),
        ("t", "http://example.org/other", "not met", None),
        ("t", None, "unknown", "missing-value"),
    ],
)
def test_a_value_set_beside_the_library(
    tmp_path: Path, code: str, system: str | None, wanted: str, reason: str | None
) -> None:
    folder = criteria_folder(tmp_path)
    save(folder, value_set("tobacco", compose={"include": [concepts("t")]}))
    assert outcome(folder, (system, code))[:2] == (wanted, reason)


def test_a_version_that_was_asked_for_and_is_not_there(tmp_path: Path) -> None:
    folder = criteria_folder(tmp_path, LIBRARY.replace("/tobacco'", "/tobacco' version '2'"))
    save(folder, value_set("tobacco", "1", compose={"include": [concepts("t")]}))
    (found,) = fhir_eligibility.load_criteria(folder, on_error="keep").errors
    message = f"the value set 'Tobacco' ({TOBACCO}|2) is given in version 1, and 2 is asked for"
    assert (found.code, found.message) == ("missing-valueset", message)


def test_required_value_sets_by_define() -> None:
    compiled = Compiler().compile(Source("Smoking.cql", LIBRARY.replace("/tobacco'", "/tobacco' version '2'")))
    assert required_value_sets(compiled, ["Fine"]) == {}
    ((key, (use,)),) = required_value_sets(compiled, ["Smokes", "Fine"]).items()
    assert key == f"{TOBACCO}|2"
    assert use.source is not None and use.span is not None
    assert use.source.text[use.span.start : use.span.end] == '"Tobacco"'


# -- known in part

FORMS = {
    "retrieve": 'exists [Condition: "Tobacco"]',
    "where": 'exists ([Condition] C where C.code in "Tobacco")',
    "any of a list": 'exists ([Condition] C where C.code.coding in "Tobacco")',
    "with": 'exists ([Condition] C with ["Condition": "Tobacco"] D such that D.id = C.id)',
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("codings", "wanted"),
    [
        ([(SYSTEM, "t")], "met"),
        ([(SYSTEM, "maybe")], "unknown"),
        ([(SYSTEM, "never")], "not met"),
        ([("http://other", "maybe")], "not met"),
        ([(SYSTEM, "maybe"), (SYSTEM, "t")], "met"),
        ([(SYSTEM, "never"), (SYSTEM, "maybe")], "unknown"),
    ],
)
def test_a_row_that_cannot_be_told_is_in_doubt(
    tmp_path: Path, form: str, codings: list[tuple[str, str]], wanted: str
) -> None:
    folder = criteria_folder(tmp_path, LIBRARY.replace('exists [Condition: "Tobacco"]', FORMS[form]))
    save(folder, value_set("tobacco", compose=PARTLY))
    criteria = fhir_eligibility.load_criteria(folder, on_error="keep")
    (warning,) = [d for d in criteria.diagnostics if d.code != "library-guessed"]
    reason = f"it selects from the code system {SYSTEM}, which was not given"
    assert (warning.code, warning.severity) == ("incomplete-valueset", "warning")
    assert warning.message == f"the value set 'Tobacco' ({TOBACCO}) is known only in part: {reason}"
    found, why, detail = outcome(criteria, *codings)
    assert found == wanted
    if wanted == "unknown":
        assert why == "missing-valueset"
        sentence = f"whether {SYSTEM}|maybe is in the value set 'Tobacco' ({TOBACCO}) cannot be told: {reason}"
        assert detail is not None and detail.endswith(sentence)
        assert detail.startswith(f"Condition/c{len(codings) - 1}: ")


def test_the_plain_answer_of_a_row_in_doubt(tmp_path: Path) -> None:
    folder = criteria_folder(tmp_path)
    save(folder, value_set("tobacco", compose=PARTLY))
    assert outcome(folder, (SYSTEM, "maybe"), strict_cql=True)[0] == "not met"


def evaluated(expression: str, source: Any, *codings: tuple[str | None, str], head: str = "") -> Any:
    """An expression of plain CQL for a patient."""
    text = LIBRARY + head + f"define X: {expression}\n"
    resources = patient(*codings)
    environment = Patient(Run(value_sets=source), resources[0], resources)
    return LoadedLibrary(Compiler().compile(Source("X.cql", text))).evaluate("X", environment)


def failing(expression: str, source: Any, *codings: tuple[str | None, str], head: str = "") -> tuple[str, str]:
    with pytest.raises(EvaluationError) as error:
        evaluated(expression, source, *codings, head=head)
    return error.value.code, error.value.message


def test_plain_cql_refuses_to_drop_a_row_of_which_it_cannot_tell() -> None:
    source = terminology(value_set("tobacco", compose=PARTLY))
    assert evaluated('Count([Condition: "Tobacco"])', source, (SYSTEM, "t"), ("http://other", "maybe")) == 1
    code, message = failing('Count([Condition: "Tobacco"])', source, (SYSTEM, "maybe"))
    assert code == "incomplete-valueset"
    assert message.startswith(f"Condition/c0: whether {SYSTEM}|maybe is in the value set 'Tobacco' ({TOBACCO})")
    assert failing('ExpandValueSet("Tobacco")', source)[0] == "incomplete-valueset"


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        (f"Code {{ code: 't', system: '{SYSTEM}' }} in \"Tobacco\"", True),
        (f"Code {{ code: 'maybe', system: '{SYSTEM}' }} in \"Tobacco\"", None),
        (f"Code {{ code: 'never', system: '{SYSTEM}' }} in \"Tobacco\"", False),
        (f"Code {{ code: 't', system: '{SYSTEM}', version: '7', display: 'x' }} in \"Tobacco\"", True),
        ("Code { code: 't', system: 'http://other' } in \"Tobacco\"", False),
        ("(null as Code) in \"Tobacco\"", False),
        (f"Concept {{ codes: {{ Code {{ code: 'maybe', system: '{SYSTEM}' }}, Code {{ code: 'z' }} }} }} in \"Tobacco\"", None),
        (f"Concept {{ codes: {{ Code {{ code: 'maybe', system: '{SYSTEM}' }}, Code {{ code: 't', system: '{SYSTEM}' }} }} }} in \"Tobacco\"", True),
        (f"{{ Code {{ code: 'maybe', system: '{SYSTEM}' }}, Code {{ code: 'z' }} }} in \"Tobacco\"", None),
        (f"{{ Code {{ code: 'maybe', system: '{SYSTEM}' }}, Code {{ code: 't', system: '{SYSTEM}' }} }} in \"Tobacco\"", True),
        ("'t' in \"Tobacco\"", True),
        ("'never' in \"Tobacco\"", False),
        ("'maybe' in \"Tobacco\"", None),
    ],
)  # fmt: skip
def test_membership_in_three_values(expression: str, wanted: bool | None) -> None:
    assert evaluated(expression, terminology(value_set("tobacco", compose=PARTLY))) is wanted


def test_a_text_in_a_value_set_of_several_code_systems() -> None:
    several = terminology(value_set("tobacco", compose={"include": [concepts("t"), concepts("u", system="http://b")]}))
    code, message = failing("'t' in \"Tobacco\"", several)
    assert code == "ambiguous-code"
    assert message == (
        f"the code 't' has no code system, and the value set has several: http://b, {SYSTEM} ('Tobacco' ({TOBACCO}))"
    )


def test_the_reported_case_of_two_versions() -> None:
    case = reported("CQL-VS-VERSION-PIN")
    given = case["input"]
    loaded = LoadedLibrary(Compiler().compile(Source("Q.cql", given["cql"])))

    def value(name: str, *kept: str) -> Any:
        found = Terminology()
        for url, versions in given["valuesets"].items():
            for version in kept:
                resource = {"resourceType": "ValueSet", "url": url, "version": version, "status": "active"}
                found.add({**resource, "expansion": {"contains": versions[version]}}, "case")
        return loaded.evaluate(name, Patient(Run(value_sets=found), {"resourceType": "Patient", "id": "p1"}))

    for order in (("1", "2"), ("2", "1")):
        assert {name: value(name, *order) for name in case["expected"]} == case["expected"]
    with pytest.raises(EvaluationError) as error:  # a version that is not there is an error, not an empty set
        value("T1Old", "2")
    assert error.value.code == "missing-valueset"
    assert error.value.message.endswith("is given in version 2, and 1 is asked for")


def test_versions_of_code_systems_in_a_declaration() -> None:
    systems = "codesystem \"Old\": 'http://example.org/cs' version '2023'\nvalueset \"Pinned\": 'http://example.org/v' codesystems { \"Old\" }\n"
    library = f"library P version '1'\n{systems}define X: ExpandValueSet(\"Pinned\")\n"
    compiled = Compiler().compile(Source("P.cql", library))
    everything = value_set("v", compose={"include": [{"system": SYSTEM}]})
    given = [{**code_system(), "version": "2023"}, {**code_system(), "version": "2024", "concept": [{"code": "new"}]}]
    found = LoadedLibrary(compiled).evaluate("X", Run(value_sets=terminology(everything, *given)))
    assert {code.code for code in found} == {"animal", "mammal", "dog", "cat", "bird", "x", "y"}


# -- subsumption

CODES = f"""codesystem CS: '{SYSTEM}'
code "Animal": 'animal' from CS
code "Dog": 'dog' from CS
code "Fish": 'fish' from CS
"""
HEAD = LIBRARY.replace("context Patient\n", CODES + "context Patient\n")


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ('Subsumes("Animal", "Dog")', True),
        ('SubsumedBy("Animal", "Dog")', False),
        ('SubsumedBy("Dog", "Animal")', True),
        ('Subsumes("Animal", "Fish")', None),
        ('Subsumes(ToConcept("Animal"), ToConcept("Dog"))', True),
        ('Subsumes("Animal", null)', None),
        ('"Dog" in CS', True),
        ('"Fish" in CS', False),
        ("'dog' in CS", True),
        ("{ 'fish', 'dog' } in CS", True),
        ('{ "Fish" } in CS', False),
        ('{ null as Code, "Dog" } in CS', True),
        ("(null as List<Code>) in CS", False),
        ('CS contains "Dog"', True),
    ],
)
def test_subsumption_in_cql(expression: str, wanted: bool | None) -> None:
    loaded = LoadedLibrary(Compiler().compile(Source("S.cql", HEAD + f"define X: {expression}\n")))
    assert loaded.evaluate("X", Patient(Run(value_sets=terminology(code_system())), None)) is wanted


def test_a_code_system_that_was_not_given_is_an_error_in_plain_cql() -> None:
    for expression in ('Subsumes("Animal", "Dog")', '"Dog" in CS'):
        loaded = LoadedLibrary(Compiler().compile(Source("S.cql", HEAD + f"define X: {expression}\n")))
        with pytest.raises(EvaluationError) as error:
            loaded.evaluate("X", Patient(Run(value_sets=Terminology()), None))
        assert (error.value.code, error.value.message) == (
            "missing-codesystem",
            f"the code system {SYSTEM} was not given",
        )


SUBSUMED = 'exists ([Condition] C where Subsumes(ToConcept("Animal"), C.code))'


@pytest.mark.parametrize(
    ("given", "code", "wanted"),
    [(True, "dog", "met"), (True, "x", "not met"), (False, "dog", "unknown"), (False, "animal", "met")],
)
def test_subsumption_in_a_criterion(tmp_path: Path, given: bool, code: str, wanted: str) -> None:
    library = HEAD.replace('exists [Condition: "Tobacco"]', SUBSUMED)
    folder = criteria_folder(tmp_path, library)
    save(folder, *([code_system()] if given else []))
    found, reason, detail = outcome(folder, (SYSTEM, code))
    assert found == wanted
    if wanted == "unknown":
        assert reason == "missing-valueset"
        assert detail.endswith(f"cannot be decided: the code system {SYSTEM} was not given")


def test_a_comparison_of_codes_is_no_question_of_terminology(tmp_path: Path) -> None:
    """A code with a version against one without: unknown, and not for want of a code system."""
    equal = f"exists ([Condition] C where C.code.coding[0] = Code {{ code: 'dog', system: '{SYSTEM}', version: '1' }})"
    asks = 'Subsumes(ToConcept("Animal"), ToConcept("Fish")) is true or '
    library = HEAD.replace('exists [Condition: "Tobacco"]', asks + equal)
    found, reason, _ = outcome(criteria_folder(tmp_path, library), (SYSTEM, "dog"))
    assert (found, reason) == ("unknown", "not-computable")


# -- FHIRPath


@pytest.mark.parametrize(
    ("codings", "wanted"),
    [([(SYSTEM, "t")], "met"), ([(SYSTEM, "maybe")], "unknown"), ([(SYSTEM, "never")], "not met")],
)
def test_member_of_in_a_criterion(tmp_path: Path, codings: list[tuple[str, str]], wanted: str) -> None:
    folder = fhirpath(tmp_path, f"Condition.where(code.memberOf('{TOBACCO}')).exists()")
    save(folder, value_set("tobacco", compose=PARTLY))
    found, reason, detail = outcome(folder, *codings)
    assert found == wanted
    if wanted == "unknown":
        assert reason == "missing-valueset"
        assert detail.startswith(
            f"Condition/c0: `code.memberOf('{TOBACCO}')` cannot be decided: whether {SYSTEM}|maybe"
        )


def test_subsumption_in_a_fhirpath_criterion(tmp_path: Path) -> None:
    folder = fhirpath(tmp_path, f"Condition.where(code.subsumedBy(%factory.Coding('{SYSTEM}', 'animal'))).exists()")
    assert outcome(folder, (SYSTEM, "animal"))[0] == "met"
    found, reason, detail = outcome(folder, (SYSTEM, "dog"))
    assert (found, reason) == ("unknown", "missing-valueset")
    assert detail.endswith(f"cannot be decided: the code system {SYSTEM} was not given")
    save(folder, code_system())
    assert outcome(folder, (SYSTEM, "dog"))[0] == "met"
    assert outcome(folder, (SYSTEM, "x"))[0] == "not met"


def test_a_text_that_fhirpath_cannot_place(tmp_path: Path) -> None:
    folder = fhirpath(tmp_path, f"Condition.where(code.coding.first().code.memberOf('{TOBACCO}')).exists()")
    save(folder, value_set("tobacco", compose={"include": [concepts("t"), concepts("t", system="http://b")]}))
    found, reason, detail = outcome(folder, (SYSTEM, "t"))
    assert (found, reason) == ("unknown", "missing-value")
    assert detail.endswith(f"whether 't' is in the value set {TOBACCO} cannot be told: it has no code system")


def test_a_value_set_that_fhirpath_lacks(tmp_path: Path) -> None:
    folder = fhirpath(tmp_path, f"Condition.where(code.memberOf('{TOBACCO}')).exists()")
    (found,) = fhir_eligibility.load_criteria(folder, on_error="keep").errors
    assert (found.code, found.message) == ("missing-valueset", f"the value set {TOBACCO} was not given")
    allowed = fhir_eligibility.load_criteria(folder, allow_missing_valuesets=True, on_error="keep")
    assert outcome(allowed, (SYSTEM, "t"))[:2] == ("unknown", "missing-valueset")


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [
        ("code.subsumedBy(%animal)", [True]),
        ("code.subsumes(%animal)", [False]),
        ("%animal.subsumes(code)", [True]),
        ("%animal.subsumes(code.coding.first())", [True]),
        ("%other.subsumes(code)", [False]),
        ("%fish.subsumes(code)", []),
        ("code.subsumes(%nothing)", []),
        (f"code.memberOf('{BASE}pets')", [True]),
        (f"code.coding.first().memberOf('{BASE}pets')", [True]),
        (f"code.coding.first().code.memberOf('{BASE}pets')", [True]),
        (f"code.coding.first().code.memberOf('{BASE}several')", []),
        (f"%animal.memberOf('{BASE}pets')", [False]),
    ],
)
def test_terminology_in_fhirpath(expression: str, wanted: list[Any]) -> None:
    pets = value_set("pets", compose={"include": [concepts("dog", "cat")]})
    several = value_set("several", compose={"include": [concepts("dog"), concepts("dog", system="http://b")]})
    variables = {
        "animal": {"system": SYSTEM, "code": "animal"},
        "fish": {"system": SYSTEM, "code": "fish"},
        "other": {"system": "http://other", "code": "animal"},
        "nothing": None,
    }
    compiled = compile_fhirpath(expression, root="Condition", variables=dict.fromkeys(variables, "FHIR.Coding"))
    condition = patient((SYSTEM, "dog"))[1]
    source = terminology(code_system(), pets, several)
    assert [i.value for i in compiled.evaluate(condition, variables=variables, terminology=source)] == wanted


def test_fhirpath_without_terminology() -> None:
    for expression in (f"code.memberOf('{TOBACCO}')", "code.subsumes(code)"):
        with pytest.raises(EvaluationError) as error:
            compile_fhirpath(expression, root="Condition").evaluate(patient((SYSTEM, "t"))[1])
        assert error.value.code == "no-terminology"


def test_the_command_for_fhirpath_takes_value_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, value_set("tobacco", compose={"include": [concepts("t")]}))
    file = tmp_path / "condition.json"
    file.write_text(json.dumps(patient((SYSTEM, "t"))[1]))
    arguments = ["fhirpath", f"code.memberOf('{TOBACCO}')", str(file)]
    assert main([*arguments, "--valuesets", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "true  (System.Boolean)\n"
    assert main(arguments) == 2
    assert "error[no-terminology]" in capsys.readouterr().err


# -- data requirements with a value set


@pytest.mark.parametrize(("code", "wanted"), [("t", "met"), ("u", "not met")])
def test_a_data_requirement_with_a_value_set(tmp_path: Path, code: str, wanted: str) -> None:
    requirement = {"type": "Condition", "codeFilter": [{"path": "code", "valueSet": TOBACCO}]}
    folder = artifact(tmp_path, [{"definitionDataRequirement": requirement}])
    assert [d.code for d in fhir_eligibility.load_criteria(folder, on_error="keep").errors] == ["missing-valueset"]
    save(folder, value_set("tobacco", compose={"include": [concepts("t")]}))
    assert outcome(folder, (SYSTEM, code))[0] == wanted


# -- manifests and options


def manifest(folder: Path, *canonicals: str) -> Path:
    related = [{"type": "depends-on", "resource": canonical} for canonical in canonicals]
    found = {"resourceType": "Library", "type": {"coding": [{"code": "asset-collection"}]}, "relatedArtifact": related}
    path = folder / "manifest.json"
    path.write_text(json.dumps(found))
    return path


def two_versions(folder: Path) -> Path:
    save(
        criteria_folder(folder),
        value_set("tobacco", "1", compose={"include": [concepts("t")]}),
        value_set("tobacco", "2", compose={"include": [concepts("u")]}),
    )
    return folder


def test_a_manifest_chooses_the_version(tmp_path: Path) -> None:
    (tmp_path / "criteria").mkdir()
    folder = two_versions(tmp_path / "criteria")
    latest = fhir_eligibility.load_criteria(folder, on_error="keep")
    (warning,) = [d for d in latest.diagnostics if d.code == "valueset-version"]
    assert warning.message == (
        f"the value set {TOBACCO} is given in several versions (1, 2); 2 is used, the latest active one"
    )
    assert outcome(latest, (SYSTEM, "t"))[0] == "not met"
    options = TerminologyOptions(manifest=manifest(tmp_path, f"{TOBACCO}|1"))
    pinned = fhir_eligibility.load_criteria(folder, terminology_options=options, on_error="keep")
    assert [d for d in pinned.diagnostics if d.code == "valueset-version"] == []
    assert outcome(pinned, (SYSTEM, "t"))[0] == "met"
    measure = load_measure(folder / "Smoking.cql", terminology_options=options)
    assert measure.terminology.get(TOBACCO).has((SYSTEM, "t")) is True


def test_the_commands_take_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "criteria").mkdir()
    folder = two_versions(tmp_path / "criteria")
    path = str(manifest(tmp_path, f"{TOBACCO}|1"))
    data = tmp_path / "data.json"
    entries = [{"resource": r} for r in patient((SYSTEM, "t"))]
    data.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}))
    out = tmp_path / "out"
    arguments = ["--data", str(data), "--manifest", path]
    assert main(["screen", str(folder), *arguments, "--out", str(out), "--quiet"]) == 0
    record = json.loads((out / "run.json").read_text())
    (used,) = record["value_sets"]
    assert (used["url"], used["version"], used["codes"], used["complete"]) == (TOBACCO, "1", 1, True)
    assert len(used["digest"]) == 64 and used["origin"].endswith("ValueSet-0.json")
    assert record["options"]["manifest"] == path
    assert main(["check", str(folder), "--manifest", path]) == 0
    assert main(["measure", str(folder / "Smoking.cql"), *arguments, "--out", "-"]) == 0
    library = ["--library", str(folder / "Smoking.cql"), "--valuesets", str(folder)]
    capsys.readouterr()
    assert main(["cql", '"Smokes"', *library, *arguments]) == 0
    assert capsys.readouterr() == ("true  (Boolean)\n", "")
    assert main(["cql", '"Smokes"', *library, "--data", str(data)]) == 0
    found = capsys.readouterr()
    assert found.out == "false  (Boolean)\n"
    assert "warning[valueset-version]" in found.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--terminology-cache", "x"], "need --terminology-server"),
        (["--refresh-terminology"], "need --terminology-server"),
        (["--terminology-server", "http://127.0.0.1:9", "--refresh-terminology"], "needs --terminology-cache"),
        (["--terminology-server", "tx.example.org"], "is not an address; write https://"),
        (["--terminology-server", "https://me:secret@tx.example.org"], "credentials do not belong into an address"),
        (["--manifest", "gone.json"], "gone.json does not exist"),
        (["--valuesets", "gone"], "gone does not exist"),
    ],
)
def test_options_that_mean_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["check", str(criteria_folder(tmp_path)), *options]) == 2
    found = capsys.readouterr().err
    assert message in found and "secret" not in found
