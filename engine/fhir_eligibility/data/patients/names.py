"""Patients whose names do not tell them apart: those without any, known by their place in the data, and resources of different ids that bear one urn."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any

import msgspec

from fhir_eligibility.artifacts.references import plain_id
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.identity import address_of, id_of, on_a_server, text_of_id
from fhir_eligibility.data.records.sources import Loaded
from fhir_eligibility.data.records.subjects import asked_of

Resource = dict[str, Any]
CODE = "patient-without-id"
_HINT = "records that are to count for this patient need its id in their subject (or patient) element, so give it one"
_written = msgspec.json.Encoder(decimal_format="number", order="sorted", enc_hook=repr).encode


class UnnamedPatients:
    """The keys of Patients that have neither an id nor an address; each is reported once."""

    def __init__(self, on_problem: Callable[[Problem], None]) -> None:
        self._on_problem = on_problem
        # the resource is held, so that nothing else can have its identity
        self._known: dict[int, tuple[Resource, str]] = {}

    def key(self, loaded: Loaded) -> str:
        """The key of one, by where it stands and what it says: the same in every run over the same data."""
        resource = loaded.resource
        assert resource is not None
        known = self._known.get(id(resource))
        if known is not None:
            return known[1]
        place = f"{loaded.file}\n{loaded.offset or 0}\n{loaded.entry}\n{loaded.home // 2}\n"
        digest = sha256(place.encode("utf-8", "surrogatepass") + _written(resource))
        key = f"Patient/no-id-{digest.hexdigest()[:16]}"
        self._known[id(resource)] = resource, key
        has = "has no id" if resource.get("id") is None else "has an id that is not a text with characters in it"
        where = {"file": loaded.file, "line": loaded.line, "offset": loaded.offset, "entry": loaded.entry}
        message = f"the Patient {has}; it is called {key}"
        self._on_problem(Problem(**where, resource=key, code=CODE, severity="warning", message=message, hint=_HINT))
        return key


class SharedUrns:
    """The keys of resources by the urns that they have. A urn that resources of several ids or types bear - bundles written from one pattern - is that of several things.

    Of resources without an id those are several that are about different patients.
    """

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, str]] = {}
        self._others: dict[str, dict[tuple[str, str], str]] = {}

    def key(self, address: str, kind: str, identity: str) -> str:
        """The address, of whatever bore it first; of other things with their type, or with their `identity`: the id, or whose it is."""
        if on_a_server(address):
            return address
        thing = kind, identity
        first = self._first.setdefault(address, thing)
        if first == thing:
            return address
        others = self._others.setdefault(address, {})
        return others.setdefault(thing, f"{address}#{identity if first[0] == kind else f'{kind}/{identity}'}")

    def keys(self, address: str) -> list[str]:
        """The keys of all things that bear a urn which several bear."""
        others = self._others.get(address)
        return [address, *others.values()] if others is not None else []


def name_at(loaded: Loaded | None, key: str) -> str:
    """What a patient is called whose `Patient/id` another bears, too: at a urn by that and the id, whatever else is at hand, elsewhere by the key."""
    identifier = id_of(loaded.resource) if loaded is not None and loaded.resource is not None else None
    address = address_of(loaded.full_url) if loaded is not None else None
    return key if identifier is None or address is None or on_a_server(address) else f"{address}#{identifier}"


def owner_of(loaded: Loaded, values: Iterable[Any]) -> str:
    """Whose a resource without an id is, to tell it apart from others at its urn; `values` are those of its elements for a patient."""
    if loaded.group is not None:
        return f" {loaded.group}"
    asked = next((one for one in map(asked_of, values) if one is not None), None)
    if asked is not None and asked.address is not None:
        return f" {plain_id(asked.address.id)}"
    here = [one for one in loaded.patients if asked is None or address_of(one.full_url) == asked.name]
    if asked is None and len(here) != 1:
        return ""
    known = text_of_id(here[0].id) if here else None
    group = plain_id(known) if known is not None else asked.name if asked is not None else None
    return f" {group or ''}"
