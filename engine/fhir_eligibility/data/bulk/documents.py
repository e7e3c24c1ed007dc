"""Files that hold one JSON document each - a bundle, as a rule of one patient -: entries are split off without decoding them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Any

import msgspec
import stringzilla as sz
from msgspec import Struct, field
from stringzilla import contains

from fhir_eligibility.data.bulk.bundle_patients import BundlePatients
from fhir_eligibility.data.bulk.collecting import BEGINNING, THEN_ID, Collector, TypeReader
from fhir_eligibility.data.bulk.decoding import Head
from fhir_eligibility.data.bulk.needles import ESCAPE
from fhir_eligibility.data.files.json_text import BAD_JSON, check_encoding, whole
from fhir_eligibility.data.files.kinds import BOM
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.bundle_shape import BUNDLE_MEMBERS, ENTRY_MEMBERS, PatientEntry
from fhir_eligibility.data.records.identity import NO_HOME, home_of, is_of_another_type
from fhir_eligibility.data.records.marks import marks_in, may_be_marked
from fhir_eligibility.data.records.members import dict_of
from fhir_eligibility.data.records.pages import page_of
from fhir_eligibility.data.records.parts import parts_of
from fhir_eligibility.data.records.record_shape import (
    DAMAGED,
    DAMAGED_HINT,
    TWICE,
    TYPE,
    holds_doubles,
    of_any_type,
    states_another_type,
    type_twice,
    with_doubles,
)
from fhir_eligibility.data.records.remains import remains_of
from fhir_eligibility.data.records.sources import Loaded, unpack
from fhir_eligibility.data.records.subjects import condition_of


class _Request(msgspec.Struct, gc=False):
    method: str | None = None
    url: Any = None
    ifNoneExist: Any = None


class _Entry(msgspec.Struct, gc=False):
    resource: msgspec.Raw = msgspec.Raw(b"")
    fullUrl: str | None = None
    request: _Request | None = None


class _PlainEntry(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """An entry that holds a resource and nothing that says more of it than where it is from: no request, no answer of a server, no modifier."""

    resource: msgspec.Raw = msgspec.Raw(b"")
    fullUrl: str | None = None
    search: msgspec.Raw = msgspec.Raw(b"")
    link: msgspec.Raw = msgspec.Raw(b"")


class _PlainBundle(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A bundle of such entries without modifiers of its own: nothing is deleted or patched by it, created under a condition, or told of errors."""

    resourceType: str | None = None
    type: Any = None
    entry: list[_PlainEntry] | None = None
    id: msgspec.Raw = msgspec.Raw(b"")
    meta: msgspec.Raw = msgspec.Raw(b"")
    identifier: msgspec.Raw = msgspec.Raw(b"")
    timestamp: msgspec.Raw = msgspec.Raw(b"")
    total: msgspec.Raw = msgspec.Raw(b"")
    link: msgspec.Raw = msgspec.Raw(b"")


_ABSENT = msgspec.Raw(b"")


def _bundle_of(entry: type) -> type:
    """A bundle with such entries, and no member besides those that the standard has: a misspelt name could hide all that it holds."""
    others = [(name, msgspec.Raw, _ABSENT) for name in sorted(BUNDLE_MEMBERS - {"resourceType", "type", "entry"})]
    fields = [("resourceType", str | None, None), ("type", Any, None), ("entry", list[entry] | None, None)]  # type: ignore[valid-type]
    return msgspec.defstruct("Bundle", [*fields, *others], gc=False, forbid_unknown_fields=True)


def _entry_of(request: Any, absent: Any) -> type:
    others = [
        (name, msgspec.Raw, _ABSENT) for name in sorted(ENTRY_MEMBERS - {"resource", "fullUrl", "request", "_fullUrl"})
    ]
    fields = [("resource", msgspec.Raw, _ABSENT), ("fullUrl", str | None, None), ("request", request, absent)]
    return msgspec.defstruct("Entry", [*fields, *others], gc=False, forbid_unknown_fields=True)


