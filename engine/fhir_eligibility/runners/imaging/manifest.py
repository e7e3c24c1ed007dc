"""`eligibility imaging manifest`: the UIDs of a run's images for other programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import IO

from msgspec import Struct

from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.evaluation.records import in_one_line
from fhir_eligibility.output.checks import NAME as ARCHIVE
from fhir_eligibility.output.checks import read_holdings
from fhir_eligibility.output.folder import OutputFolder
from fhir_eligibility.output.manifest import COLUMNS, ManifestStudy, imaging_selections, reference_list, rows_of
from fhir_eligibility.output.summary import safe
from fhir_eligibility.runners.imaging.images import Places, fhir_version_of, run_folder, studies_of

HELD = ("present", "mismatch")
TITLE = "Images that met the criteria"


class ManifestResult(Struct):
    """What was written: studies, series and instances, and studies without a UID, which no list of UIDs can name."""

    studies: int = 0
    series: int = 0
    instances: int = 0
    unidentified: int = 0
    left_out: int = 0


def manifest(
    run: Path, out: Path, *, everything: bool = False, held: bool = False, shared: bool = False
) -> ManifestResult:
    """Write images.csv, studies.txt, series.txt, and imaging-selections.ndjson (R5) or lists.ndjson (R4, R4B) into `out`.

    Of included patients what met their criteria, with `everything` all that verdicts name. `held` leaves out what `imaging verify` did not
    find present, `shared` lets others than their owner read the files, as the umask says. Raises FileNotFoundError and ValueError for a folder that is no run, or
    where `held` is asked for before verifying.
    """
    folder = run_folder(run)
    states = _states(folder, held)
    selections = load_model(fhir_version_of(folder)).has_type("ImagingSelection")
    result = ManifestResult()
    with OutputFolder(out, "imaging manifest", shared=shared) as outputs:

        def open_file(name: str) -> IO[str]:
            stream: IO[str] = outputs.stage(name, "w").stream
            return stream

        rows = csv.writer(open_file("images.csv"), lineterminator="\r\n")
        rows.writerow(COLUMNS)
        studies_list, series_list = open_file("studies.txt"), open_file("series.txt")
        resources = open_file("imaging-selections.ndjson" if selections else "lists.ndjson")
        written: set[tuple[str, str]] = set()
        for patient, group in groupby(_studies(folder, everything, states), key=lambda study: study.patient):
            chosen = []
            for study in group:
                if held and study.held not in HELD:
                    result.left_out += 1
                    continue
                chosen.append(study)
                rows.writerows([[safe(cell) for cell in row] for row in rows_of(study)])
                _count(study, result, studies_list, series_list, written)
                for resource in imaging_selections(study) if selections else ():
                    resources.write(in_one_line(json.dumps(resource, ensure_ascii=False)) + "\n")
            if chosen and not selections:
                resources.write(
                    in_one_line(json.dumps(reference_list(patient, chosen, TITLE), ensure_ascii=False)) + "\n"
                )
        outputs.publish()
    return result


def _states(folder: Path, needed: bool) -> dict[tuple[str, str], str]:
    path = folder / ARCHIVE
    if not path.is_file():
        if needed:
            raise ValueError(
                f"{folder} holds no {ARCHIVE}: run `eligibility imaging verify` first, or leave --held out"
            )
        return {}
    return {(h.patient, h.study or h.resource): str(h.state) for h in read_holdings(path)}


def _studies(folder: Path, everything: bool, states: dict[tuple[str, str], str]) -> Iterator[ManifestStudy]:
    for study in studies_of(folder, Places(), included=not everything):
        expected = study.expected
        held = states.get((expected.patient, expected.study or expected.resource))
        yield ManifestStudy(expected.patient, tuple(study.links), held)


def _count(
    study: ManifestStudy,
    result: ManifestResult,
    studies_list: IO[str],
    series_list: IO[str],
    written: set[tuple[str, str]],
) -> None:
    result.studies += 1
    if study.study is None:
        result.unidentified += 1
        return
    if ("", study.study) not in written:
        written.add(("", study.study))
        studies_list.write(study.study + "\n")
    for series in study.series:
        result.series += 1
        result.instances += len(series.instances)
        if series.uid is not None and (study.study, series.uid) not in written:
            written.add((study.study, series.uid))
            series_list.write(series.uid + "\n")
