"""Files that hold one JSON document each - a bundle, as a rule of one patient -: entries are split off without decoding them."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from engine.artifacts.references import RESTFUL
from engine.data.bulk.collecting import BEGINNING, Collector
from engine.data.bulk.decoding import Head, whole
from engine.data.bulk.scanning import offer_all
from engine.data.problems import Problem


class _Request(msgspec.Struct, gc=False):
    method: str | None = None


class _Entry(msgspec.Struct, gc=False):
    resource: msgspec.Raw = msgspec.Raw(b"")
    fullUrl: str | None = None
    request: _Request | None = None


class _Bundle(msgspec.Struct, gc=False):
    resourceType: str | None = None
    entry: list[_Entry] | None = None


_bundle = msgspec.json.Decoder(_Bundle)
_head = msgspec.json.Decoder(Head)
_KIND = re.compile(BEGINNING % b"([A-Za-z]+)")


def read_document(collector: Collector, text: bytes, file: int, path: str) -> None:
    """Read a file of one document into a collector. What cannot be read is a problem."""
    if text.startswith(b"\xef\xbb\xbf"):
        text = text[3:]
    try:
        bundle = _bundle.decode(text)
        entries = bundle.entry if bundle.resourceType == "Bundle" else None
    except msgspec.ValidationError:
        entries = None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        _invalid(collector, text, path, str(error) or "nested too deeply")
        return
    split = _split(entries) if entries is not None else None
    if split is None or entries is None:
        try:
            data: Any = whole(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            _invalid(collector, text, path, str(error) or "nested too deeply")
            return
        offer_all(collector, data, file, 0, path)
        return
    patient = _patient(split, entries)
    for index, (kind, raw) in enumerate(split):
        collector.offer(kind, raw, file, 0, index, entries[index].fullUrl, path, patient)


def _split(entries: list[_Entry]) -> list[tuple[str, bytes]] | None:
    """Type and text of every entry; None where some entry is no plain resource and the document has to be looked at closely."""
    out = []
    for entry in entries:
        raw = bytes(entry.resource)
        if not raw or entry.request is not None and entry.request.method == "DELETE":
            return None
        match = _KIND.match(raw)
        if match is not None:
            kind = match[1].decode()
        else:
            try:
                named = _head.decode(raw).resourceType
            except msgspec.ValidationError:
                return None
            if named is None:
                return None
            kind = named
        if kind in ("Bundle", "Parameters"):
            return None
        out.append((kind, raw))
    return out


def _patient(split: list[tuple[str, bytes]], entries: list[_Entry]) -> tuple[str, str] | None:
    """The urn and the logical id of the one Patient of a bundle, where it is known by a urn."""
    found: tuple[str, str] | None = None
    for (kind, raw), entry in zip(split, entries, strict=True):
        if kind != "Patient":
            continue
        if found is not None or entry.fullUrl is None or RESTFUL.fullmatch(entry.fullUrl) is not None:
            return None
        identifier = _head.decode(raw).id
        found = entry.fullUrl, identifier if identifier else entry.fullUrl
    return found


def _invalid(collector: Collector, text: bytes, path: str, why: str) -> None:
    hint = "if this is NDJSON, name the file .ndjson" if b"}\n{" in text[:1_000_000] else None
    collector.collected.problems.append(
        Problem(file=path, code="invalid-json", message=f"not valid JSON: {why}", hint=hint)
    )
