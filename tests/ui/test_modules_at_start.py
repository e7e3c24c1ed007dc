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
    *("argcomplete", "concurrent.futures", "fhir", "http.client", "prompt_toolkit", "pyarrow", "pydicom"),
    *("regex", "rich", "ssl", "urllib.request", "urllib3"),
    *(
        "fhir_eligibility.data.archives.client",
        "fhir_eligibility.data.server.client",
        "fhir_eligibility.data.terminology.server",
    ),
    *("fhir_eligibility.runners.imaging.confirming", "fhir_eligibility.ui.options.config_file"),
)


def test_a_screening_of_files_loads_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "criteria.json").write_text(json.dumps(CRITERIA), encoding="utf-8")
    patient = {"resourceType": "Patient", "id": "p", "gender": "female"}
    (tmp_path / "Patient.ndjson").write_text(json.dumps(patient) + "\n", encoding="utf-8")
    given = [tmp_path / "criteria.json", "--data", tmp_path / "Patient.ndjson", "--out", tmp_path / "out", "--quiet"]
    program = (
        "import sys; from fhir_eligibility.ui.commands.cli import main; status = main(sys.argv[1:]); "
        f"print(status, *(name for name in {NOT_NEEDED!r} if name in sys.modules))"
    )
    arguments = [sys.executable, "-c", program, "screen", *map(str, given), "--jobs", "1"]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["0"], done.stderr
    verdict = json.loads((tmp_path / "out" / "verdicts.ndjson").read_text(encoding="utf-8"))
    assert (verdict["patient"], verdict["verdict"]) == ("Patient/p", "included")
