"""The images of a screening run, read back from its verdicts: a patient at a time, studies as one record each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field
from pydantic import ValidationError

from fhir_eligibility.artifacts.own_outputs import PLAN
from fhir_eligibility.data.archives.uids import valid_uid
from fhir_eligibility.evaluation.holdings import Expected, expected_of
from fhir_eligibility.evaluation.verdict import ImagingLink, Verdict
from fhir_eligibility.output.criteria_record import VERDICTS
from fhir_eligibility.output.folder import OutputFolder


class Places(Struct, frozen=True):
    """Where images are looked for: `dicomweb` where the data names no archive, or always with `ignore_endpoints`."""

    dicomweb: str | None = None
    ignore_endpoints: bool = False


class StudyImages(Struct):
    """One study of one patient in a run: what is expected of it, and the links that name it."""

    expected: Expected
    links: list[tuple[Verdict, ImagingLink]] = field(default_factory=list)


def run_folder(run: Path) -> Path:
    """The folder of a run, given as the folder or as its verdicts.ndjson. Raises FileNotFoundError."""
    folder = run if run.is_dir() else run.parent
    if (folder / PLAN).exists():
        with OutputFolder(folder, "imaging"):
            pass  # what a run that was killed had finished appears
    if not (folder / VERDICTS).is_file():
        raise FileNotFoundError(f"{run} holds no {VERDICTS}: give the folder that `eligibility screen --out` wrote")
    if uids_of_codes(folder) == "coded":
        raise ValueError(
            f"{folder} holds codes in the place of UIDs (--pseudonyms), by which no images are found; screen without it, or with --keep-uids"
        )
    return folder


def fhir_version_of(run: Path) -> str:
    """The FHIR version of a run's patients, from its run.json (R4 where there is none)."""
    found = _record_of(run).get("fhir_version")
    return found if isinstance(found, str) else "r4"


def uids_of_codes(run: Path) -> str | None:
    """Of a run that carries codes in the place of patients: whether UIDs are `coded` or `kept`. None where it carries none."""
    found = _record_of(run).get("pseudonyms")
    return str(found.get("uids")) if isinstance(found, dict) else None


def _record_of(run: Path) -> dict[str, Any]:
    """What run.json holds; nothing where there is none."""
    path = run / "run.json"
    if not path.is_file():
        return {}
    try:
        record = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from None
    return record if isinstance(record, dict) else {}


def verdicts_of(run: Path) -> Iterator[Verdict]:
    """The verdicts of a run, in its order. Raises ValueError for a line that is none."""
    path = run_folder(run) / VERDICTS
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                verdict = Verdict.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                raise ValueError(f"{path}, line {number}: not a verdict: {place or 'JSON'}: {first['msg']}") from None
            wrong = _wrong_uid(verdict)
            if wrong is not None:
                raise ValueError(
                    f"{path}, line {number}: {wrong} is not a DICOM UID; verdicts as they were written hold none such"
                )
            yield verdict


def _wrong_uid(verdict: Verdict) -> str | None:
    """The first UID of a verdict that is none. UIDs become names of folders and files, and parts of addresses."""
    for link in verdict.imaging:
        for uid in (link.study, *(uid for one in link.series for uid in (one.uid, *one.instances))):
            if uid is not None and not valid_uid(uid):
                return repr(uid[:80])
    return None


def studies_of(run: Path, places: Places, *, included: bool = False) -> Iterator[StudyImages]:
    """Every study that a run names, in its order; with `included` only those that met criteria of included patients."""
    coded = uids_of_codes(run_folder(run)) is not None  # then no archive knows the identifiers
    for patient, verdicts in groupby(verdicts_of(run), key=lambda verdict: verdict.patient):
        studies: dict[str, list[tuple[Verdict, ImagingLink]]] = {}
        identifiers: dict[str, None] = {}
        for verdict in verdicts:
            if included and verdict.verdict != "included":
                continue
            if not coded:
                identifiers.update(dict.fromkeys(identifier.value for identifier in verdict.identifiers))
            for link in verdict.imaging:
                if not included or link.role == "met":
                    studies.setdefault(link.study or link.resource, []).append((verdict, link))
        for links in studies.values():
            expected = expected_of(
                patient,
                [link for _, link in links],
                identifiers,
                dicomweb=places.dicomweb,
                ignore_endpoints=places.ignore_endpoints,
            )
            yield StudyImages(expected, links)
