"""Criteria that a stranger wrote run no code of their own, and mean what they say: the families of attacks, one by one."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.artifacts.models.modelinfo import read_model_info
from fhir_eligibility.compiler.criteria.cache import CachingCompiler
from fhir_eligibility.compiler.criteria.library import Compiler, LoadedLibrary
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.ui.commands.cli import main
from tests.compiler import hostile, wide

SYSTEM = "{urn:hl7-org:elm-types:r1}"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FHIR_ELIGIBILITY_CACHE", "off")


def value(text: str, define: str = "A", traced: bool = False, **libraries: str) -> Any:
    sources = {name: Source(f"{name}.cql", found) for name, found in libraries.items()}
    compiler = Compiler(lambda name, version: sources.get(name), traced=traced)
    loaded = LoadedLibrary(compiler.compile(Source("main.cql", text)))
    return loaded.evaluate(define, Patient(Run(wide.NOW), wide.PATIENT, [wide.PATIENT]))


# -- names of tuple elements


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("payload", hostile.PAYLOADS)
def test_the_element_of_a_tuple_is_its_own_whatever_its_name_is(payload: str, traced: bool) -> None:
    name = hostile.quoted(payload)
    try:
        assert value(f'define A: Tuple {{ "{name}": 7, other: \'x\' }}."{name}"', traced=traced) == 7
    except DiagnosticError as error:
        assert payload == "" and error.diagnostics[0].code.startswith("syntax")
    assert not Path(hostile.SENTINEL).exists()


# -- fields of ELM


def elm(expression: dict[str, Any]) -> str:
    uses = [{"localIdentifier": "System", "uri": "urn:hl7-org:elm-types:r1"}]
    statement = {"name": "A", "context": "Unfiltered", "accessLevel": "Public", "expression": expression}
    return json.dumps(
        {"library": {"identifier": {"id": "L"}, "usings": {"def": uses}, "statements": {"def": [statement]}}}
    )


def integer(number: int) -> dict[str, Any]:
    return {"type": "Literal", "valueType": f"{SYSTEM}Integer", "value": str(number)}


@pytest.mark.parametrize("side", ["lowClosed", "highClosed"])
@pytest.mark.parametrize("closed", [hostile.RUNS, "true", 1, [], {}, [True]])
def test_whether_an_interval_is_closed_is_true_or_false(side: str, closed: Any) -> None:
    text = elm({"type": "Interval", "localId": "9", "low": integer(1), "high": integer(2), side: closed})
    with pytest.raises(DiagnosticError) as caught:
        Compiler().compile(Source("L.json", text))
    (found,) = caught.value.diagnostics
    assert found.code == "elm" and found.message.startswith(f"'{side}' has to be true or false")
    assert "A: Interval  (local id 9)" in found.render()
    assert not Path(hostile.SENTINEL).exists()


def test_closed_bounds_are_as_they_are_written() -> None:
    text = elm({"type": "Interval", "low": integer(1), "high": integer(5), "lowClosed": False, "highClosed": None})
    found = value(text)
    assert (found.low_closed, found.high_closed) == (False, True)


@pytest.mark.parametrize("precision", ["__class__", "year.__class__", hostile.RUNS, "offset_minutes", "", None, "year"])
def test_a_component_is_one_of_the_calendars(precision: Any) -> None:
    text = elm({"type": "DateTimeComponentFrom", "localId": "4", "precision": precision, "operand": {"type": "Now"}})
    with pytest.raises(DiagnosticError) as caught:
        Compiler().compile(Source("L.json", text))
    assert [d.code for d in caught.value.diagnostics] == ["elm"]
    assert "'precision' has to be one of Year, Month" in caught.value.diagnostics[0].message


def test_components_by_their_names() -> None:
    words = {"Year": 2026, "Month": 6, "Day": 1, "Hour": 12, "Minute": 30, "Second": 0, "Millisecond": 0}
    for word, wanted in words.items():
        assert value(elm({"type": "DateTimeComponentFrom", "precision": word, "operand": {"type": "Now"}})) == wanted


def test_the_default_of_a_parameter_is_read_as_strictly() -> None:
    data = json.loads(elm(integer(1)))
    interval = {"type": "Interval", "low": integer(1), "high": integer(2), "lowClosed": hostile.RUNS}
    data["library"]["parameters"] = {"def": [{"name": "P", "accessLevel": "Public", "default": interval}]}
    with pytest.raises(DiagnosticError) as caught:
        Compiler().compile(Source("L.json", json.dumps(data)))
    assert caught.value.diagnostics[0].code == "elm"


@pytest.mark.parametrize("depth", [1500, 5000, 200_000])
def test_elm_that_is_nested_too_deeply_is_refused(depth: int) -> None:
    text = elm({"type": "Null"}).replace(
        '{"type": "Null"}', '{"type":"Not","operand":' * depth + '{"type":"Null"}' + "}" * depth
    )
    with pytest.raises(DiagnosticError) as caught:
        Compiler().compile(Source("L.json", text))
    assert caught.value.diagnostics[0].code == "syntax-depth"


# -- data models


def lab(name: str, written: str, **attributes: str) -> Any:
    more = " ".join(f'{key}="{hostile.escaped(text)}"' for key, text in attributes.items())
    text = f"""<modelInfo {wide.XSI} name="Lab" version="1" url="u" patientClassName="Person">
      <typeInfo xsi:type="ClassInfo" namespace="Lab" name="Person" target="Patient" retrievable="true">
        <element name="{hostile.escaped(name)}" elementType="System.Any" {more}/></typeInfo></modelInfo>"""
    source = Source("main.cql", f"using Lab version '1'\ncontext Person\ndefine A: {written}")
    loaded = LoadedLibrary(Compiler(model_infos=[read_model_info(text)]).compile(source))
    person = {"resourceType": "Patient", "id": "p", "b{0}": "its own", "bt1": "another", name: "its own"}
    return loaded.evaluate("A", Patient(Run(wide.NOW), person, [person]))


@pytest.mark.parametrize(
    "name", ["b{0}", "{", "}", "{0.__class__}", f"{{0[{hostile.RUNS}]}}", f"') or {hostile.RUNS} or ('"]
)
def test_an_element_of_a_model_is_its_own_whatever_its_name_is(name: str) -> None:
    assert lab(name, f'Person."{hostile.quoted(name)}"') == "its own"
    assert lab(name, f'First(({{ Person }}) P return P."{hostile.quoted(name)}")') == "its own"
    assert not Path(hostile.SENTINEL).exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('<typeInfo name="A" baseType="M.B"/><typeInfo name="B" baseType="M.A"/>', "is derived from itself"),
        ('<typeInfo name="A" baseType="M.A"/>', "is derived from itself"),
        ('<typeInfo name="A"><element elementType="System.String"/></typeInfo>', "has no name"),
        (
            '<typeInfo name="A"><element name="e">'
            + '<elementTypeSpecifier xsi:type="ListTypeSpecifier">' * 3000
            + "</elementTypeSpecifier>" * 3000
            + "</element></typeInfo>",
            "nested more than",
        ),
    ],
)  # fmt: skip
def test_a_model_that_contradicts_itself_is_refused(body: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_model_info(f'<modelInfo {wide.XSI} name="M" version="1">{body}</modelInfo>')


@pytest.mark.parametrize(
    "target", ["FHIRHelpers.exit(%value)", "%value.__class__", "System.Nothing:%value", hostile.RUNS, "%parent.x["]
)
def test_a_target_that_is_not_understood_is_a_diagnostic(target: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        lab("e", "Person.e", target=target)
    assert caught.value.diagnostics[0].code == "model-info"
    assert caught.value.diagnostics[0].location == "ModelInfo Lab, element Person.e"


# -- names of libraries

LIBRARIES = {
    "One": "library One\nparameter P default 5\ndefine X: 'from one'\ndefine function F(a Integer): a + 1",
    "Two": "library Two\nparameter P default 6\ndefine X: 'from two'\ndefine function F(a Integer): a + 2",
}
ALIASES = [
    ("Ä", "Ö"), ("lib-a", "lib a"), ("lib.a", "lib_a"), ("a!", "a?"), ("_a", "a"), ("a ", " a"), ("日本", "中国"), ("1a", "_1a"), ("", "_"),
    ("if", "_if"), ("default", "default "), ("define", "function"), ("x" * 70, "x" * 71), ("A_define_X", "A"), ("ev", "once"), ("K0", "SITE0"),
]  # fmt: skip


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(("first", "second"), [pair for pair in ALIASES if "" not in pair])
def test_libraries_whose_names_look_alike_are_told_apart(first: str, second: str, traced: bool) -> None:
    text = f"""library Main
