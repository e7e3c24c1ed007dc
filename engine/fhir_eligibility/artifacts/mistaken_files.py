"""Files that are given in place of JSON: what they are, and what to do."""

from __future__ import annotations

from collections import Counter

from fhir_eligibility.artifacts.shape import json_problem

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
_WHERE = "criteria stand in EvidenceVariable, Group or ResearchStudy resources, or bundles of them"
_NAMED_BY_CRITERIA = frozenset(("Library", "ValueSet", "CodeSystem", "Parameters"))
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


def not_json(raw: bytes, name: str, error: Exception) -> tuple[str, str, str | None]:
    """A code, a sentence and what to do, for a file of criteria that is not JSON in UTF-8."""
    other = mistaken(raw, name)
    if other is not None:
        return "not-json", *other
    if not raw.strip():
        return "not-json", "the file is empty", f"{_JSON}write the criteria in one, and give that"
    if isinstance(error, UnicodeDecodeError):
        line = raw[: error.start].count(b"\n") + 1
        return "unreadable", f"not text in UTF-8: byte 0x{raw[error.start]:02x} in line {line}", "save it as UTF-8"
    if raw.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] not in (b"{", b"["):
        return "not-json", "the file is not JSON", f"{_JSON}write the criteria in one, and give that"
    return "invalid-json", json_problem(error, raw), None


def _is_table(head: bytes) -> bool:
    """Whether the first two lines are cells with the same separator, and no JSON."""
    lines = [line for line in head.splitlines()[:2] if line]
    if len(lines) < 2 or head[:1] in (b"{", b"["):
        return False
    return any(lines[0].count(mark) and lines[0].count(mark) == lines[1].count(mark) for mark in (b",", b";", b"\t"))


def without_criteria(kinds: Counter[str], *, folder: bool) -> tuple[str, str] | None:
    """What to say of a file or a folder that holds resources of these kinds and no criteria: a sentence, and what to do; None where it may hold
    what criteria name (libraries, value sets).
    """
    place = "folder" if folder else "file"
    found = [kind for kind, _ in kinds.most_common() if kind not in ("Bundle", "None")]
    if folder and not kinds:
        return "no JSON file in this folder", _WHERE
    holds = ", ".join(found[:4]) + (" and more" if len(found) > 4 else "") or (
        "Bundle" if kinds["Bundle"] else "no resource"
    )
    message = f"no criteria in this {place} (it holds {holds})"
    if "Patient" in found or found and _PATIENTS.issuperset(found):
        return message, f"it holds patients: give it with --data, and the criteria first; {_WHERE}"
    if "Measure" in found:
        return message, f"`eligibility measure` evaluates measures; {_WHERE}"
    if _NAMED_BY_CRITERIA.intersection(found):
        return None
    return message, _WHERE
