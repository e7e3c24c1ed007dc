"""What a file is that is not FHIR JSON, by how it begins and what it is called: so that a person is told once, in words, and not by each of its lines."""

from __future__ import annotations

import re
from pathlib import PurePath

from msgspec import Struct

from fhir_eligibility.data.files.json_text import wide_encoding
from fhir_eligibility.data.files.opening import packing

LOOKED_AT = 4096
"""Bytes of the beginning of a file that tell what it is."""
BOM = b"\xef\xbb\xbf"
SPACE = BOM + b" \t\r\n\x1e,"
"""Bytes that may stand before the first resource of a file."""


class Kind(Struct, frozen=True):
    """A kind of file: what it is, in words that follow "this is", and what to do about it."""

    what: str
    hint: str


_AS_JSON = "patients are read from FHIR's JSON: have the data exported as FHIR (NDJSON or bundles)"
_UNPACK = "unpack it, and give the folder"
PICTURE = Kind("a picture", _AS_JSON)
BINARY = Kind("binary data", _AS_JSON)
TABLE = Kind("a table (CSV)", _AS_JSON)
TEXT = Kind("text, and not FHIR's JSON", _AS_JSON)
EMPTY = Kind("empty", "was the export complete?")
FHIR_XML = Kind("FHIR in XML", "XML is not read: have the data written as JSON, or convert it to FHIR's JSON")
XML = Kind("XML", FHIR_XML.hint)
WEB_PAGE = Kind("a web page, such as the error page of a server", "fetch the file again")
POINTER = Kind("a pointer of Git LFS, not the file itself", "fetch the file: git lfs pull")
OTHER_JSON = Kind("JSON without a FHIR resource", "a resource has a resourceType")
UNFINISHED = Kind("an unfinished download", "fetch the file again, or have the export completed")
COPY = Kind("a copy that a program put aside", "where it is data, give it another name")
HIDDEN = Kind("hidden (the name begins with a dot)", "where it is data, give it another name")
LOG = Kind("a log", "logs are not read: nothing is to do")

_BEGINNINGS = (
    (b"%PDF", Kind("a PDF file", _AS_JSON)),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Kind("an Excel or Word file (of an older version)", _AS_JSON)),
    (b"{\\rtf", Kind("a text of a word processor (RTF)", _AS_JSON)),
    (b"PAR1", Kind("a Parquet file", _AS_JSON)),
    (b"Obj\x01", Kind("an Avro file", _AS_JSON)),
    (b"ORC", Kind("an ORC file", _AS_JSON)),
    (b"ARROW1\0", Kind("an Arrow file", _AS_JSON)),
    (b"SQLite format 3\0", Kind("an SQLite database", _AS_JSON)),
    (b"\xfd7zXZ\0", Kind("packed as xz, which is not read", "unpack it, or pack it with gzip, zstd, bzip2 or zip")),
    (b"7z\xbc\xaf\x27\x1c", Kind("an archive (7z), which is not read", _UNPACK)),
    (b"Rar!\x1a\x07", Kind("an archive (RAR), which is not read", _UNPACK)),
    (
        b"\x04\x22\x4d\x18",
        Kind("packed as lz4, which is not read", "unpack it, or pack it with gzip, zstd, bzip2 or zip"),
    ),
    (b"\x89PNG", PICTURE),
    (b"\xff\xd8\xff", PICTURE),
    (b"GIF8", PICTURE),
    (b"II*\0", PICTURE),
    (b"MM\0*", PICTURE),
    (b"version https://git-lfs", POINTER),
    (b"Salted__", Kind("encrypted", "decrypt it")),
    (b"-----BEGIN PGP", Kind("encrypted", "decrypt it")),
    (b"age-encryption.org/", Kind("encrypted", "decrypt it")),
)
_DICOM = Kind("a DICOM file", "images are found by what ImagingStudy resources say of them")
_TAR = Kind("an archive (tar), which is not read", _UNPACK)
_TWICE = Kind("packed twice", "unpack it once")
_OFFICE = Kind("an Excel, Word or similar file", _AS_JSON)
_TURTLE = Kind("RDF (Turtle)", "RDF is not read: have the data written as JSON")
_MARKUP = re.compile(rb"<[A-Za-z?!]")
_UNFINISHED = re.compile(r"\.(part|partial|crdownload|download|filepart|!ut|aria2|inprogress|incomplete)(-of)?$")
_COPIES = re.compile(r"(~|\.(bak|backup|old|orig|swp|swo|tmp|temp|save|rej))$")
_BY_SUFFIX = {
    ".csv": TABLE,
    ".tsv": TABLE,
    ".log": LOG,
    ".md": Kind("documentation", "documentation is not read: nothing is to do"),
    ".py": Kind("a program", "programs are not read: nothing is to do"),
    ".sh": Kind("a program", "programs are not read: nothing is to do"),
    ".sql": Kind("a program", "programs are not read: nothing is to do"),
    ".cql": Kind("CQL", "give libraries with --libraries"),
    ".yaml": Kind("YAML", _AS_JSON),
    ".yml": Kind("YAML", _AS_JSON),
    ".sha256": Kind("a list of checksums", "checksums are not read: nothing is to do"),
    ".md5": Kind("a list of checksums", "checksums are not read: nothing is to do"),
}


