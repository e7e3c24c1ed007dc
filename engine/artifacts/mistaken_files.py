"""Files that are given in place of JSON: what they are, and what to do."""

from __future__ import annotations

from typing import Any

_BEGINNINGS = (
    (b"PK\x03\x04", "an Excel, Word or zip file"),
    (b"\xd0\xcf\x11\xe0", "an Excel or Word file (of an older version)"),
    (b"%PDF", "a PDF file"),
    (b"{\\rtf", "a text of a word processor (RTF)"),
    (b"\x1f\x8b", "packed (gzip)"),
    (b"\x28\xb5\x2f\xfd", "packed (zstd)"),
    (b"PAR1", "a Parquet file"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
)
_JSON = "criteria are FHIR resources in JSON (EvidenceVariable, Group, ResearchStudy): "
_PATIENTS = frozenset(
    "Patient Observation Condition Procedure MedicationRequest MedicationStatement MedicationAdministration MedicationDispense Encounter ImagingStudy "
    "AllergyIntolerance Immunization DiagnosticReport Specimen ServiceRequest".split()
)


def mistaken(raw: bytes, name: str) -> tuple[str, str] | None:
    """What a file is that is not JSON, and what to do; None where nothing tells."""
    for beginning, what in _BEGINNINGS:
        if raw.startswith(beginning):
            if what.startswith("packed"):
                return f"the file is {what}", "unpack it first"
            if what.startswith("text"):
                return f"the file is {what}", "save it as UTF-8"
            return f"the file is {what}", f"{_JSON}write the criteria in one, and give that"
    head = raw[:2000].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"<"):
        return "the file is XML or HTML", "convert it to FHIR JSON"
    if name.lower().endswith((".csv", ".tsv")) or _is_table(head):
        return "the file is a table (CSV)", f"{_JSON}a table has to be rewritten as such"
    if head.startswith((b"library ", b"using ", b"define ")) and not name.lower().endswith(".cql"):
        return "the file is CQL", "name it .cql, and give it with --libraries; the criteria name its definitions"
    return None


def _is_table(head: bytes) -> bool:
    """Whether the first two lines are cells with the same separator, and no JSON."""
    lines = [line for line in head.splitlines()[:2] if line]
    if len(lines) < 2 or head[:1] in (b"{", b"["):
        return False
    return any(lines[0].count(mark) and lines[0].count(mark) == lines[1].count(mark) for mark in (b",", b";", b"\t"))


def are_patients(data: Any) -> bool:
    """Whether a resource, or a bundle, is patients' data."""
    entries = data.get("entry") if isinstance(data, dict) and data.get("resourceType") == "Bundle" else None
    resources = (
        [entry.get("resource") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else [data]
    )
    types = {str(one.get("resourceType")) for one in resources if isinstance(one, dict)}
    return "Patient" in types or bool(types) and types <= _PATIENTS
