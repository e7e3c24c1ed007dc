"""The example cohort in a real FHIR server: exported and screened by search, it gets the verdicts that its files
get.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from fhir_eligibility.data.server.client import Server
from fhir_eligibility.data.server.smart import BackendServices
from fhir_eligibility.ui.commands.cli import main
from tests.data.test_smart import EC, RSA, jwk, pem
from tests.servers.sekmet import COHORT, ROOT, changed, load_cohort, running_sekmet

CRITERIA = ROOT / "criteria" / "flute"
FORMS = {
    "fhirpath": [str(CRITERIA / "mr"), str(CRITERIA / "any-modality")],
    "cql": [str(CRITERIA / "cql" / "mr"), "--libraries", str(CRITERIA / "cql")],
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sekmet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_sekmet(tmp_path_factory.mktemp("sekmet")) as base:
        assert load_cohort(base) == 47
        yield base


def verdicts(data: str, out: Path, form: str, *options: str) -> list[Any]:
    """The verdicts of the command line, without the names of files."""
    arguments = ["screen", *FORMS[form], "--data", data, "--out", str(out), "--now", "2026-06-01", "--quiet", *options]
    assert main(arguments) == 0
    assert (out / "problems.ndjson").read_text() == ""

    def without_files(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_files(item) for name, item in value.items() if name != "file"}
        return [without_files(item) for item in value] if isinstance(value, list) else value

    lines = [without_files(json.loads(line)) for line in (out / "verdicts.ndjson").read_text().splitlines()]
    return sorted(lines, key=lambda verdict: (verdict["artifact"], verdict["patient"]))


@pytest.mark.parametrize("form", FORMS)
def test_an_export_gets_the_verdicts_of_the_files(sekmet: str, tmp_path: Path, form: str) -> None:
    out = str(tmp_path / "export")
    assert main(["export", sekmet, "--out", out, "--quiet"]) == 0
    expected = verdicts(str(COHORT), tmp_path / "a", form)
    assert verdicts(out, tmp_path / "b", form) == expected and len(expected) >= 12
    listed = json.loads((tmp_path / "export" / "manifest.json").read_text())["output"]
    assert {item["type"]: item["count"] for item in listed} == {
        "Endpoint": 1,
        "ImagingStudy": 12,
        "Observation": 11,
        "Patient": 12,
        "Procedure": 11,
    }


@pytest.mark.parametrize("form", FORMS)
def test_the_server_itself_gets_the_verdicts_of_the_files(sekmet: str, tmp_path: Path, form: str) -> None:
    assert verdicts(sekmet, tmp_path / "b", form) == verdicts(str(COHORT), tmp_path / "a", form)
    record = json.loads((tmp_path / "b" / "run.json").read_text())
    assert record["data"] == [{"path": sekmet, "bytes": None, "sha256": None}] and record["patients"] == 12


def test_some_patients_of_the_server(sekmet: str, tmp_path: Path) -> None:
    chosen = verdicts(f"{sekmet}/Patient?_id=example-03,example-08", tmp_path / "a", "fhirpath")
    assert {verdict["patient"] for verdict in chosen} == {"Patient/example-03", "Patient/example-08"}


def test_only_what_criteria_read_is_exported(sekmet: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This server wants all filters of a type at once, where the specification wants any: resources are lost, and
    that is told.
    """
    narrowed = ["export", sekmet, "--criteria", *FORMS["cql"], "--quiet", "--out"]
    assert main([*narrowed, str(tmp_path / "a")]) == 1
    assert "Procedure: the export holds 0 by _typeFilter, but the server's search finds 11" in capsys.readouterr().err
    assert main([*narrowed, str(tmp_path / "b"), "--no-type-filter"]) == 0
    assert verdicts(str(tmp_path / "b"), tmp_path / "c", "cql") == verdicts(str(COHORT), tmp_path / "d", "cql")
    assert main(["screen", *FORMS["cql"], "--data", str(tmp_path / "a"), "--out", "-"]) == 1


def test_patients_and_groups(sekmet: str, tmp_path: Path) -> None:
    members = [{"entity": {"reference": f"Patient/example-0{n}"}} for n in (1, 2)]
    group = {"resourceType": "Group", "id": "trial", "type": "person", "actual": True, "member": members}
    pool = urllib3.PoolManager()
    changed(pool, "PUT", f"{sekmet}/Group/trial", group)
    try:
        assert main(["export", sekmet, "--out", str(tmp_path / "g"), "--group", "trial", "--quiet"]) == 0
        assert main(["export", sekmet, "--out", str(tmp_path / "p"), "--patients", "--quiet"]) == 0
    finally:
        changed(pool, "DELETE", f"{sekmet}/Group/trial")
    counts = [sum(1 for _ in (tmp_path / where / "Patient.001.ndjson").open()) for where in ("g", "p")]
    assert counts == [2, 12]
    assert main(["export", sekmet, "--out", str(tmp_path / "n"), "--group", "nobody", "--quiet"]) == 2


def test_a_killed_export_goes_on(sekmet: str, tmp_path: Path) -> None:
    """Killed as soon as the server has accepted it: the next run asks for the same export, and no second one is
    started.
    """
    out = tmp_path / "export"
    command = [sys.executable, "-m", "fhir_eligibility.ui.commands.cli", "export", sekmet, "--out", str(out)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (out / ".export-state").exists() and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    status = json.loads((out / ".export-state").read_text())["status_url"]
    assert main(["export", sekmet, "--out", str(out), "--quiet"]) == 0
    assert json.loads((out / ".export-state").read_text())["status_url"] == status
    assert (out / "manifest.json").exists() and not list(out.glob("*.part*"))


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
def test_backend_services(
    tmp_path: Path, algorithm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that asks for credentials; its tokens live two seconds, so that they have to be replaced on the way."""
    key = RSA if algorithm == "RS384" else EC
    (tmp_path / "key.pem").write_bytes(pem(key))
    client = {"client_id": "screening", "jwks": {"keys": [jwk(key.public_key(), "k")]}, "scopes": "system/*.rs"}
    auth = {"types": ["smart", "bearer"], "tokens": ["a-token"], "smart_clients": [client], "token_lifetime": 2}
    with running_sekmet(tmp_path / "server", server_auth=auth) as base:
        assert load_cohort(base, {"Authorization": "Bearer a-token"}) == 47
        spec = f"client-id=screening,key={tmp_path / 'key.pem'}"
        assert main(["export", base, "--out", str(tmp_path / "out"), "--auth", spec, "--quiet"]) == 0
        written = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
        assert "eyJ" not in written and "a-token" not in written
        expected = verdicts(str(COHORT), tmp_path / "a", "fhirpath")
        assert verdicts(str(tmp_path / "out"), tmp_path / "b", "fhirpath") == expected
        assert verdicts(base, tmp_path / "c", "fhirpath", "--data-auth", spec) == expected
        monkeypatch.setenv("FHIR_TOKEN", "a-token")
        assert verdicts(base, tmp_path / "d", "fhirpath", "--data-auth", "bearer-env=FHIR_TOKEN") == expected
        assert "a-token" not in (tmp_path / "d" / "run.json").read_text()
        capsys.readouterr()
        assert main(["export", base, "--out", str(tmp_path / "no"), "--quiet"]) == 2
        assert "401 Unauthorized (give credentials" in capsys.readouterr().err
        with Server(base, credentials=BackendServices("stranger", tmp_path / "key.pem")) as server:
            with pytest.raises(OSError, match="invalid_client: Unknown client_id"):
                server.json("GET", server.url("Patient"))