_plain = msgspec.json.Decoder(_PlainBundle)
_bundle: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_bundle_of(_entry_of(msgspec.Raw, _ABSENT)))
_transaction: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_bundle_of(_entry_of(_Request | None, None)))
_head = msgspec.json.Decoder(Head)
_KIND = re.compile(BEGINNING % b"([A-Za-z]+)")
_BEGINS_WITH_ID = re.compile(BEGINNING % b"[A-Za-z]+" + rb'\s*,\s*"id"\s*:\s*"')
_NAME = re.compile(rb"[A-Za-z]+")
# how a resource begins as most programs write it
_USUAL = b'{"resourceType":"'
_AT = len(_USUAL)
_THEN = len(THEN_ID)
_number = itemgetter(0)
_links = msgspec.json.Decoder()
_encode = msgspec.json.Encoder(decimal_format="number").encode


def read_document(
    collector: Collector, text: bytes, file: int, path: str, offset: int = 0, *, several: bool = False
) -> Exception | None:
    """Read one document, which stands at an offset of a file, into a collector; gives why it is none, having done nothing, where it is none.

    `several` tells that it is one of several lines or values of its file.
    """
    if text.startswith(BOM):
        text = text[len(BOM) :]
    parts = parts_of(path)
    if parts is not None:
        text = parts.marked(text)
    bundle: Any = None
    try:
        check_encoding(text)
        # decoding the bundle proves that all of the text is whole, entries that are not looked at among it
        bundle = _bundle_in(text)
    except msgspec.ValidationError:
        pass  # no bundle of the usual shape: it is decoded whole below
    except BAD_JSON as error:
        return error
    if (
        bundle is not None
        and bundle.entry is not None
        and not collector.validate
        and _entries(collector, bundle.entry, bundle.type, sz.count(text, TYPE), file, path, offset)
    ):
        if bytes(bundle.link) or bytes(bundle.total):
            links, total = (_links.decode(bytes(raw) or b"null") for raw in (bundle.link, bundle.total))
            page = page_of(bundle.type, links, map(_entry_of_page, bundle.entry), total)
            if page is not None:
                collector.collected.pages.append(msgspec.structs.replace(page, file=path, offset=offset))
        return None
    try:
        data: Any = whole(text)
    except BAD_JSON as error:
        return error
    if holds_doubles(text, data):
        data = with_doubles(text, data)
    offer_all(collector, data, file, offset, path, several=several)
    return None


def _entry_of_page(entry: Any) -> tuple[str, Any, str]:
    """The type of the resource of an entry, why it is in the bundle, and what it is called there."""
    match = _KIND.match(entry.resource)
    kind = match[1].decode() if match is not None else ""
    called = entry.fullUrl or dict_of(_links.decode(bytes(entry.resource) or b"null")).get("id")
    return kind, dict_of(_links.decode(bytes(entry.search) or b"null")).get("mode"), str(called)


def _bundle_in(text: bytes) -> Any:
    """The bundle that a text is; None where its entries have to be looked at together, as those of a history, or closely. Raises BAD_JSON."""
    bundle: Any
    try:
        bundle = _plain.decode(text)
    except msgspec.ValidationError:
        pass  # entries that say more: of most bundles the first does, and no more than that was decoded
    else:
        return bundle if bundle.resourceType == "Bundle" and bundle.type != "history" else None
    # deletions, patches, and what a server says of errors, are looked at closely
    errors = contains(text, b"OperationOutcome")
    closely = errors or contains(text, ESCAPE) or contains(text, b"DELETE") or contains(text, b'"PATCH"')
    # and what is only created or changed if a search finds it, or does not
    closely = closely or contains(text, b"ifNoneExist") or contains(text, b"Patient?")
    closely = closely or contains(text, b'"PUT"')
    bundle = (_transaction if closely else _bundle).decode(text)
    if bundle.resourceType != "Bundle" or bundle.type == "history" or errors:
        return None
    if may_be_marked(text) and _is_modified(bundle):
        return None
    requests = [one.request for one in bundle.entry or ()] if closely else []
    if any(request is not None and request.method in ("DELETE", "PATCH") for request in requests):
        return None
    if any(request is not None and request.method == "PUT" for request in requests) and _lacks_ids(bundle.entry):
        return None
    return bundle


def _lacks_ids(entries: Sequence[Any]) -> bool:
    """Whether some resource that is written under an id has none itself."""
    for entry in entries:
        if (
            entry.request is not None
            and entry.request.method == "PUT"
            and _BEGINS_WITH_ID.match(entry.resource) is None
        ):
            try:
                if _head.decode(entry.resource).id is None:
                    return True
            except (msgspec.DecodeError, RecursionError):
                return True
    return False


