"""Sources of patients: told by what `--data` names, their own options refused elsewhere, and in the help."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.ui.commands.cli import main, parser
from fhir_eligibility.ui.options.command_parser import CommandParser
from fhir_eligibility.ui.sources import base
from fhir_eligibility.ui.sources.base import OpenedSource, source_of, sources

FEMALE = {
    "resourceType": "EvidenceVariable",
    "id": "female",
    "status": "active",
    "characteristic": [
        {"definitionExpression": {"language": "text/fhirpath", "expression": "Patient.gender = 'female'"}}
    ],
}


class ListOfPatients:
    """Patients by name; those whose names end with an a are female."""

    def __init__(self, name: str) -> None:
        self.name = name

    def compartments(self, on_problem: Callable[[Problem], None]) -> Iterator[Compartment]:
        for name in self.name.removeprefix("names:").split(","):
            gender = "female" if name.endswith("a") else "male"
            yield from compartments_of([{"resourceType": "Patient", "id": name, "gender": gender}])


class Names:
    """A source that is made up."""

    name = "names"
    secrets = ("--pin",)
    help = "names of patients (names:anna,boris)"

    def takes(self, text: str) -> bool:
        return text.startswith("names:")

    def add_options(self, command: CommandParser) -> None:
        group = command.add_argument_group("names")
        group.add_argument("--upper", action="store_true", help="in capital letters")
        group.add_argument("--seed", type=int, default=1, help="a number")
        group.add_argument("--mirror", help="an address")
        group.add_argument("--names-password", help="a password")
        group.add_argument("--pin", help="another secret")

    @contextmanager
    def opened(self, options: argparse.Namespace) -> Iterator[OpenedSource]:
        given = [text.upper().replace("NAMES:", "names:") if options.upper else text for text in options.data]
        yield OpenedSource(options.fhir or "r4", lambda criteria: [ListOfPatients(text) for text in given])


@pytest.fixture(autouse=True)
def more(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {**sources(), "names": Names()}
    monkeypatch.setattr(base, "sources", lambda: found)


def screened(tmp_path: Path, *options: str) -> int:
    (tmp_path / "female.json").write_text(json.dumps(FEMALE), "utf-8")
    given = [str(tmp_path / "female.json"), "--out", str(tmp_path / "out"), "--quiet", "--jobs", "1"]
    return main(["screen", *given, *options])


def verdicts(tmp_path: Path) -> dict[str, str]:
    lines = (tmp_path / "out" / "verdicts.ndjson").read_text("utf-8").splitlines()
    return {one["patient"]: one["verdict"] for one in map(json.loads, lines)}


def test_a_source_is_told_by_what_data_names(tmp_path: Path) -> None:
    assert screened(tmp_path, "--data", "names:anna,boris", "names:clara") == 0
    assert verdicts(tmp_path) == {
        "Patient/anna": "included",
        "Patient/boris": "excluded",
        "Patient/clara": "included",
    }
    record = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))
    assert [one["path"] for one in record["data"]] == ["names:anna,boris", "names:clara"]


def test_a_source_has_options_of_its_own(tmp_path: Path) -> None:
    assert screened(tmp_path, "--data", "names:anna", "--upper") == 0
    assert verdicts(tmp_path) == {"Patient/ANNA": "excluded"}


def test_options_of_another_source_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.json").write_text('{"resourceType": "Patient", "id": "p", "gender": "female"}', "utf-8")
    assert screened(tmp_path, "--data", str(tmp_path / "p.json"), "--upper") == 2
    assert "--upper: only for names; --data names files and folders" in capsys.readouterr().err
    assert screened(tmp_path, "--data", "names:anna", "--data-ca", "ca.pem", "--data-allow-http") == 2
    assert "--data-ca, --data-allow-http: only for a FHIR server; --data names names" in capsys.readouterr().err


def test_patients_of_several_sources_are_not_joined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert screened(tmp_path, "--data", "names:anna", "https://fhir.example/r4") == 2
    assert "--data is either names or a FHIR server: patients of several sources are not joined" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("option", ["--resume", "--keep-fingerprints", "--since"])
def test_what_compares_files_is_refused_for_other_sources(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "earlier").mkdir()
    given = [option, str(tmp_path / "earlier")] if option == "--since" else [option]
    assert screened(tmp_path, "--data", "names:anna", *given) == 2
    assert f"{option} goes " in capsys.readouterr().err
    assert not (tmp_path / "out" / "verdicts.ndjson").exists()


def test_other_commands_read_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "female.json").write_text(json.dumps(FEMALE), "utf-8")
    assert main(["check", str(tmp_path / "female.json"), "--data", "names:anna"]) == 2
    assert "names:anna does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://fhir.example/r4", "a FHIR server"),
        ("HTTP://localhost:8080/fhir/Patient?gender=male", "a FHIR server"),
        ("export", "files and folders"),
        ("https.ndjson", "files and folders"),
        ("http:///nowhere", "files and folders"),
        ("names:anna", "names"),
    ],
)
def test_what_data_names(text: str, name: str) -> None:
    assert source_of(text).name == name


def test_the_help_has_each_source(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser("screen").parse_args(["screen", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--data PATH [PATH ...] patients: bundles, NDJSON, folders of them, .gz or .zst; or " in shown
    assert "; or a FHIR server (https://...), for small cohorts" in shown
    assert "; or names of patients (names:anna,boris)" in shown
    assert "--upper in capital letters" in shown


def test_the_options_of_a_source_are_recorded_without_secrets(tmp_path: Path) -> None:
    own = ["--names-password", "hunter2", "--pin", "s3cret", "--mirror", "https://me:t0ps@mirror.example/a?token=hush"]
    assert screened(tmp_path, "--data", "names:anna", "--seed", "7", *own) == 0
    text = (tmp_path / "out" / "run.json").read_text("utf-8")
    options = json.loads(text)["options"]
    found = {name: options[name] for name in ("seed", "upper", "mirror", "names_password", "pin")}
    assert found == {
        "seed": 7,
        "upper": False,
        "mirror": "https://mirror.example/a?...",
        "names_password": True,
        "pin": True,
    }
    assert not [one for one in ("hunter2", "s3cret", "t0ps", "hush") if one in text]
    assert screened(tmp_path, "--data", "names:anna") == 0
    options = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))["options"]
    assert (options["seed"], options["names_password"], options["mirror"]) == (1, False, None)


def test_with_pseudonyms_the_options_of_a_source_are_codes(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n", "utf-8")
    (tmp_path / "key").chmod(0o600)
    coded = ["--pseudonyms", str(tmp_path / "key")]
    assert screened(tmp_path, "--data", "names:anna", "--mirror", "anna", "--seed", "7", *coded) == 0
    text = (tmp_path / "out" / "run.json").read_text("utf-8")
    options = json.loads(text)["options"]
    assert "anna" not in text and options["seed"] not in (7, "7", None) and options["upper"] is False
