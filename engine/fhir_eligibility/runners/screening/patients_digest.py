"""A digest of patients who do not come from files, to tell runs apart by."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from fhir_eligibility.data.patients.compartment import Compartment, Resource, SharedResources

_encode = msgspec.json.Encoder(order="sorted", decimal_format="number", enc_hook=str).encode


class PatientsDigest:
    """SHA-256 of the resources of patients as they pass by: the same for the same resources of the same patients in the same order, however many of them come together.

    The order of the records of one patient does not matter, nor that of the records about no patient.
    """

    def __init__(self) -> None:
        self._patients = hashlib.sha256()
        self._shared: set[bytes] = set()
        self._last: SharedResources | None = None

    def add(self, compartment: Compartment) -> None:
        """Take in a patient."""
        own = [compartment.patient] if compartment.patient is not None else []
        for resources in compartment.resources.values():
            own += resources
        self._patients.update(_of_parts([compartment.reference.encode("utf-8", "surrogatepass"), *_sorted(own)]))
        if compartment.shared is not None and compartment.shared is not self._last:
            self._last = compartment.shared
            for resources in compartment.shared.by_type.values():
                self._shared.update(map(_of_resource, resources))

    def hexdigest(self) -> str:
        """The digest of what was taken in, as hexadecimal text."""
        return _of_parts([self._patients.digest(), *sorted(self._shared)]).hex()


def _of_parts(parts: list[bytes]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def _sorted(resources: list[Resource]) -> list[bytes]:
    return sorted(map(_of_resource, resources))


def _of_resource(resource: dict[str, Any]) -> bytes:
    try:
        text = _encode(resource)
    except (ValueError, TypeError, OverflowError, RecursionError):  # such as integers beyond 64 bits, single surrogates
        text = repr(sorted(resource.items(), key=lambda item: str(item[0]))).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text).digest()
