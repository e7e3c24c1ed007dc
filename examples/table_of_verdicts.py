"""A table of all criteria for all patients as CSV, with three values: met, not met, and why not known.

Shows that unknown is an answer of its own, with a reason from a closed list (`fhir_eligibility.Reason`), and counts the reasons, which tells what to look for
in the records first.

    python examples/table_of_verdicts.py > table.csv
"""

from __future__ import annotations

import csv
import sys
from collections import Counter

import fhir_eligibility


def main(criteria_path: str = "criteria/flute/mr", data: str = "criteria/flute/cohort") -> None:
    criteria = fhir_eligibility.load_criteria(criteria_path)
    reasons: Counter[str] = Counter()
    table = csv.writer(sys.stdout, lineterminator="\n")
    for number, verdict in enumerate(fhir_eligibility.screen(criteria, data, now="2026-06-01")):
        if number == 0:
            table.writerow(["patient", "verdict", *(criterion.id for criterion in verdict.criteria)])
        table.writerow([verdict.patient, verdict.verdict, *(c.reason or c.outcome for c in verdict.criteria)])
        reasons.update(c.reason for c in verdict.criteria if c.reason is not None)
    for reason, count in reasons.most_common():
        print(f"{reason}: {count}", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
