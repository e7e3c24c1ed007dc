"""The Patients of one bundle: what references mean that lead to names which only the bundle knows, and whose that is which names nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from fhir_eligibility.artifacts.references import RESTFUL, plain_id
from fhir_eligibility.data.records.bundle_shape import PatientEntry
from fhir_eligibility.data.records.identity import NO_HOME, address_of, on_a_server, text_of_id


class BundlePatients(Struct, frozen=True):
    """The Patients of a bundle: their groups by the names that entries have in the bundle (`fullUrl`, but addresses on a server), and by entry their conditions.

    Of a bundle of one patient also the group of that Patient and the home of what stands there.
    """

    by_name: Mapping[str, str]
    conditions: Mapping[int, str]
    only: str | None = None
    home: int = NO_HOME

    @classmethod
    def of(cls, patients: Sequence[PatientEntry], home: int, place: tuple[int, int]) -> BundlePatients | None:
        """None where there are none. `home` is as of what stands in the bundle, `place` file and line."""
        if not patients:
            return None
        by_name: dict[str, str] = {}
        group: str | None = None
        for patient in patients:
            known = text_of_id(patient.id)
            group = plain_id(known) if known is not None else group_of_address(patient.full_url)
            name = address_of(patient.full_url)
            if name is not None and group is not None and not on_a_server(name):
                # two entries of one name are one Patient, whatever their ids
                by_name.setdefault(name, group)
        conditions = {patient.entry: patient.condition for patient in patients if patient.condition is not None}
        if len(patients) > 1:
            return cls(by_name, conditions)
        return cls(by_name, conditions, group or f"#{place[0]}.{place[1]}.{home // 2}.one", home)


def group_of_address(full_url: str | None) -> str | None:
    """The group of a Patient at an address: the id that it ends with, or all of it, where it is not an address on a server; None where it is not an absolute URI."""
    address = address_of(full_url)
    if address is None:
        return None
    match = RESTFUL.fullmatch(address)
    return address if match is None else plain_id(match["path"].partition("/")[2])