def _is_modified(bundle: Any) -> bool:
    """Whether a bundle, or an entry of it, has modifiers that hold for resources in it."""
    if bytes(bundle.implicitRules) or bytes(bundle._implicitRules):
        return True
    return any(bytes(entry.modifierExtension) for entry in bundle.entry or ())


def offer_all(collector: Collector, data: Any, file: int, offset: int, path: str, *, several: bool = False) -> None:
    """Give a collector every resource of something decoded: bundles, arrays and Parameters opened."""

    def report(problem: Problem) -> None:
        found = problem.model_copy(update={"offset": offset})
        if several and found.code == "not-a-resource":
            found = found.model_copy(update={"severity": "error"})
        (collector.collected.problems.append if collector.others is None else collector.others.add)(found)

    known: tuple[object, BundlePatients | None] = None, None
    for loaded in unpack(data, path, report, None, several=several):
        if loaded.patients is not known[0]:
            known = loaded.patients, BundlePatients.of(loaded.patients, loaded.home, (file, offset))
            collector.collected.note_bundle(len(loaded.patients), loaded.home)
        offer_loaded(collector, loaded, file, offset, path, known[1])


def offer_loaded(
    collector: Collector, loaded: Loaded, file: int, offset: int, path: str, patients: BundlePatients | None
) -> None:
    """Give a collector one resource that was decoded; `patients` are those of its bundle."""
    entry = loaded.entry if loaded.entry is not None else -1
    if loaded.page is not None:
        collector.collected.pages.append(msgspec.structs.replace(loaded.page, file=path, offset=offset))
        return
    if loaded.deletion is not None:
        collector.collected.deleted.append(
            msgspec.structs.replace(loaded.deletion, file=path, offset=offset, entry=loaded.entry)
        )
    if loaded.resource is None:
        collector.collected.empty += loaded.deletion is None
        return
    kind = loaded.resource["resourceType"]
    if loaded.superseded:
        collector.collected.passed[kind] += 1
        return
    if "resourceType" in loaded.resource.get(TWICE, ()):
        about = of_any_type(remains_of(loaded.resource).named())
        collector.problem(path, offset, entry, DAMAGED, type_twice(kind), hint=DAMAGED_HINT, **about)
        return
    collector.offer(kind, _encode(loaded.resource), file, offset, entry, loaded.full_url, path, patients)


class _Sorted(Struct):
    """Entries of a bundle: those to keep, by their number, and what is noted of the others."""

    kept: list[tuple[int, TypeReader]] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    seen: dict[str, list[bytes]] = field(default_factory=dict)
    look: bool = False
    """Whether some that are kept may be marked."""

    def take(self, reader: TypeReader, numbers: Sequence[int], texts: Sequence[bytes], begins: int | None) -> None:
        """Sort those of one type that some criterion may read: the name of the type stands in their texts at `begins`, None where that differs.

        Their texts are searched together, one a line, as lines of NDJSON are.
        """
        some = [texts[number] for number in numbers]
        together = b"\n".join(some) if len(some) > 1 else some[0]
        marked = may_be_marked(together)
        self.look = self.look or marked
        needles = reader.needles
        if needles is None:
            self.kept.extend([(number, reader) for number in numbers])
            return
        found = [*needles.starts(together), *(marks_in(together) if marked else ())]
        matter: set[int] = set()
        if found:
            ends = [*accumulate([len(text) + 1 for text in some])]
            matter.update(bisect_right(ends, at) for at in found)
        ids = _ids_in(some, begins + reader.id_at if begins is not None else 0)
        if ids is None:
            found_ids = [reader.identifier(text) for text in some]
            matter.update(place for place, one in enumerate(found_ids) if one is None)
            ids = [one or b"" for one in found_ids]
        passed = ids if not matter else [one for place, one in enumerate(ids) if place not in matter]
        self.kept.extend([(numbers[place], reader) for place in matter])
        if passed:
            self.passed[reader.kind] += len(passed)
            self.seen.setdefault(reader.kind, []).extend(passed)


def _ids_in(texts: Sequence[bytes], at: int) -> list[bytes] | None:
    """The ids of resources, where in each text one stands at a place (0: that is not known); None where one stands elsewhere, or is written otherwise."""
    if not at or [text[at - _THEN : at] for text in texts].count(THEN_ID) < len(texts):
        return None
    ids = [text[at : text.find(b'"', at)] for text in texts]
    return None if b"" in ids or b"\\" in b"".join(ids) else ids


