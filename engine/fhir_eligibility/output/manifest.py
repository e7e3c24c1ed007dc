"""The images behind verdicts as lists: CSV, plain lists of UIDs, ImagingSelection (R5) or List (R4) resources."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from fhir_eligibility.algebra.values.code_systems import DICOM
from fhir_eligibility.evaluation.verdict import ImagingLink, Series, Verdict

Json = dict[str, Any]
ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
COLUMNS = (
    "patient",
    "artifact",
    "version",
    "verdict",
    "criterion",
    "role",
    "resource",
    "study",
    "series",
    "instance",
    "modality",
    "description",
    "started",
    "accession",
    "url",
    "accept",
    "archive",
)
DICOM_UID = "urn:dicom:uid"
_NAMESPACE = uuid.UUID("5b1f3f0c-6d3c-5c2e-9a53-2f3b7f7f9c11")


class ManifestStudy(Struct, frozen=True):
    """One study of one patient: the verdicts and links that name it, and what the archive says of it where it was asked."""

    patient: str
    links: tuple[tuple[Verdict, ImagingLink], ...]
    held: str | None = None

    @property
    def study(self) -> str | None:
        """Study Instance UID."""
        return next((link.study for _, link in self.links if link.study), None)

    @property
    def resource(self) -> str:
        """ImagingStudy/id"""
        return self.links[0][1].resource

    @property
    def series(self) -> list[Series]:
        """The series that any of the links lists, each once."""
        out: dict[str, Series] = {}
        for _, link in self.links:
            for one in link.series:
                if one.uid is None:
                    continue
                known = out.get(one.uid, one)
                instances = list(dict.fromkeys([*known.instances, *one.instances]))
                out[one.uid] = known.model_copy(update={"instances": instances})
        return list(out.values())


def rows_of(study: ManifestStudy) -> list[list[str]]:
    """Rows of the table: one an instance where they are listed, else one a series, else one for the study."""
    out = []
    for verdict, link in study.links:
        head = [
            study.patient,
            verdict.artifact,
            verdict.artifact_version or "",
            verdict.verdict,
            link.criterion,
            link.role,
            link.resource,
        ]
        head.append(link.study or "")
        tail = [link.started or "", link.accession or ""]
        end = [ACCEPT if link.url else "", study.held or ""]
        if not link.series:
            out.append([*head, "", "", " ".join(link.modality), "", *tail, link.url or "", *end])
        for one in link.series:
            words = [one.modality or "", one.description or ""]
            for instance in one.instances or [""]:
                url = f"{one.url}/instances/{instance}" if one.url and instance else one.url or ""
                out.append([*head, one.uid or "", instance, *words, *tail, url, *end])
    return out


def imaging_selections(study: ManifestStudy) -> list[Json]:
    """R5: an ImagingSelection for each series, without series one for the study. None where there is no Study Instance UID."""
    if study.study is None:
        return []
    base: Json = {
        "resourceType": "ImagingSelection",
        "status": "available" if study.held in ("present", "mismatch") else "unknown",
        "subject": {"reference": study.patient},
        "code": {"coding": [{"system": DICOM, "code": "113000", "display": "Of Interest"}]},
        "studyUid": study.study,
    }
    if study.resource != "ImagingStudy":
        base["derivedFrom"] = [{"reference": study.resource}]
    out = []
    listed: list[Series | None] = [*study.series]
    for one in listed or [None]:
        uid = one.uid if one is not None else ""
        entry: Json = {"resourceType": base["resourceType"], "id": resource_id(study.patient, study.study, uid or "")}
        entry.update({key: value for key, value in base.items() if key != "resourceType"})
        if one is not None:
            entry["seriesUid"] = one.uid
            if one.instances:
                entry["instance"] = [{"uid": instance} for instance in one.instances]
        out.append(entry)
    return out


def reference_list(patient: str, studies: Sequence[ManifestStudy], title: str) -> Json:
    """R4: a List of references to the patient's studies, each by resource and by Study Instance UID."""
    entries = []
    for study in studies:
        item: Json = {"type": "ImagingStudy"}
        if study.resource != "ImagingStudy":
            item = {"reference": study.resource, **item}
        if study.study is not None:
            item["identifier"] = {"system": DICOM_UID, "value": f"urn:oid:{study.study}"}
        if study.series:
            item["display"] = f"{len(study.series)} series"
        entries.append({"item": item})
    return {
        "resourceType": "List",
        "id": resource_id(patient, "list", ""),
        "status": "current",
        "mode": "snapshot",
        "title": title,
        "subject": {"reference": patient},
        "entry": entries,
    }


def resource_id(*parts: str) -> str:
    """The same id for the same thing, whenever it is made."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts)))
