"""Values for parameters of CQL libraries, as artifacts and Parameters resources give them (Using CQL with FHIR: "Parameters and Data Requirements").

An artifact, a characteristic or an expression says them in extensions: `cqf-inputParameters` refers to a Parameters resource,
`cqf-parameterDefinition` holds a ParameterDefinition whose `cqf-defaultValue` is the value. Nothing is converted here: the type that a library declares
decides what a value means.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from fhir_eligibility.artifacts.records import ParameterValue
from fhir_eligibility.artifacts.shape import checked, json_problem, pointer, shown

Json = dict[str, Any]
Find = Callable[[str], Json | None]
Warn = Callable[[str, str], None]
_BASE = "http://hl7.org/fhir/StructureDefinition/"
INPUT_PARAMETERS = f"{_BASE}cqf-inputParameters"
PARAMETER_DEFINITION = f"{_BASE}cqf-parameterDefinition"
DEFAULT_VALUE = f"{_BASE}cqf-defaultValue"


def values_in(resource: Json, origin: str) -> tuple[ParameterValue, ...]:
    """The values of a Parameters resource, in its order; entries of one name are a list.

    A resource as `$cql` and `$evaluate` take it holds them in a parameter `parameters`. Raises ValueError for what is no Parameters resource.
    """
    if not isinstance(resource, dict) or resource.get("resourceType") != "Parameters":
        kind = resource.get("resourceType") if isinstance(resource, dict) else shown(resource)
        raise ValueError(f"{origin}: expected a Parameters resource, found {kind or 'no resource'}")
    found = checked(resource)
    for one in found.errors:
        hint = f"; {one.hint}" if one.hint else ""
        raise ValueError(f"{origin}: {pointer('Parameters', one.path)}: {one.message}{hint}")
    entries = list(found.resource.get("parameter") or ())
    nested = [entry["resource"] for entry in entries if entry.get("name") == "parameters" and "resource" in entry]
    if nested:
        return tuple(value for inner in nested for value in values_in(inner, origin))
    named: dict[str, list[Json]] = {}
    for entry in entries:
        if not entry.get("name"):
            raise ValueError(f"{origin}: a parameter has no name")
        named.setdefault(str(entry["name"]), []).append(entry)
    return tuple(ParameterValue(name=name, entries=tuple(found), origin=origin) for name, found in named.items())


def read_parameters(path: str | Path) -> tuple[ParameterValue, ...]:
    """The values in a file with a Parameters resource. Raises FileNotFoundError, and ValueError for what is none."""
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    raw = file.read_bytes()
    try:
        data = msgspec.json.Decoder(float_hook=Decimal).decode(raw.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{path}: {json_problem(error, raw)}") from None
    return values_in(data, str(path))


def declared(definition: Json, origin: str, find: Find) -> ParameterValue | None:
    """What a ParameterDefinition says of a parameter: its FHIR type, and its default where it has one; None for an output."""
    if not definition.get("name") or definition.get("use", "in") != "in":
        return None
    defaults = [e for e in definition.get("extension") or () if e.get("url") == DEFAULT_VALUE]
    entries: list[Json] = []
    for default in defaults:
        reference = (default.get("valueReference") or {}).get("reference")
        contained = find(reference) if reference else None
        entries.append(default if contained is None else {"resource": contained})
    return ParameterValue(
        name=str(definition["name"]), entries=tuple(entries), type=definition.get("type"), origin=origin
    )


def extension_values(data: Json, place: str, find: Find, warn: Warn) -> tuple[ParameterValue, ...]:
    """What the extensions of an artifact, a characteristic or an expression say of parameters.

    `find` gives the resource that a reference means. Warns of `parameters` that cannot be read.
    """
    given: list[ParameterValue] = []
    defaults: list[ParameterValue] = []
    for extension in data.get("extension") or ():
        url = extension.get("url") if isinstance(extension, dict) else None
        if url == INPUT_PARAMETERS:
            reference = (extension.get("valueReference") or {}).get("reference")
            resource = find(str(reference)) if reference else None
            if resource is None:
                warn("parameters", f"cqf-inputParameters of {place} refers to {reference}, which is not there")
                continue
            try:
                given += values_in(resource, f"cqf-inputParameters of {place}")
            except ValueError as error:
                warn("parameters", str(error))
        elif url == PARAMETER_DEFINITION:
            definition = extension.get("valueParameterDefinition") or {}
            found = declared(definition, f"cqf-parameterDefinition of {place}", find)
            if found is not None:
                defaults.append(found)
    return (*given, *defaults)


def library_defaults(resource: Json, name: str | None) -> tuple[ParameterValue, ...]:
    """The defaults that a FHIR Library tells for parameters of its CQL (`cqf-defaultValue` in Library.parameter)."""

    def find(reference: str) -> Json | None:
        contained = resource.get("contained") or ()
        return next((r for r in contained if f"#{r.get('id')}" == reference), None)

    origin = f"cqf-defaultValue of the Library {resource.get('url') or name}"
    found = [declared(item, origin, find) for item in resource.get("parameter") or () if isinstance(item, dict)]
    return tuple(value.changed(library=name, type=None) for value in found if value is not None and value.entries)
