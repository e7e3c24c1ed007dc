"""Screens the patients of a FHIR server by search, and makes a FHIR Group of those who are included.

Shows `Server` (needs `pip install '.[server]'`) and `server_patients`, which asks only for what the criteria read. Patients of whom something could not be
fetched are told by `on_problem`, and an answer that rests on it is unknown.

    TOKEN=... python examples/screen_a_server.py https://fhir.hospital.example/r4 [CRITERIA]
"""

from __future__ import annotations

import json
import os
import sys

import fhir_eligibility


def main(address: str, criteria_path: str = "criteria/flute/mr") -> None:
    criteria = fhir_eligibility.load_criteria(criteria_path)
    credentials = fhir_eligibility.credentials_of("bearer-env=TOKEN") if "TOKEN" in os.environ else None
    included = []
    with fhir_eligibility.Server(address, credentials=credentials) as server:
        patients = fhir_eligibility.server_patients(server, criteria)
        for verdict in fhir_eligibility.screen(criteria, patients, now="2026-06-01", on_problem=complain):
            if verdict.verdict == "included":
                included.append({"entity": {"reference": verdict.patient}})
    group = {"resourceType": "Group", "type": "person", "actual": True, "quantity": len(included), "member": included}
    print(json.dumps(group, indent=2))


def complain(problem: fhir_eligibility.Problem) -> None:
    print(f"{problem.severity}: {problem.message}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