include One called "{first}"
include Two called "{second}"
parameter P default 7
define X: 'own'
define define_X: 'look'
define A: {{ "{first}".X, "{second}".X, X, define_X }}
define B: {{ "{first}".P, "{second}".P, P }}
define C: {{ "{first}".F(10), "{second}".F(10) }}"""
    assert value(text, "A", traced, **LIBRARIES) == ["from one", "from two", "own", "look"]
    assert value(text, "B", traced, **LIBRARIES) == [5, 6, 7]
    assert value(text, "C", traced, **LIBRARIES) == [11, 12]


def test_libraries_whose_name_and_version_look_alike_are_told_apart() -> None:
    sources = {
        ("L|1", None): Source("a.cql", "library \"L|1\"\ndefine X: 'bar'"),
        ("L", "1"): Source("b.cql", "library L version '1'\ndefine X: 'version'"),
    }
    text = "include \"L|1\" called A\ninclude L version '1' called B\ndefine A1: { A.X, B.X }"
    compiler = Compiler(lambda name, version: sources.get((name, version)))
    assert LoadedLibrary(compiler.compile(Source("m", text))).evaluate("A1", Run(wide.NOW)) == ["bar", "version"]


@pytest.mark.parametrize(("first", "second"), [("a b", "a-b"), ("é", "è"), ("x", "x "), ("a_0", "a 0"), ("a_1", "a")])
def test_names_in_one_library_that_look_alike_are_told_apart(first: str, second: str) -> None:
    text = f"""parameter "p {first}" default 3
