"""The FHIR models R4, R4B and R5: types, elements, cardinality, choices, base types, patient compartment, reference targets.

The tables beside this file are generated from the official definitions (`generate.py`) and loaded when a version is first asked
for.

May not know: any resource of a patient, and what criteria make of an element.
Start with this file; `modelinfo.py` reads the data models of CQL, `differences.py` tells what a version has that another has not.
"""

from __future__ import annotations

import difflib
import re
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

import msgspec
from msgspec import Struct

__all__ = ["VERSIONS", "ElementDef", "Model", "Version", "load_model", "versions_at_hand"]


class Version(Struct, frozen=True):
    """A version of FHIR: its number, whether its records are written as in R4 or as in R5, and other numbers that mean it."""

    number: str
    family: Literal["R4", "R5"]
    others: tuple[str, ...] = ()


# Each has its table beside this file, by its name here. Whoever needs to know what a version has asks its model, not its name.
VERSIONS: dict[str, Version] = {
    "r4": Version("4.0.1", "R4", ("4.0", "4.0.0")),
    "r4b": Version("4.3.0", "R4", ("4.3", "4.1", "4.1.0")),
    "r5": Version("5.0.0", "R5", ("5.0",)),
}

# Elements that authors write and the model names otherwise: (type, name) -> names that may be meant.
_KNOWN_CONFUSIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("Procedure", "date"): ("performed", "occurrence"),
    ("Procedure", "performed"): ("occurrence",),
    ("Procedure", "occurrence"): ("performed",),
    ("Observation", "date"): ("effective",),
    ("Condition", "date"): ("onset", "recordedDate"),
    ("ImagingStudy", "date"): ("started",),
    ("Encounter", "date"): ("period", "actualPeriod"),
    ("Encounter", "period"): ("actualPeriod",),
    ("Encounter", "actualPeriod"): ("period",),
    ("Patient", "age"): ("birthDate",),
    ("Patient", "sex"): ("gender",),
    ("Patient", "dateOfBirth"): ("birthDate",),
    ("MedicationRequest", "date"): ("authoredOn",),
    ("MedicationRequest", "code"): ("medication",),
    ("Immunization", "code"): ("vaccineCode",),
    ("Immunization", "date"): ("occurrence",),
}


class ElementDef:
    """The definition of one element.

    `types` are type names; a choice element has several JSON names, `json_names` pairs each with its type. `targets` are the
    resource types that references may point to. `min` is 0 or 1; `many` tells that it repeats.
    """

    __slots__ = ("choice", "json_names", "many", "min", "name", "targets", "types")

    def __init__(self, row: list[Any]) -> None:
        self.name: str = row[0]
        self.many: bool = bool(row[1])
        self.min: int = row[2]
        self.types: tuple[str, ...] = tuple(row[3])
        self.targets: tuple[str, ...] = tuple(row[4]) if len(row) > 4 else ()
        self.choice: bool = len(row) > 5
        if self.choice:
            self.json_names = tuple((self.name + kind[0].upper() + kind[1:], kind) for kind in self.types)
        else:
            self.json_names = ((self.name, self.types[0]),) if self.types else ()

    def __repr__(self) -> str:
        return f"ElementDef({self.name}: {'|'.join(self.types)} {self.min}..{'*' if self.many else 1})"


Types = dict[str, tuple[str, str | None, msgspec.Raw]]
"""The types of a table by name: kind, base type, and elements, which are decoded when they are first asked for."""


class Table(Struct):
    """The table of one version, as `generate.py` writes it."""

    version: str
    fhir: str
    types: Types
    patient: dict[str, list[str]] = {}
    abstract: list[str] = []


