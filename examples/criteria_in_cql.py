"""Criteria that are defines of a CQL library, and what is wrong with a library that does not compile.

Shows `libraries=`, the resources behind each criterion (`evidence`), and that `load_criteria` raises with all that is wrong, with line and column.

    python examples/criteria_in_cql.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import fhir_eligibility

FAULTY = """\
library Faulty version '1.0.0'
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1'
context Patient
define Adult: AgeInYear() >= 18
"""


def main() -> None:
    criteria = fhir_eligibility.load_criteria("criteria/flute/cql/mr", libraries="criteria/flute/cql")
    verdict = next(fhir_eligibility.screen(criteria, "criteria/flute/cohort/example-01.json", now="2026-06-01"))
    print(verdict.patient, verdict.verdict)
    for criterion in verdict.criteria:
        for found in criterion.evidence:
            value = f"{found.value or ''} {found.unit or ''}".strip()
            print(f"  {criterion.id}: {found.role} {found.resource} {found.date or ''} {value}".rstrip())

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "Faulty.cql").write_text(FAULTY, "utf-8")
        characteristic = {"definitionExpression": {"language": "text/cql-identifier", "expression": "Adult"}}
        trial = {
            "resourceType": "EvidenceVariable",
            "id": "faulty",
            "status": "draft",
            "characteristic": [characteristic],
        }
        (Path(folder) / "trial.json").write_text(json.dumps(trial), "utf-8")
        try:
            fhir_eligibility.load_criteria(folder)
        except fhir_eligibility.DiagnosticError as error:
            for one in error.diagnostics:
                line, column = one.source.line_column(one.span.start) if one.source and one.span else (0, 0)
                print(f"{one.severity}[{one.code}] in line {line}, column {column}: {one.message}")


if __name__ == "__main__":
    main()
