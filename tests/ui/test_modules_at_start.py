"""What a screening of files loads: nothing that only archives, servers, or certain criteria need, for that takes as long as a small screening itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.spec.model import ROOT

CRITERIA = {
    "resourceType": "EvidenceVariable",
    "id": "a",
    "url": "https://trials.example/EvidenceVariable/a",
    "status": "active",
    "characteristic": [
        {"definitionExpression": {"language": "text/fhirpath", "expression": "Patient.gender = 'female'"}}
    ],
}
NOT_NEEDED = (
    *("asyncio", "concurrent.futures", "http", "multiprocessing.pool", "sqlite3", "ssl", "tomllib", "unittest"),
    *("urllib.request", "xmlrpc"),
    *(
        "fhir_eligibility.data.archives.client",
        "fhir_eligibility.data.server.client",
        "fhir_eligibility.data.terminology.server",
    ),
    *("fhir_eligibility.runners.imaging.confirming", "fhir_eligibility.ui.options.config_file"),
    *("fhir_eligibility.runners.server.fetching", "fhir_eligibility.runners.measures.measuring"),
)
# What is loaded of others, with what that loads itself: JSON and records, search in bytes, and what is packed.
OF_OTHERS = {
    *("msgspec", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"),
    *("stringzilla", "isal", "zstandard"),
}


def test_a_screening_of_files_loads_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "criteria.json").write_text(json.dumps(CRITERIA), encoding="utf-8")
    patient = {"resourceType": "Patient", "id": "p", "gender": "female"}
    (tmp_path / "Patient.ndjson").write_text(json.dumps(patient) + "\n", encoding="utf-8")
    given = [tmp_path / "criteria.json", "--data", tmp_path / "Patient.ndjson", "--out", tmp_path / "out", "--quiet"]
    program = (
        "import json, sys; before = set(sys.modules); from fhir_eligibility.ui.commands.cli import main; status = main(sys.argv[1:]); "
        "print(json.dumps([status, sorted(set(sys.modules) - before)]))"
    )
    arguments = [sys.executable, "-c", program, "screen", *map(str, given), "--jobs", "1"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120)
    status, loaded = json.loads(done.stdout)
    assert status == 0, done.stderr
    assert [name for name in NOT_NEEDED if name in loaded] == []
    roots = {name.partition(".")[0] for name in loaded if not name.startswith("_")}
    assert roots - sys.stdlib_module_names - {"fhir_eligibility"} == OF_OTHERS
    verdict = json.loads((tmp_path / "out" / "verdicts.ndjson").read_text(encoding="utf-8"))
    assert (verdict["patient"], verdict["verdict"]) == ("Patient/p", "included")
