"""Files that hold one JSON document each - a bundle, as a rule of one patient -: entries are split off without decoding them."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from stringzilla import contains

from engine.artifacts.references import RESTFUL
from engine.data.bulk.collecting import BEGINNING, TYPE_AT, Collector, TypeReader
from engine.data.bulk.decoding import BAD_JSON, Head, told, whole
from engine.data.bulk.records import number_of
from engine.data.bulk.scanning import offer_all
from engine.data.problems import Problem


class _Request(msgspec.Struct, gc=False):
    method: str | None = None


class _Entry(msgspec.Struct, gc=False):
    resource: msgspec.Raw = msgspec.Raw(b"")
    fullUrl: str | None = None


class _Acted(_Entry, gc=False):
    request: _Request | None = None


class _Bundle(msgspec.Struct, gc=False):
    resourceType: str | None = None
    entry: list[_Entry] | None = None


class _Transaction(msgspec.Struct, gc=False):
    resourceType: str | None = None
    entry: list[_Acted] | None = None


_bundle = msgspec.json.Decoder(_Bundle)
_transaction = msgspec.json.Decoder(_Transaction)
_head = msgspec.json.Decoder(Head)
_KIND = re.compile(BEGINNING % b"([A-Za-z]+)")
_CONTAINERS = frozenset((b"Bundle", b"Parameters"))
_THEN_ID = b'","id":"'


def read_document(collector: Collector, text: bytes, file: int, path: str) -> None:
    """Read a file of one document into a collector. What cannot be read is a problem."""
    if text.startswith(b"\xef\xbb\xbf"):
        text = text[3:]
    escapes = contains(text, b"\\u")
    deletes = escapes or contains(text, b"DELETE")
    entries: list[_Entry] | None = None
    try:
        bundle: Any = (_transaction if deletes else _bundle).decode(text)
        removes = deletes and any(e.request is not None and e.request.method == "DELETE" for e in bundle.entry or ())
        entries = bundle.entry if bundle.resourceType == "Bundle" and not removes else None
    except msgspec.ValidationError:
        pass  # no bundle of the usual shape: it is decoded whole below
    except BAD_JSON as error:
        _invalid(collector, text, path, error)
        return
    if entries is not None and not collector.validate and _offer(collector, entries, escapes, file, path):
        return
    try:
        data: Any = whole(text)
    except BAD_JSON as error:
        _invalid(collector, text, path, error)
        return
    offer_all(collector, data, file, 0, path)


def _offer(collector: Collector, entries: list[_Entry], escapes: bool, file: int, path: str) -> bool:
    """Give a collector the entries of a bundle; False, having done nothing, where one is no plain resource and has to be looked at closely.

    `escapes` tells whether some character of the bundle may be written as `\\u....`.
    """
    kept: list[tuple[int, TypeReader, bytes]] = []
    passed: list[str] = []
    seen: dict[str, list[bytes]] = {}
    patients: list[tuple[_Entry, bytes]] = []
    known = collector.beginning
    for index, entry in enumerate(entries):
        text = bytes(entry.resource)
        # as a rule the type comes first, without blanks, and the id after it
        stop = text.find(b'"', TYPE_AT)
        reader = known(text[:stop])
        if reader is None:
            match = _KIND.match(text)
            if match is None or match[1] in _CONTAINERS:
                return False
            reader = collector.named(match[1])
        if reader.unread:
            passed.append(reader.kind)
            continue
        needles = reader.needles
        if needles is None:
            if reader.kind == "Patient":
                patients.append((entry, text))
        elif not needles.found(text, escapes):
            identifier: bytes | None = b""
            if text.startswith(_THEN_ID, stop):
                at = stop + len(_THEN_ID)
                identifier = text[at : text.find(b'"', at)]
            if not identifier or b"\\" in identifier:
                identifier = reader.identifier(text)
            if identifier is not None:
                passed.append(reader.kind)
                seen.setdefault(reader.kind, []).append(identifier)
                continue
        kept.append((index, reader, text))
    collector.collected.passed.update(passed)
    for kind, identifiers in seen.items():
        collector.seen_ids(kind).extend(map(number_of, identifiers))
    patient = _patient(patients)
    for index, reader, text in kept:
        collector.keep(reader, text, file, 0, index, entries[index].fullUrl, path, patient=patient)
    return True


def _patient(patients: list[tuple[_Entry, bytes]]) -> tuple[str, str] | None:
    """The urn and the logical id of the one Patient of a bundle, where it is known by a urn."""
    if len(patients) != 1:
        return None
    entry, text = patients[0]
    if entry.fullUrl is None or RESTFUL.fullmatch(entry.fullUrl) is not None:
        return None
    try:
        identifier = _head.decode(text).id
    except msgspec.ValidationError:
        return None
    return entry.fullUrl, identifier if identifier else entry.fullUrl


def _invalid(collector: Collector, text: bytes, path: str, error: Exception) -> None:
    hint = "if this is NDJSON, name the file .ndjson" if b"}\n{" in text[:1_000_000] else None
    collector.collected.problems.append(Problem(file=path, code="invalid-json", message=told(error), hint=hint))
