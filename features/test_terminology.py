"""The steps of terminology.feature: screening on the command line, with value sets as they are given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pytest_bdd import given, parsers, scenarios, then, when

from fhir_eligibility.ui.commands.cli import main
from tests.compiler.test_terminology_in_rules import LIBRARY, artifact, patient
from tests.data.test_terminology import SYSTEM, concepts, filtered, value_set
from tests.servers.terminology_stub import running_terminology

scenarios("terminology.feature")


@dataclass
class Clinic:
    """The folder of the criteria, the options, and what the last run gave."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    servers: ExitStack
    options: list[str] = field(default_factory=list)
    printed: str = ""

    @property
    def out(self) -> Path:
        return self.folder.parent / "out"

    def save(self, name: str, resource: dict[str, Any]) -> Path:
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(resource))
        return path

    def screen(self, system: str, code: str) -> None:
        entries = [{"resource": r} for r in patient((system, code))]
        bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
        data = self.folder.parent / "patient.json"
        data.write_text(json.dumps(bundle))
        main(["screen", str(self.folder), "--data", str(data), "--out", str(self.out), *self.options])
        self.printed = self.capsys.readouterr().err


@pytest.fixture
def clinic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Clinic]:
    (tmp_path / "criteria").mkdir()
    with ExitStack() as servers:
        yield Clinic(tmp_path / "criteria", capsys, servers)


@given(parsers.parse('the criterion "{title}" asks for a condition in the value set {url}'))
def _(clinic: Clinic, title: str, url: str) -> None:
    (clinic.folder / "Smoking.cql").write_text(LIBRARY.replace("http://example.org/tobacco", url))
    expression = {"language": "text/cql-identifier", "expression": "Smoking.Smokes"}
    artifact(clinic.folder, [{"description": title, "definitionExpression": expression}])


@given(parsers.re(r"version (?P<version>\d) of the value set lists (?P<code>\w)$"))
def _(clinic: Clinic, version: str, code: str) -> None:
    clinic.save(f"tobacco-{version}", value_set("tobacco", version, compose={"include": [concepts(code)]}))


@given(
    parsers.parse(
        "version {version:d} of the value set lists t, and all below smoking in a code system that was not given"
    )
)
def _(clinic: Clinic, version: int) -> None:
    include = [concepts("t"), filtered("descendent-of", "smoking")]
    clinic.save("tobacco", value_set("tobacco", str(version), compose={"include": include}))


@given("the code system is given, with x below smoking")
def _(clinic: Clinic) -> None:
    concept = [{"code": "smoking", "concept": [{"code": "x"}]}, {"code": "y"}, {"code": "t"}]
    clinic.save("cs", {"resourceType": "CodeSystem", "url": SYSTEM, "content": "complete", "concept": concept})


@given(parsers.parse("a manifest that names version {version}"))
def _(clinic: Clinic, version: str) -> None:
    related = [{"type": "depends-on", "resource": f"http://example.org/tobacco|{version}"}]
    kind = {"coding": [{"code": "asset-collection"}]}
    path = clinic.folder.parent / "manifest.json"
    path.write_text(json.dumps({"resourceType": "Library", "type": kind, "relatedArtifact": related}))
    clinic.options += ["--manifest", str(path)]


@given(parsers.parse("a terminology server that knows the value set, with {code}"))
def _(clinic: Clinic, code: str) -> None:
    stub = clinic.servers.enter_context(running_terminology())
    stub.add("http://example.org/tobacco", [code], "5")
    clinic.options += ["--terminology-server", stub.base]


@when(parsers.re(r"a patient with the code (?P<code>\w) is screened"))
def _(clinic: Clinic, code: str) -> None:
    clinic.screen(SYSTEM, code)


@when(parsers.re(r"a patient with the code (?P<code>\w) of another system is screened"))
def _(clinic: Clinic, code: str) -> None:
    clinic.screen("http://example.org/other", code)


@then(parsers.re(r"the patient is (?P<verdict>\w+)(?: because of (?P<reason>\S+))?$"))
def _(clinic: Clinic, verdict: str, reason: str | None) -> None:
    (line,) = (clinic.out / "verdicts.ndjson").read_text().splitlines()
    found = json.loads(line)
    assert (found["verdict"], found["criteria"][0].get("reason")) == (verdict, reason)


@then(parsers.re(r"the criteria have an? (?P<severity>\w+): (?P<text>.*)"))
def _(clinic: Clinic, severity: str, text: str) -> None:
    assert any(f": {severity}[" in line and text in line for line in clinic.printed.splitlines())


@then("the criteria have no findings")
def _(clinic: Clinic) -> None:
    assert [line for line in clinic.printed.splitlines() if "valueset" in line] == []


@then(parsers.parse("the run tells that version {version} of the value set was used"))
def _(clinic: Clinic, version: str) -> None:
    (used,) = json.loads((clinic.out / "run.json").read_text())["value_sets"]
    assert (used["url"], used["version"], used["complete"]) == ("http://example.org/tobacco", version, True)
