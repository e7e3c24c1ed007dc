"""Files that hold one JSON document each - a bundle, as a rule of one patient -: entries are split off without decoding them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from engine.artifacts.references import RESTFUL
from engine.data.bulk.collecting import BEGINNING, Collector, TypeReader
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
_MAY_DELETE = (b"DELETE", b"\\u")


def read_document(collector: Collector, text: bytes, file: int, path: str) -> None:
    """Read a file of one document into a collector. What cannot be read is a problem."""
    if text.startswith(b"\xef\xbb\xbf"):
        text = text[3:]
    deletes = any(word in text for word in _MAY_DELETE)
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
    if entries is not None and not collector.validate and _offer(collector, entries, file, path):
        return
    try:
        data: Any = whole(text)
    except BAD_JSON as error:
        _invalid(collector, text, path, error)
        return
    offer_all(collector, data, file, 0, path)


def _offer(collector: Collector, entries: list[_Entry], file: int, path: str) -> bool:
    """Give a collector the entries of a bundle; False, having done nothing, where one is no plain resource and has to be looked at closely."""
    kept: list[tuple[int, TypeReader, bytes]] = []
    passed: list[tuple[str, int | None]] = []
    patients: list[tuple[_Entry, bytes]] = []
    for index, entry in enumerate(entries):
        text = bytes(entry.resource)
        match = _KIND.match(text)
        if match is None or match[1] in _CONTAINERS:
            return False
        reader = collector.named(match[1])
        if reader.unread:
            passed.append((reader.kind, None))
            continue
        if reader.kind == "Patient":
            patients.append((entry, text))
        if reader.needles is not None and not reader.needles.found(text):
            found = reader.beginning.match(text)
            if found is not None:
                passed.append((reader.kind, number_of(found[1])))
                continue
        kept.append((index, reader, text))
    for kind, number in passed:
        collector.collected.passed[kind] += 1
        if number is not None:
            collector.seen_ids(kind).append(number)
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