class Model:
    """One version of FHIR. Names are type names (`Patient`, `HumanName`, `string`) or backbone paths (`Patient.contact`)."""

    def __init__(self, table: Table) -> None:
        self.version = table.version
        self.fhir_version = table.fhir
        self._types = table.types
        self._patient = table.patient
        self.resource_types: frozenset[str] = frozenset(
            name for name, entry in self._types.items() if entry[0] == "resource" and name not in table.abstract
        )
        self._elements: dict[str, dict[str, ElementDef]] = {}

    def has_type(self, name: str) -> bool:
        """Whether this version has the type."""
        return name in self._types

    def kind(self, name: str) -> str:
        """`primitive`, `complex`, `backbone` or `resource`. Raises KeyError for an unknown type."""
        return self._types[name][0]

    def base(self, name: str) -> str | None:
        """The type that a type specialises, None for the root and unknown types."""
        entry = self._types.get(name)
        return entry[1] if entry is not None else None

    def is_subtype(self, name: str, ancestor: str) -> bool:
        """Whether a type is, or descends from, another."""
        current: str | None = name
        while current is not None:
            if current == ancestor:
                return True
            current = self.base(current)
        return False

    def elements(self, type_name: str) -> dict[str, ElementDef]:
        """All elements of a type by name, inherited ones first; empty for an unknown type."""
        found = self._elements.get(type_name)
        if found is None:
            entry = self._types.get(type_name)
            if entry is None:
                return {}
            found = dict(self.elements(entry[1])) if entry[1] else {}
            for row in msgspec.json.decode(entry[2]):
                found[row[0]] = ElementDef(row)
            self._elements[type_name] = found
        return found

    def element(self, type_name: str, element_name: str) -> ElementDef | None:
        """One element of a type, its own or inherited; None where there is none."""
        elements = self._elements.get(type_name)
        if elements is None:
            elements = self.elements(type_name)
        return elements.get(element_name)

    def has_element(self, type_name: str, element_name: str) -> bool:
        """Whether a type has an element, its own or inherited."""
        return self.element(type_name, element_name) is not None

    def first_of(self, type_name: str, *names: str) -> str:
        """The first of some names that a type has an element of; the first name where it has none."""
        return next((name for name in names if self.has_element(type_name, name)), names[0])

    def types_of(self, type_name: str, element_name: str) -> tuple[str, ...]:
        """The types that an element may have; none where there is no such element."""
        element = self.element(type_name, element_name)
        return element.types if element is not None else ()

    def patient_paths(self, resource_type: str) -> tuple[str, ...]:
        """Element paths that hold the reference to the patient (Patient compartment); empty where there are none."""
        return tuple(self._patient.get(resource_type, ()))

    def suggest(self, type_name: str, element_name: str) -> list[str]:
        """Names of elements of a type that may be meant by a name that it does not have, best first."""
        elements = self.elements(type_name)
        out = [n for n in _KNOWN_CONFUSIONS.get((type_name, element_name), ()) if n in elements]
        for name, definition in elements.items():
            if definition.choice and any(key == element_name for key, _ in definition.json_names):
                out.append(name)
        lowered = {name.lower(): name for name in elements}
        if element_name.lower() in lowered:
            out.append(lowered[element_name.lower()])
        out.extend(difflib.get_close_matches(element_name, list(elements), n=3, cutoff=0.6))
        return list(dict.fromkeys(out))


_HEAD = 200
_VERSION = re.compile(rb'\s*\{\s*"version"\s*:\s*"([^"]*)"')


def versions_at_hand() -> tuple[str, ...]:
    """The names in VERSIONS whose tables are there, and are of that version. What goes through all versions takes these: one without its table is in nobody's way."""
    return tuple(name for name in VERSIONS if _version_of_table(name) == name)


@lru_cache(maxsize=8)
def _version_of_table(name: str) -> str | None:
    """The version that the table of a name says it is of, None where there is no table, or it says none."""
    try:
        with resources.files(__name__).joinpath(f"{name}.json").open("rb") as stream:
            found = _VERSION.match(stream.read(_HEAD))
            return found[1].decode() if found is not None else msgspec.json.decode(_bytes(name), type=Table).version
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _bytes(name: str) -> bytes:
    return resources.files(__name__).joinpath(f"{name}.json").read_bytes()


_MAKE = "make it: python -m fhir_eligibility.artifacts.models.generate"


@lru_cache(maxsize=8)
def _load(version: str) -> Model:
    shown = f"FHIR {version.upper()} ({VERSIONS[version].number})"
    try:
        table = msgspec.json.decode(_bytes(version), type=Table)
    except FileNotFoundError:
        raise ValueError(f"{shown} has no table of types, {version}.json in artifacts/models; {_MAKE}") from None
    except msgspec.MsgspecError as error:
        raise ValueError(f"{version}.json in artifacts/models is not a table of types: {error}; {_MAKE}") from None
    if table.version != version:
        raise ValueError(
            f"{version}.json in artifacts/models: expected the table of {version}, found that of {table.version}; {_MAKE}"
        )
    return Model(table)


def load_model(version: str) -> Model:
    """The model of a FHIR version: `r4`, `R4B`, `4.0.1`, `5.0.0`, ... Raises ValueError for any other, and for one whose table is missing or of another version."""
    asked = str(version).strip().lower()
    for name, known in VERSIONS.items():
        if asked in (name, known.number, *known.others):
            return _load(name)
    listed = [f"{name.upper()} ({known.number})" for name, known in VERSIONS.items()]
    raise ValueError(f"unknown FHIR version {version!r}; known are {', '.join(listed[:-1])} and {listed[-1]}")
