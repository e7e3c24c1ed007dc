"""Patients known otherwise than by an id: by identifiers that records name, and, where nothing names one, by the place in the data."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec

from engine.data.identity import pair_of
from engine.data.problems import Problem
from engine.data.sources import Loaded, dicts_in

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
        has = "has no id" if resource.get("id") is None else "has an id that is no text with characters in it"
        where = {"file": loaded.file, "line": loaded.line, "offset": loaded.offset, "entry": loaded.entry}
        message = f"the Patient {has}; it is called {key}"
        self._on_problem(Problem(**where, resource=key, code=CODE, severity="warning", message=message, hint=_HINT))
        return key


class Identifiers:
    """Which patients have which identifiers."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str | None, str], list[str]] = {}

    def add(self, patient: Resource, key: str) -> None:
        """Take in the identifiers of a Patient."""
        for pair in map(pair_of, dicts_in(patient.get("identifier"))):
            if pair is not None:
                self._keys.setdefault(pair, []).append(key)
                self._keys.setdefault((None, pair[1]), []).append(key)

    def key(self, identifier: tuple[str | None, str]) -> tuple[str | None, str | None]:
        """The key of the one patient with an identifier; or none, and why."""
        system, value = identifier
        found = list(dict.fromkeys(self._keys.get(identifier, [])))
        if system is not None and len(found) == 1:
            return found[0], None
        if system is None:
            return None, f"the subject is given by the identifier {value!r} without a system; it is not linked"
        if found:
            return None, f"the identifier {system}|{value} belongs to {len(found)} patients; it is not linked"
        return None, f"no patient has the identifier {system}|{value}; it is not linked"
