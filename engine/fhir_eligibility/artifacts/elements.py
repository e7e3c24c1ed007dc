"""What artifacts of criteria may hold, by version of FHIR: the table `models/criteria.json` (R4, R4B, R5 and the ballots of R6) as slots by JSON name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from importlib import resources

import msgspec
from msgspec import Struct, field

from fhir_eligibility.artifacts import models
from fhir_eligibility.artifacts.models import ElementDef, Model, Table, Types, load_model

_TABLED = ("r5", "r4b", "r4", "r6")
# In the order in which they are tried: those that the table has, and further ones by their models.
VERSIONS = (*_TABLED, *(version for version in models.versions_at_hand() if version not in _TABLED))


class ArtifactTable(Struct):
    """One version in the table: the types that artifacts can hold, the codes of required bindings, the names of all resource types."""

    types: Types
    codes: dict[str, list[str]]
    resources: list[str]


class Definitions(Struct, frozen=True):
    """One version: its types, the codes of required bindings by element, the names of all resource types."""

    model: Model
    codes: dict[str, frozenset[str]]
    resource_types: tuple[str, ...]
    _slots: dict[str, dict[str, Slot]] = field(default_factory=dict)

    def slots(self, type_name: str) -> dict[str, Slot]:
        """The JSON names of a type, with what may stand there."""
        found = self._slots.get(type_name)
        if found is None:
            found = self._slots[type_name] = dict(_slots_of(self, type_name))
        return found


class Slot(Struct, frozen=True):
    """What may stand under a JSON name: values of a type, one or a list. `plain` is the Python type of a primitive, `codes` those that it may have."""

    kind: str
    many: bool
    plain: tuple[type, ...] | None
    codes: frozenset[str] | None = None
    companion: bool = False
    choice: str | None = None


@lru_cache(maxsize=1)
def _table() -> dict[str, ArtifactTable]:
    text = resources.files("fhir_eligibility.artifacts.models").joinpath("criteria.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, ArtifactTable])


@lru_cache(maxsize=8)
def definitions(version: str) -> Definitions:
    """What artifacts may hold in one of VERSIONS: by the table, or by the version's model, which tells no codes of bindings."""
    table = _table().get(version)
    if table is None:
        whole = load_model(version)
        return Definitions(whole, {}, tuple(sorted(whole.resource_types)))
    codes = {path: frozenset(values) for path, values in table.codes.items()}
    return Definitions(Model(Table(version, version, table.types)), codes, tuple(table.resources))


def json_names(known: Definitions, type_name: str) -> tuple[str, ...]:
    """All names that an object of a type may have in JSON, without those for extensions of primitives."""
    return tuple(name for name, slot in known.slots(type_name).items() if not slot.companion)


TEXT = (str,)
PLAIN: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "positiveInt": (int,),
    "unsignedInt": (int,),
    "decimal": (int, Decimal, float),
}
_DAY = r"[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
_ZONE = r"(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
PATTERNS = {
    "date": re.compile(_DAY),
    "dateTime": re.compile(rf"{_DAY}(T([01][0-9]|2[0-3]):[0-5][0-9](:([0-5][0-9]|60)(\.[0-9]+)?)?{_ZONE}?)?"),
    "instant": re.compile(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}{_ZONE}"),
    "time": re.compile(_CLOCK),
}


def _slots_of(known: Definitions, type_name: str) -> Iterator[tuple[str, Slot]]:
    for element in known.model.elements(type_name).values():
        choice = element.name if element.choice else None
        for name, kind in element.json_names:
            if choice is None and len(element.types) > 1:  # ballots differ in its type
                yield name, Slot("any", element.many, None)
                continue
            primitive = known.model.has_type(kind) and known.model.kind(kind) == "primitive"
            if not primitive:
                yield name, Slot(kind, element.many, None, choice=choice)
                continue
            codes = known.codes.get(f"{type_name}.{element.name}") or _inherited(known, type_name, element)
            yield name, Slot(kind, element.many, PLAIN.get(kind, TEXT), codes, choice=choice)
            yield f"_{name}", Slot("Element", element.many, None, companion=True)


def _inherited(known: Definitions, type_name: str, element: ElementDef) -> frozenset[str] | None:
    """The codes that a base type gives an element."""
    base = known.model.base(type_name)
    return None if base is None else known.codes.get(f"{base}.{element.name}") or _inherited(known, base, element)


@lru_cache(maxsize=1)
def all_resource_types() -> frozenset[str]:
    """The resource types of all versions."""
    return frozenset(name for version in VERSIONS for name in definitions(version).resource_types)