def kind_by_name(name: str) -> Kind | None:
    """What a file is that its name alone tells not to be data: an unfinished download, a copy that an editor put aside; None for any other."""
    lowered = name.lower()
    if _UNFINISHED.search(lowered):
        return UNFINISHED
    if _COPIES.search(lowered):
        return COPY
    return HIDDEN if lowered.startswith(".") else None


def certain_kind(beginning: bytes) -> Kind | None:
    """What a file certainly is that is not JSON in UTF-8, by its beginning; None for JSON, and for what may be JSON that is damaged."""
    for mark, kind in _BEGINNINGS:
        if beginning.startswith(mark):
            return kind
    name = wide_encoding(beginning)
    if name is not None:
        hint = f"convert it (iconv -f {name} -t UTF-8), or have it written as UTF-8"
        return Kind(f"text in {name}, and FHIR's JSON is UTF-8", hint)
    if beginning[128:132] == b"DICM":
        return _DICOM
    if beginning[257:262] == b"ustar":
        return _TAR
    found = packing(beginning)
    if found is not None:
        return _TWICE if found != "zip" else Kind("a zip in a packed file", "unpack it once")
    head = beginning.removeprefix(BOM).lstrip()[:2000]
    if _MARKUP.match(head):
        start = head[:200].lower()
        if start.startswith((b"<html", b"<!doctype html")) or b"<head" in start or b"<body" in start:
            return WEB_PAGE
        return FHIR_XML if b"http://hl7.org/fhir" in head else XML
    if head.startswith((b"@prefix", b"PREFIX ")):
        return _TURTLE
    return None


def kind_of(beginning: bytes, name: str) -> Kind | None:
    """What a file is that is not FHIR JSON, by its beginning and its name; None where it is JSON that may hold resources."""
    if not beginning:
        return EMPTY
    certain = certain_kind(beginning)
    if certain is not None:
        return certain
    head = beginning.lstrip(SPACE)
    if head[:1] in (b"{", b"["):
        return None if b'"resourceType"' in head else OTHER_JSON
    if not head:
        return EMPTY
    if b"\0" in head:
        return BINARY
    by_suffix = _BY_SUFFIX.get(PurePath(name.lower()).suffix)
    if by_suffix is not None:
        return by_suffix
    return TABLE if _is_table(head) else TEXT


def office_kind(names: list[str]) -> Kind | None:
    """What a zip with files of these names is, where it is the file of an office program; None for any other zip."""
    inside = {name.rpartition("/")[2] for name in names}
    if "[Content_Types].xml" in inside or "mimetype" in inside and "content.xml" in inside:
        return _OFFICE
    return None


def _is_table(head: bytes) -> bool:
    """Whether the first lines are cells with the same separator."""
    lines = [line for line in head.splitlines()[:2] if line]
    if len(lines) < 2:
        return False
    return any(
        lines[0].count(mark) and lines[0].count(mark) == lines[1].count(mark) for mark in (b",", b";", b"\t", b"|")
    )