def _reader(collector: Collector, name: bytes) -> TypeReader | None:
    """How resources of a type are looked at that were not met before; None where that is not the name of a type."""
    return collector.named(name) if _NAME.fullmatch(name) is not None else None


def _condition(entry: _Entry | _PlainEntry) -> str | None:
    """What is searched for before a Patient of an entry is created or changed, None where nothing is."""
    # where no entry of the bundle may say so, requests were not decoded
    request: Any = None if isinstance(entry, _PlainEntry) else entry.request
    return condition_of(request.method, request.url, request.ifNoneExist) if request.__class__ is _Request else None


def _are_misnamed(urls: Sequence[str | None], kinds: Sequence[bytes]) -> bool:
    """Whether two entries of a bundle may be called alike, or one is called by the address of a resource of another type; the types are those of the resources."""
    if len(set(urls)) < len(urls) and len(set(filter(None, urls))) < len([*filter(None, urls)]):
        return True
    # entries of one type stand, as a rule, below one address: few such pairs are to be looked at, and no entry closely
    above = [url.rpartition("/")[0] if url is not None else None for url in urls]
    if all(url is None or url.endswith(f"/{kind.decode()}") for url, kind in set(zip(above, kinds, strict=True))):
        return False
    return any(
        url is not None and is_of_another_type(url, kind.decode()) for url, kind in zip(urls, kinds, strict=True)
    )


def _entries(
    collector: Collector,
    entries: Sequence[_Entry | _PlainEntry],
    bundle_type: Any,
    types: int,
    file: int,
    path: str,
    offset: int,
) -> bool:
    """Give a collector the entries of a bundle; False, having done nothing, where one is no plain resource and has to be looked at closely.

    `types` tells how many types of resources the text of the bundle names.
    """
    texts = [bytes(entry.resource) for entry in entries]
    names = _names_in(texts)
    begins = _AT if names is not None else None
    if names is None:
        names = _names_anywhere(texts)
    if names is None:
        return False
    urls = [entry.fullUrl for entry in entries]
    if _are_misnamed(urls, names):
        return False
    out = _Sorted()
    wanted: dict[bytes, tuple[TypeReader, list[int]]] = {}
    for name, number in Counter(names).items():
        reader = collector.known(name) or _reader(collector, name)
        if reader is None or reader.container or not reader.known:
            return False
        if reader.unread:
            out.passed[reader.kind] += number
        else:
            wanted[name] = reader, []
    if types > len(entries) + 1 and any(map(states_another_type, map(bytes.decode, names), texts)):
        return False
    for number, name in enumerate(names):
        if name in wanted:
            wanted[name][1].append(number)
    for reader, numbers in wanted.values():
        out.take(reader, numbers, texts, begins)
    out.kept.sort(key=_number)
    collector.look = out.look
    collector.pass_over(out.passed, out.seen.items())
    patients: list[PatientEntry] = []
    for index, reader in out.kept:
        if reader.kind == "Patient":
            try:
                identifier = _head.decode(entries[index].resource).id
            except msgspec.ValidationError:
                identifier = None
            patients.append(PatientEntry(index, entries[index].fullUrl, identifier, _condition(entries[index])))
    home = home_of(0, bundle_type) if len(patients) == 1 else NO_HOME
    collector.collected.note_bundle(len(patients), home)
    together = BundlePatients.of(patients, home, (file, offset))
    for index, reader in out.kept:
        entry = entries[index]
        collector.keep(reader, texts[index], file, offset, index, entry.fullUrl, path, patients=together)
    return True


def _names_in(texts: Sequence[bytes]) -> list[bytes] | None:
    """The types of resources, as they stand at the beginning of each text, where most programs write them; None where one stands elsewhere."""
    if [text[:_AT] for text in texts].count(_USUAL) < len(texts):
        return None
    return [text[_AT : text.find(b'"', _AT)] for text in texts]


def _names_anywhere(texts: Sequence[bytes]) -> list[bytes] | None:
    """The types of resources; None where one does not stand first, or is written otherwise."""
    found = [_KIND.match(text) for text in texts]
    return None if None in found else [match[1] for match in found if match is not None]
