"""Files that hold one JSON document each - a bundle, as a rule of one patient -: entries are split off without decoding them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import msgspec
from stringzilla import contains

from engine.data.bulk.collecting import BEGINNING, ESCAPE, THEN_ID, Collector, Needles, OnePatient, TypeReader
from engine.data.bulk.decoding import BAD_JSON, Head, told, whole
from engine.data.bulk.scanning import offer_all
from engine.data.bulk.splitting import TYPE, Split, split
from engine.data.identity import home_of
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
    type: Any = None
    entry: list[_Entry] | None = None


class _Transaction(msgspec.Struct, gc=False):
    resourceType: str | None = None
    type: Any = None
    entry: list[_Acted] | None = None


_bundle = msgspec.json.Decoder(_Bundle)
_transaction = msgspec.json.Decoder(_Transaction)
_head = msgspec.json.Decoder(Head)
_KIND = re.compile(BEGINNING % b"([A-Za-z]+)")
_NAME = re.compile(rb"[A-Za-z]+")
_THEN = len(THEN_ID)
_index = itemgetter(0)


def read_document(collector: Collector, text: bytes, file: int, path: str) -> None:
    """Read a file of one document into a collector. What cannot be read is a problem."""
    if text.startswith(b"\xef\xbb\xbf"):
        text = text[3:]
    escapes = contains(text, ESCAPE)
    deletes = escapes or contains(text, b"DELETE")
    if not deletes and not collector.validate:
        found = split(text)
        if found is not None and _pieces(collector, found, file, path):
            return
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
    if (
        entries is not None
        and not collector.validate
        and _entries(collector, entries, bundle.type, escapes, file, path)
    ):
        return
    try:
        data: Any = whole(text)
    except BAD_JSON as error:
        _invalid(collector, text, path, error)
        return
    offer_all(collector, data, file, 0, path)


@dataclass(slots=True)
class _Sorted:
    """Entries of a bundle: those to keep, by their number, and what is noted of the others."""

    kept: list[tuple[int, TypeReader]] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    seen: dict[str, list[bytes]] = field(default_factory=dict)

    def take(self, number: int, reader: TypeReader, text: bytes, before: bytes, escapes: bool) -> None:
        """Sort one that some criterion may read: its text begins with its type after `before`."""
        needles = reader.needles
        if needles is not None and not needles.found(text, escapes):
            at = reader.id_at
            identifier: bytes | None = text[at : text.find(b'"', at)] if text[at - _THEN : at] == THEN_ID else b""
            if not identifier or b"\\" in identifier:
                identifier = reader.identifier(before + text)
            if identifier is not None:
                self.passed[reader.kind] += 1
                same = self.seen.get(reader.kind)
                if same is None:
                    self.seen[reader.kind] = [identifier]
                else:
                    same.append(identifier)
                return
        self.kept.append((number, reader))


def _pieces(collector: Collector, found: Split, file: int, path: str) -> bool:
    """Give a collector the entries of a bundle that was split; False, having done nothing, where one has to be looked at closely."""
    kept: list[tuple[int, TypeReader]] = []
    passed: dict[str, int] = {}
    seen: list[tuple[str, list[bytes]]] = []
    for name, numbers in found.kinds.items():
        reader = collector.known(name)
        if reader is None:
            if _NAME.fullmatch(name) is None:
                return False
            reader = collector.named(name)
        if reader.unread:
            passed[reader.kind] = len(numbers)
        elif reader.container:
            return False
        elif reader.needles is None:
            kept.extend([(index, reader) for index in numbers])
        else:
            some, others = _selected(found, name, numbers, reader, reader.needles)
            kept.extend([(index, reader) for index in some])
            if others:
                passed[reader.kind] = len(others)
                seen.append((reader.kind, others))
    kept.sort(key=_index)
    decoded: list[tuple[int, TypeReader, bytes, str, tuple[dict[str, Any], bool]]] = []
    patients: list[tuple[str | None, Any]] = []
    try:
        for index, reader in kept:
            text = found.resource(index)
            try:
                facts = reader.decoder.packed(text)
            except BAD_JSON:
                text = found.exactly(index)
                facts = reader.decoder.packed(text)
            full_url = found.full_url(index)
            decoded.append((index, reader, text, full_url, facts))
            if reader.kind == "Patient":
                patients.append((full_url, facts[0].get("id")))
    except BAD_JSON:
        return False
    collector.pass_over(passed, seen)
    patient = _patient(patients, found.type, file)
    for index, reader, text, full_url, facts in decoded:
        collector.place(reader, *facts, text, file, 0, index, full_url, patient=patient)
    return True


def _selected(
    found: Split, name: bytes, numbers: list[int], reader: TypeReader, needles: Needles
) -> tuple[list[int], list[bytes]]:
    """Of the entries of a type, the numbers of those that may matter, and the ids of the others."""
    text, starts = found.text, found.starts
    mattering = needles.among(text, starts)
    some: list[int] = []
    ids: list[bytes] = []
    beginning = name + THEN_ID
    width = len(beginning)
    for index in numbers:
        if index not in mattering:
            at = starts[index]
            identifier: bytes | None = None
            if text.startswith(beginning, at):
                at += width
                identifier = text[at : text.find(b'"', at)]
            if not identifier or b"\\" in identifier:
                identifier = reader.identifier(TYPE + found.piece(index))
            if identifier is not None:
                ids.append(identifier)
                continue
        some.append(index)
    return some, ids


def _entries(
    collector: Collector, entries: list[_Entry], bundle_type: Any, escapes: bool, file: int, path: str
) -> bool:
    """Give a collector the entries of a bundle; False, having done nothing, where one is no plain resource and has to be looked at closely.

    `escapes` tells whether some character of the bundle may be written as `\\u00..`.
    """
    out = _Sorted()
    for index, entry in enumerate(entries):
        text = bytes(entry.resource)
        match = _KIND.match(text)
        if match is None:
            return False
        reader = collector.named(match[1])
        if reader.unread:
            out.passed[reader.kind] += 1
        elif reader.container:
            return False
        else:
            out.take(index, reader, text[match.start(1) :], text[: match.start(1)], escapes)
    collector.pass_over(out.passed, out.seen.items())
    patients: list[tuple[str | None, Any]] = []
    for index, reader in out.kept:
        if reader.kind == "Patient":
            try:
                identifier = _head.decode(entries[index].resource).id
            except msgspec.ValidationError:
                identifier = None
            patients.append((entries[index].fullUrl, identifier))
    patient = _patient(patients, bundle_type, file)
    for index, reader in out.kept:
        entry = entries[index]
        collector.keep(reader, bytes(entry.resource), file, 0, index, entry.fullUrl, path, patient=patient)
    return True


def _patient(patients: list[tuple[str | None, Any]], bundle_type: Any, file: int) -> OnePatient | None:
    """The one Patient of a bundle, given with fullUrl and id; None where it holds none or several."""
    if len(patients) != 1:
        return None
    ((full_url, identifier),) = patients
    return OnePatient.of(full_url, identifier, home_of(0, bundle_type), (file, 0), local=True)


def _invalid(collector: Collector, text: bytes, path: str, error: Exception) -> None:
    hint = "if this is NDJSON, name the file .ndjson" if b"}\n{" in text[:1_000_000] else None
    collector.collected.problems.append(Problem(file=path, code="invalid-json", message=told(error), hint=hint))
