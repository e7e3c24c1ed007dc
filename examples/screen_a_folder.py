"""Who of the patients in a folder is in, who is not, and why.

Shows `load_criteria` and `screen`, and what a verdict holds: the criteria that decided, and the reason of each that is unknown.

    python examples/screen_a_folder.py [CRITERIA] [DATA]
"""

from __future__ import annotations

import sys

import fhir_eligibility


def main(criteria_path: str = "criteria/flute/mr", data: str = "criteria/flute/cohort") -> None:
    criteria = fhir_eligibility.load_criteria(criteria_path)
    for verdict in fhir_eligibility.screen(criteria, data, now="2026-06-01"):
        print(f"{verdict.patient}: {verdict.verdict}")
        for criterion in verdict.criteria:
            if criterion.id not in verdict.deciding:
                continue
            print(f"  {criterion.title}: {criterion.outcome}")
            if criterion.reason is not None:
                print(f"    {criterion.reason}: {criterion.detail}")


if __name__ == "__main__":
    main(*sys.argv[1:])