parameter "p {second}" default 4
define "{first}": 1
define "{second}": 2
define function F("{first}" Integer, "{second}" Integer, third Integer): {{ "{first}", "{second}", third }}
define A: {{ "{first}", "{second}", "p {first}", "p {second}" }} union F(5, 6, 7)
define B: Tuple {{ "{first}": 8, "{second}": 9 }}
define C: {{ B."{first}", B."{second}" }}"""
    assert value(text) == [1, 2, 3, 4, 5, 6, 7]
    assert value(text, "C") == [8, 9]


# -- the way of a user


def artifact(tmp_path: Path, library: str, suffix: str, **files: str) -> list[str]:
    folder = tmp_path / "criteria"
    folder.mkdir()
    (folder / f"L.{suffix}").write_text(library, "utf-8")
    for name, text in files.items():
        (folder / f"{name}.xml").write_text(text, "utf-8")
    definition = wide.variable(wide.expression("text/cql-identifier", "A"))
    (folder / "ev.json").write_text(json.dumps(definition))
    (tmp_path / "patient.json").write_text(json.dumps(wide.PATIENT))
    return [str(folder), "--data", str(tmp_path / "patient.json"), "--out", str(tmp_path / "out")]


CQL_HEAD = "library L version '1'\nusing FHIR version '4.0.1'\ncontext Patient\n"


@pytest.mark.parametrize(
    ("library", "suffix"),
    [
        (CQL_HEAD + f"define A: Tuple {{ \"{hostile.quoted(f'{{0}} or {hostile.RUNS} or ')}\": true }} is not null", "cql"),
        (CQL_HEAD + f"define A: Tuple {{ \"}}\": '{hostile.quoted(hostile.RUNS)}' }}.\"}}\" is not null", "cql"),
        (elm({"type": "Interval", "low": integer(1), "high": integer(2), "lowClosed": hostile.RUNS}), "json"),
        (elm({"type": "DateTimeComponentFrom", "precision": f"year+{hostile.RUNS}", "operand": {"type": "Now"}}), "json"),
    ],
)  # fmt: skip
def test_screening_runs_nothing_of_a_stranger(tmp_path: Path, library: str, suffix: str) -> None:
    if suffix == "json":
        data = {
            "resourceType": "Library",
            "id": "L",
            "name": "L",
            "status": "active",
            "type": {"text": "logic-library"},
        }

        content = base64.b64encode(library.encode()).decode()
        library = json.dumps(data | {"content": [{"contentType": "application/elm+json", "data": content}]})
    options = artifact(tmp_path, library, suffix)
    assert main(["screen", *options]) in (0, 1, 2, 3)
    assert main(["check", options[0]]) in (0, 1, 2, 3)
    assert main(["requirements", options[0]]) in (0, 1, 2, 3)
    assert not list(tmp_path.rglob(hostile.SENTINEL))


def test_a_cached_library_is_looked_at_as_well(tmp_path: Path) -> None:
    compiler = CachingCompiler()
    compiler.folder = tmp_path / "cache"
    source = Source("L.cql", "library L\ndefine A: 1 + 1")
    compiled = compiler.compile(source)
    compiled.code = compile(f"def define_1(ev):\n    return {hostile.RUNS}", "L.cql", "exec")
    compiler.store(compiler.key(source), compiled)
    again = CachingCompiler()
    again.folder = compiler.folder
    with pytest.raises(DiagnosticError) as caught:
        LoadedLibrary(again.compile(source))
    assert caught.value.diagnostics[0].code == "foreign-code"
    assert not Path(hostile.SENTINEL).exists()
