"""Who a record is about: what the value of an element for a patient says, and the names by which patients are known otherwise than by their id.

One rule for every way of reading. A reference that is well-formed names a patient, whether a Patient resource describes them or not. One that is spelled otherwise, and a
name that is no id - a urn, an identifier, a search for one -, means a patient whom the data holds: exactly one, or it means nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

from fhir_eligibility.artifacts.references import Meaning, Odd, meaning_of, plain_id, urn_of_id
from fhir_eligibility.data.records.identity import address_of, id_of, pair_of

Resource = dict[str, Any]
NAMES_OF_ID = ("_id", "_id:exact")


class Asked(Struct, frozen=True):
    """What a value asks for: a patient by an address (`address`) or by another `name`; neither where it means none.

    `shown` is the value as it is written, `failure` why it means nobody at all. `certain` tells that it can mean a patient only.
    """

    shown: str
    address: Meaning | None = None
    name: str | None = None
    odd: Odd | None = None
    failure: str | None = None
    certain: bool = False

    @property
    def firm(self) -> bool:
        """Whether it is a well-formed reference to a Patient, which names one whether the data holds them or not."""
        return self.address is not None and self.address.firm and self.odd == self.address.odd

    @property
    def urn(self) -> bool:
        """Whether it is a urn, which means something in its own bundle as a rule."""
        return self.name is not None and self.name.startswith("urn:")

    @property
    def elsewhere(self) -> bool:
        """Whether it refers to something that is no patient."""
        return self.address is None and self.name is None and self.failure is None

    @property
    def group(self) -> str | None:
        """What the ids of all patients have in common that the address may mean."""
        return plain_id(self.address.id) if self.address is not None else None


def asked_of(value: Any) -> Asked | None:
    """What a value of an element for a patient asks for; None where it refers to nothing."""
    odd: Odd | None = None
    if value.__class__ is not dict:
        if value.__class__ is not str or not value.strip():
            return None
        value, odd = {"reference": value}, "no-text"
    text = value.get("reference")
    if text.__class__ is int:
        text, odd = str(text), "no-text"
    pair = pair_of(value.get("identifier"))
    if text.__class__ is str and text.strip():
        found = _of_text(text, value.get("type") == "Patient")
        id_alone = found.address is not None and found.address.form == "bare"
        if pair is None or not (found.failure is not None or (id_alone and pair[0] is not None)):
            return found if odd is None else _replaced(found, odd)
    elif text is not None and text.__class__ is not str and pair is None:
        return Asked(f"{text!r:.80}", failure="is not a text")
    if pair is None:
        if value.get("identifier") is None:
            return None
        return Asked(f"{value['identifier']!r:.80}", failure="is an identifier without a value")
    kind = value.get("type")
    if kind.__class__ is str and kind.rpartition("/")[2] not in ("Patient", ""):
        return Asked(shown_pair(pair))
    return Asked(f"the identifier {shown_pair(pair)}", name=_name(*pair), certain=kind is not None)


def _replaced(found: Asked, odd: Odd) -> Asked:
    return Asked(found.shown, found.address, found.name, odd, found.failure, found.certain)


@lru_cache(maxsize=8192)
def _of_text(text: str, of_patient: bool) -> Asked:
    found = meaning_of(text)
    shown = repr(text) if len(text) <= 200 else f"{text[:200]!r}..."
    match found.form:
        case "address":
            certain = found.kind == "Patient"
            return Asked(shown, found, odd=found.odd, certain=True) if certain else Asked(shown)
        case "bare":
            return Asked(shown, found, odd=found.odd, certain=of_patient)
        case "urn" | "uri":
            return Asked(shown, name=found.id, odd=found.odd, certain=of_patient)
        case "search":
            return _of_search(found, shown) if found.kind == "Patient" else Asked(shown)
        case "contained":
            return Asked(shown, failure="is a resource that the record contains, which is nobody among the patients")
        case _:
            return Asked(shown, failure="cannot be read as a reference", certain=of_patient)


def _of_search(found: Meaning, shown: str) -> Asked:
    """What a search for Patients asks for (FHIR R4: search.html#token)."""
    parameters = [part.partition("=") for part in found.id.split("&") if part]
    if len(parameters) == 1:
        ((key, _, value),) = parameters
        key, value = unquote(key), unquote(value)
        if key in NAMES_OF_ID and value and "," not in value:
            return Asked(shown, Meaning("address", value, "Patient"), odd="id-search", certain=True)
        parts = [re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\)\|", value)]
        if key == "identifier" and parts[-1] and len(parts) <= 2 and not re.search(r"(?<!\\),", value):
            name = _name(parts[0] or None, parts[1]) if len(parts) == 2 else _any_system(parts[0])
            return Asked(shown, name=name, certain=True)
    return Asked(
        shown, failure="is a search that cannot be answered here; only one for an identifier can", certain=True
    )


def condition_of(method: Any, url: Any, if_none_exist: Any) -> str | None:
    """What is searched for before a Patient is created or changed, by the request of its entry (FHIR R4: http.html#ccreate, #cond-update): a name, None for none.

    A search for anything else than an identifier is a name of its own: who asks the same means the same.
    """
    if method == "POST" and if_none_exist.__class__ is str and if_none_exist.strip():
        query = if_none_exist.strip().rpartition("?")[2]
    elif method in ("PUT", "PATCH") and url.__class__ is str and "?" in url:
        query = url.partition("?")[2]
    else:
        return None
    asked = _of_text(f"Patient?{query}", True)
    return asked.name if asked.name is not None else f"search\0{'&'.join(sorted(query.split('&')))}"


def names_nobody(values: Iterable[Any]) -> bool:
    """Whether none of the values of elements for a patient refers to anything."""
    return all(asked_of(value) is None for value in values)


def names_no_patient(values: Iterable[Any]) -> bool:
    """Whether none of the values of elements that may name a patient does: they refer to nothing, or to resources of other types."""
    return all(asked is None or asked.elsewhere for asked in map(asked_of, values))


def shown_pair(pair: tuple[str | None, str]) -> str:
    """An identifier as people read it."""
    return f"{pair[0]}|{pair[1]}" if pair[0] is not None else f"{pair[1]!r} without a system"


def _name(system: str | None, value: str) -> str:
    return f"identifier\0{system or ''}\0{value}"


def _any_system(value: str) -> str:
    return f"identifier\0{value}"


def names_of(patient: Resource, full_url: str | None) -> Iterator[tuple[str, bool]]:
    """The names of a Patient besides its id, each with whether it counts only where nothing else bears it."""
    address = address_of(full_url)
    if address is not None:
        yield address, False
    identifier = id_of(patient)
    urn = urn_of_id(identifier) if identifier is not None else None
    if urn is not None and urn != address:
        yield urn, True
    listed = patient.get("identifier")
    for item in listed if listed.__class__ is list else ():
        pair = pair_of(item)
        if pair is not None:
            yield _name(*pair), False
            yield _any_system(pair[1]), False


class Names:
    """Which patients, by any key, bear which names."""

    def __init__(self) -> None:
        self._keys: dict[str, dict[str, bool]] = {}

    def add(self, name: str, key: str, last: bool) -> None:
        """Note that a patient bears a name; with `last` it counts only where nothing else bears it."""
        held = self._keys.setdefault(name, {})
        held[key] = held.get(key, True) and last

    def keys(self, name: str) -> list[str]:
        """The patients with a name."""
        held = self._keys.get(name, {})
        return [key for key, last in held.items() if not last] or list(held)
