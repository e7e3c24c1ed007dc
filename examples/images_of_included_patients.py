"""The DICOM UIDs of the images of included patients, one line a series.

Shows `imaging` of a verdict: which studies and series met which criterion, with the UIDs by which an archive finds them. UIDs that are not valid are
left out, and `warnings` say why.

    python examples/images_of_included_patients.py [CRITERIA] [DATA]
"""

from __future__ import annotations

import sys

import fhir_eligibility


def main(criteria_path: str = "criteria/flute/mr", data: str = "criteria/flute/cohort") -> None:
    criteria = fhir_eligibility.load_criteria(criteria_path)
    print("patient", "modality", "study", "series", "instances", sep="\t")
    for verdict in fhir_eligibility.screen(criteria, data, now="2026-06-01"):
        if verdict.verdict != "included":
            continue
        for study in verdict.imaging:
            if study.role != "met":
                continue
            for warning in study.warnings:
                print(f"{verdict.patient}: {warning}", file=sys.stderr)
            for series in study.series:
                print(verdict.patient, series.modality, study.study, series.uid, len(series.instances), sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
