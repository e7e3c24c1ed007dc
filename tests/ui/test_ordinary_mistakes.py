"""Ordinary mistakes of ordinary users: each is answered with a status that is not 0 or with a warning, and with what is wrong, where, and what to do.

A case is a command line, the files that it finds in the current folder, the status, and parts of what is said. Files are made from the texts of this
module. `GOOD` runs without a word, so that what is said is about the mistake alone.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import pytest

from fhir_eligibility.ui.commands.cli import main
from fhir_eligibility.ui.options.statuses import Status

Content = str | bytes | dict[str, Any]

PATIENT = {"resourceType": "Patient", "id": "p", "gender": "female", "birthDate": "1960-01-01"}
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
PSA = {"coding": [{"system": LOINC, "code": "2857-1"}]}
OBSERVATION = {
    "resourceType": "Observation",
    "id": "o",
    "status": "final",
    "subject": {"reference": "Patient/p"},
    "code": PSA,
    "valueQuantity": {"value": 4, "unit": "ng/mL", "system": UCUM, "code": "ng/mL"},
    "effectiveDateTime": "2026-01-01",
}
BUNDLE = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": PATIENT}, {"resource": OBSERVATION}]}
LIBRARY = (
    "library L version '1'\nusing FHIR version '4.0.1'\ninclude FHIRHelpers version '4.0.1'\n"
    "valueset \"VS\": 'http://example.org/ValueSet/psa'\nparameter Least Integer default 18\ncontext Patient\n"
    'define "Adult": AgeInYears() >= Least\ndefine "Measured": exists [Observation: "VS"]\n'
)


def characteristic(**content: Any) -> dict[str, Any]:
    return {
        "resourceType": "EvidenceVariable",
        "id": "e",
        "url": "http://example.org/e",
        "title": "T",
        "status": "active",
        "characteristic": [{"linkId": "a", **content}],
    }


def expression(text: str, language: str | None = "text/fhirpath") -> dict[str, Any]:
    found = {"expression": text} if language is None else {"language": language, "expression": text}
    return characteristic(definitionExpression=found)


def measured(kind: dict[str, Any] = PSA, **value: Any) -> dict[str, Any]:
    return characteristic(definitionByTypeAndValue={"type": kind, "valueQuantity": {"value": 3, **value}})


def office(*names: str) -> bytes:
    """An Office file, which is a zip of these."""
    out = io.BytesIO()
    with ZipFile(out, "w") as file:
        for name in ("[Content_Types].xml", *names):
            file.writestr(name, "<x/>")
    return out.getvalue()


GOOD: dict[str, Content] = {"good.json": expression("Patient.gender = 'female'"), "data/p.json": PATIENT, "data/o.json": OBSERVATION, "L.cql": LIBRARY, "bundle.json": BUNDLE}  # fmt: skip
SCREEN = "screen {} --data data --out out"
WITH_UNIT = {"comparator": ">=", "unit": "ng/mL", "system": UCUM, "code": "ng/mL"}
FAILED, NOTHING, ERRORS, DONE = Status.FAILED, Status.NOTHING_SCREENED, Status.CRITERIA_ERRORS, Status.OK


class Case(NamedTuple):
    """A mistake."""

    name: str
    command: str | tuple[str, ...]
    status: Status
    says: tuple[str, ...]
    files: dict[str, Content] = {}


def criteria(name: str, content: Content, status: Status, *says: str, file: str = "mistake.json") -> Case:
    """A mistake in a file of criteria."""
    return Case(name, SCREEN.format(file), status, says, {file: content})


def data(name: str, file: str, content: Content, *says: str) -> Case:
    """A mistake in the data: a folder with one file and without a patient that can be read."""
    return Case(name, "screen good.json --data given --out out", NOTHING, says, {f"given/{file}": content})


CASES = [
    # -- the command line
    Case("no command", "", FAILED, ("usage: eligibility", "to begin:", "screen a cohort")),
    Case("a misspelt command", "sceen good.json", FAILED, ("no command 'sceen'", "did you mean `eligibility screen`?")),
    Case("a misspelt verb", "imaging verfiy out", FAILED, ("'verfiy' is not known", "did you mean verify?")),
    Case("a wrong option", "screen good.json --data data --ouput out", FAILED, ("unknown option --ouput", "did you mean --out?", "`eligibility screen --help`")),
    Case("an option of another command", "screen good.json --data data --out out --group 7", FAILED, ("unknown option --group", "--help")),
    Case("an option without its value", "screen good.json --data data --out", FAILED, ("--out: its value is missing",)),
    Case("a required option left out", "screen good.json --data data", FAILED, ("--out DIR is missing", "usage: eligibility screen CRITERIA --data PATH --out DIR")),
    Case("memory without a unit", f"{SCREEN.format('good.json')} --memory 800", FAILED, ("--memory: 800 bytes? write 800MB",)),
    Case("more memory than there is", f"{SCREEN.format('good.json')} --memory 900TB", FAILED, ("--memory: 900TB is more than this machine has",)),
    Case("no processes", f"{SCREEN.format('good.json')} --jobs 0", FAILED, ("--jobs: 0 processes cannot run; leave the option out",)),
    Case("fewer than no processes", f"{SCREEN.format('good.json')} --jobs -3", FAILED, ("--jobs: -3 processes cannot run",)),
    Case("a date in words", f"{SCREEN.format('good.json')} --now soon", FAILED, ("--now: 'soon' is not a date or time; write 2026-03-01",)),
    Case("a date of another country", f"{SCREEN.format('good.json')} --study-start 01.03.2026", FAILED, ("--study-start: '01.03.2026' is not a date or time; write 2026-03-01",)),
    Case("a misspelt time zone", f"{SCREEN.format('good.json')} --timezone Europe/Berln", FAILED, ("unknown time zone 'Europe/Berln'; did you mean Europe/Berlin?",)),
    Case("an unknown FHIR version", f"{SCREEN.format('good.json')} --fhir r9", FAILED, ("unknown FHIR version 'r9'; known are R4 (4.0.1)",)),
    Case("a threshold that is no share", f"{SCREEN.format('good.json')} --max-undetermined 2.5", FAILED, ("--max-undetermined: expected a count such as 20", "did you mean 2.5%?")),
    Case("a criterion given no number of seconds", f"{SCREEN.format('good.json')} --criterion-seconds ten", FAILED, ("expected a number of seconds, 0 or more, found 'ten'",)),
    Case("an address with a typing error", "screen good.json --data htp://server/fhir --out out", FAILED, ("'htp://server/fhir': addresses begin with https:// or http://; did you mean http://server/fhir?",)),
    Case("an address with one slash", "export https:/server/fhir --out out", FAILED, ("did you mean https://server/fhir?",)),
    Case("a path that is not there", "screen goood.json --data data --out out", FAILED, ("goood.json does not exist; did you mean good.json?",)),
    Case("data that is not there", "screen good.json --data export/today --out out", FAILED, ("export/today does not exist: there is no folder export",)),
    Case("credentials that are not used", f"{SCREEN.format('good.json')} --dicomweb-auth bearer-env=X", FAILED, ("--dicomweb-auth: only with --require-images is an archive asked",)),
    Case("a parameter that no library has", f"{SCREEN.format('good.json')} --parameter X=1", FAILED, ("no library has a parameter 'X'",)),
    Case("a parameter without a value", f"{SCREEN.format('good.json')} --parameter X", FAILED, ("--parameter X: write Name=value, the value in CQL",)),
    Case("resume of nothing", f"{SCREEN.format('good.json')} --resume", DONE, ("--resume: out holds no run that was stopped; a new one begins",)),
    Case("a file of options with a typing error", "screen --config run.toml", FAILED, ("run.toml:5: jbos: `eligibility screen` has no such option; did you mean jobs?",), {"run.toml": '[screen]\ncriteria = "good.json"\ndata = "data"\nout = "out"\njbos = 2\n'}),
    Case("a password in a file of options", "screen --config run.toml", FAILED, ("run.toml:2: password: secrets do not belong into this file", "--dicomweb-auth"), {"run.toml": '[screen]\npassword = "x"\n'}),
    # -- the wrong file
    Case("criteria and data swapped", "screen bundle.json --data good.json --out out", FAILED, ("no criteria in this file (it holds Patient, Observation)", "it holds patients: give it with --data, and the criteria first")),
    Case("a folder of data as criteria", "screen data --data good.json --out out", FAILED, ("no criteria in this folder (it holds Observation, Patient)", "give it with --data, and the criteria first")),
    Case("an empty folder as criteria", "check empty", FAILED, ("no JSON file in this folder", "criteria stand in EvidenceVariable, Group or ResearchStudy"), {"empty/x.txt": ""}),
    criteria("an Excel file as criteria", office("xl/workbook.xml"), FAILED, "mistake.xlsx", "the file is an Excel, Word or zip file", "criteria are FHIR resources in JSON", file="mistake.xlsx"),
    criteria("a Word file as criteria", office("word/document.xml"), FAILED, "the file is an Excel, Word or zip file", "criteria are FHIR resources in JSON", file="mistake.docx"),
    criteria("an old Excel file as criteria", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(64), FAILED, "an Excel or Word file (of an older version)", file="mistake.xls"),
    criteria("a PDF as criteria", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", FAILED, "the file is a PDF file", "criteria are FHIR resources in JSON", file="mistake.pdf"),
    criteria("a table as criteria", "criterion,text\n1,adult\n", FAILED, "the file is a table (CSV)", "a table has to be rewritten", file="mistake.csv"),
    criteria("prose as criteria", "patients above 18\n", FAILED, "the file is not JSON", "criteria are FHIR resources in JSON", file="mistake.txt"),
    criteria("XML as criteria", "<EvidenceVariable xmlns='http://hl7.org/fhir'/>", FAILED, "the file is XML or HTML", "convert it to FHIR JSON", file="mistake.xml"),
    criteria("CQL as criteria", LIBRARY, FAILED, "the file is CQL", "name it .cql, and give it with --libraries", file="mistake.txt"),
    criteria("an empty file as criteria", "", FAILED, "the file is empty"),
    criteria("Latin-1 as criteria", '{"resourceType": "EvidenceVariable",\n "title": "Größe"}'.encode("latin-1"), FAILED, "not text in UTF-8: byte 0xf6 in line 2", "save it as UTF-8"),
    criteria("broken JSON as criteria", '{"resourceType": "EvidenceVariable",\n "id": "t",\n "characteristic": [,]\n}', FAILED, "mistake.json", "not valid JSON", "(line 3, column 21)"),
    criteria("a misspelt resource type", {"resourceType": "EvidenceVarible", "id": "x"}, FAILED, "FHIR has no resource 'EvidenceVarible'", "did you mean EvidenceVariable?"),
    criteria("a measure as criteria", {"resourceType": "Measure", "id": "m", "status": "active"}, FAILED, "no criteria in this file (it holds Measure)", "`eligibility measure` evaluates measures"),
    Case("criteria as a measure", "measure good.json --data data --out out", FAILED, ("good.json holds neither a Measure nor a library, but EvidenceVariable: `eligibility screen` takes that",)),
    Case("an Excel file as a measure", "measure m.xlsx --data data --out out", FAILED, ("m.xlsx holds neither a Measure nor a library: the file is an Excel, Word or zip file",), {"m.xlsx": office("xl/workbook.xml")}),
    Case("an Excel file as a library", "compile l.xlsx", FAILED, ("l.xlsx: the file is an Excel, Word or zip file; CQL libraries are .cql files",), {"l.xlsx": office("xl/workbook.xml")}),
    Case("a folder without CQL", "compile data", FAILED, ("data holds no CQL: no .cql file and no FHIR Library",)),
    Case("a folder where one library is wanted", "cql Adult --library data", FAILED, ("data is a folder; give the library, a file in it",)),
    Case("FHIRPath on a bundle", "fhirpath Patient.gender bundle.json", FAILED, ("bundle.json is a Bundle: its resources stand under `entry.resource.ofType(Patient).gender`",)),
    Case("FHIRPath on broken JSON", "fhirpath gender broken.json", FAILED, ("broken.json: not valid JSON", "(line 2, column 11)"), {"broken.json": '{"resourceType": "Patient",\n "name": [,]}'}),
    Case("FHIRPath on lines", "fhirpath gender p.ndjson", FAILED, ("p.ndjson holds several resources, one behind the other; give one of them",), {"p.ndjson": f"{json.dumps(PATIENT)}\n{json.dumps(PATIENT)}\n"}),
    Case("a folder that is no run", "imaging manifest data --out m", FAILED, ("data holds no verdicts.ndjson: give the folder that `eligibility screen --out` wrote",)),
    Case("a folder that is no run, shown", "show data", FAILED, ("data holds no verdicts.ndjson: give the folder that `eligibility screen --out` wrote",)),
    # -- in criteria
    criteria("a misspelt element", characteristic(exlude=True, definitionExpression={"language": "text/fhirpath", "expression": "Patient.active"}), ERRORS, "mistake.json:1:", "has no element 'exlude'", "did you mean exclude?"),
    criteria("a misspelt element of a patient", expression("Patient.gendr = 'female'"), ERRORS, "unknown element 'gendr' on Patient (R4)", "did you mean `gender`?"),
    criteria("a misspelt function", expression("Patient.name.exist()"), ERRORS, "unknown function exist()", "did you mean exists()"),
    criteria("an expression that ends too early", expression("Patient.gender = "), ERRORS, "the operator '=' has no right operand"),
    criteria("CQL in text/fhirpath", expression("exists [Observation: code ~ 'x'] O where O.status = 'final'"), ERRORS, "does not compile as text/fhirpath", "it looks like CQL: write the language text/cql-expression"),
    criteria("FHIRPath in text/cql", expression("%context.name.where(use = 'official').exists()", "text/cql"), ERRORS, "does not compile as text/cql", "it looks like FHIRPath: write the language text/fhirpath"),
    criteria("an unknown language", expression("Patient.active", "text/foo"), DONE, "an expression in the language 'text/foo' cannot be computed", "write the language: text/fhirpath, or text/cql-expression"),
    criteria("no language", expression("Patient.active", None), DONE, "an expression in no language cannot be computed", "write the language: text/fhirpath"),
    criteria("a unit in capitals", expression("Observation.value.ofType(Quantity) > 3 'NG/ML'"), DONE, "'NG/ML' is not a UCUM unit", "did you mean 'ng/mL'?"),
    criteria("no unit", measured(comparator=">="), DONE, "the value 3 has no unit", "add the UCUM code of the unit"),
    criteria("no comparator", measured(unit="ng/mL", system=UCUM, code="ng/mL"), DONE, "the value 3 has no comparator: only a value that is equal to it counts", "add a comparator"),
    criteria("a misspelt code system", measured({"coding": [{"system": "http://loinc.og", "code": "2857-1"}]}, **WITH_UNIT), DONE, "no known code system has the address 'http://loinc.og'", "did you mean http://loinc.org?"),
    criteria("a misspelt code", measured({"coding": [{"system": LOINC, "code": "2857-2"}]}, **WITH_UNIT), DONE, "expected a code of LOINC, found LOINC 2857-2", "correct the code"),
    criteria("a value set that no library declares", expression('exists [Observation: "VS"]', "text/cql-expression"), ERRORS, "there is nothing called 'VS' here", "name the library that has them (Expression.reference)"),
    Case("a library that is not given", SCREEN.format("mistake.json"), ERRORS, ("no library is named, and none of those given defines 'Adult'", "give the folder with the CQL library"), {"mistake.json": expression("Adult", "text/cql-identifier")}),
    Case("a misspelt define", f"{SCREEN.format('mistake.json')} --libraries L.cql", ERRORS, ("none of those given defines 'Adlt'", "did you mean 'Adult'?"), {"mistake.json": expression("Adlt", "text/cql-identifier")}),
    Case("a value set that is not given", f"{SCREEN.format('mistake.json')} --libraries L.cql", ERRORS, ("the value set 'VS' (http://example.org/ValueSet/psa) was not given", "--valuesets"), {"mistake.json": expression("Measured", "text/cql-identifier")}),
    Case("an R5 library on R4 data", f"{SCREEN.format('mistake.json')} --libraries R5.cql", ERRORS, ("FHIR 5.0.0", "--force-fhir"), {"mistake.json": expression("A", "text/cql-identifier"), "R5.cql": "library R5 version '1'\nusing FHIR version '5.0.0'\ncontext Patient\ndefine \"A\": Patient.gender = 'female'\n"}),
    # -- in CQL
    Case("CQL that ends too early", ("cql", "1 +"), FAILED, ("expression:1:4", "expected an expression but found the end of the text")),
    Case("CQL about a patient without data", ("cql", "exists [Observation]"), FAILED, ("there is none: give the record of one patient with --data",)),
    Case("a misspelt type", ("cql", "exists [Observatin]"), FAILED, ("there is no type 'Observatin'", "did you mean 'Observation'?")),
    Case("a parameter of another type", "cql Adult --library L.cql --data data --parameter Least='x'", FAILED, ("the parameter 'Least' of L must be Integer",)),
    Case("a patient who is not in the data", "cql Adult --library L.cql --data data --patient q", FAILED, ("0 patients of the data are q; it holds Patient/p",)),
    # -- in the data
    Case("an empty folder", "screen good.json --data nothing --out out", NOTHING, ("nothing: no file in this folder", "nothing was screened"), {"nothing/": ""}),
    data("a table as data", "p.csv", "id,gender\n1,female\n", "a table (CSV): p.csv", "have the data exported as FHIR"),
    data("XML as data", "p.xml", "<Patient xmlns='http://hl7.org/fhir'><id value='p'/></Patient>", "p.xml", "nothing was screened"),
    data("UTF-16 as data", "p.json", json.dumps(PATIENT).encode("utf-16"), "this is text in UTF-16", "convert it (iconv -f UTF-16 -t UTF-8)"),
    data("Latin-1 as data", "p.json", '{"resourceType": "Patient", "id": "p", "name": [{"family": "Müller"}]}'.encode("latin-1"), "Patient/p", "is not UTF-8 (0xFC)", "convert the file"),
    data("a file of 0 bytes", "p.json", b"", "given/p.json", "nothing was screened"),
    data("broken JSON as data", "p.json", '{"resourceType": "Patient",\n "id": "p",\n "name": [,]}', "given/p.json Patient/p: not valid JSON", "(line 3, column 11)"),
    data("a packed table", "p.zip", office("p.csv"), "p.zip", "nothing was screened"),
]  # fmt: skip


def made(folder: Path, files: dict[str, Content]) -> None:
    for name, content in files.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")


def test_there_are_at_least_forty_kinds() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


def test_what_is_right_is_screened_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    assert main([*SCREEN.format("good.json").split(), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_mistake_is_answered_with_what_to_do(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made(tmp_path, {**GOOD, **case.files})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FHIR_ELIGIBILITY_CACHE", "off")
    before = set(tmp_path.rglob("*"))
    status = main(case.command.split() if isinstance(case.command, str) else list(case.command))
    shown = capsys.readouterr()
    said = shown.err + shown.out
    assert [part for part in case.says if part not in said] == [], said
    assert status == case.status, said
    assert "Traceback" not in said
    if case.command:
        assert len(said.splitlines()) <= 30, "an answer, not a page"
    if status in (FAILED, NOTHING):
        written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
        assert [path for path in written if not path.name.startswith(".")] == [], "nothing is written"


def test_a_resume_with_other_options_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fhir_eligibility.runners.large.workspace import Workspace
    from fhir_eligibility.runners.screening import run

    made(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "SMALL", 0)

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    words = [*SCREEN.format("good.json").split(), "--now", "2026-06-01"]
    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "put_joint", fail)
        assert main(words) == 2
    assert "the same command with --resume goes on" in capsys.readouterr().err
    assert main([*words[:-1], "2026-07-01", "--absent", "unknown", "--resume"]) == 2
    shown = capsys.readouterr().err
    assert "holds a run with other --absent (default, now unknown) and --now (2026-06-01, now 2026-07-01)" in shown
    assert "give the same again, or run without --resume" in shown
    assert main([*words, "--resume"]) == 0
