"""Patients whose names do not tell them apart: those without any, known by their place in the data, and those of different ids that bear one urn."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.records.identity import on_a_server
from fhir_eligibility.data.records.sources import Loaded

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
    """The keys of Patients by the urns and ids that they have. A urn that Patients of several ids bear - bundles written from one pattern - is that of several patients."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._kinds: dict[str, str] = {}

    def address(self, address: str | None, kind: str) -> str | None:
        """The address of a resource of a type; with the type, where one of another type bore it first."""
        if address is None or self._kinds.setdefault(address, kind) == kind:
            return address
        return f"{address}#{kind}"

    def key(self, address: str, identifier: str) -> str:
        """The address, of whoever bore it first; of others with the id."""
        if on_a_server(address) or self._first.setdefault(address, identifier) == identifier:
            return address
        return f"{address}#{identifier}"
