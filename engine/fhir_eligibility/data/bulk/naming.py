"""By what names a record can be found: those that references may call it by, the group that it is kept for, and the persons that a Patient is linked to.

Names are texts. Those of groups and links have a beginning that no reference has, for references hold no spaces.
"""

from __future__ import annotations

from collections.abc import Iterator

from fhir_eligibility.artifacts.references import RESTFUL, meaning_of, plain_id
from fhir_eligibility.data.bulk.records import ReadRecord
from fhir_eligibility.data.files.json_text import BAD_JSON, whole
from fhir_eligibility.data.records.identity import address_of, values_below

_GROUP, _LINK = "group ", "link "


def names_of(record: ReadRecord) -> list[str]:
    """The names that a reference may call a record by: `Type/id`, wherever it is, and for what is on no server the whole address.

    A Patient is also called by the id as it reads in plain text (`fhir_eligibility.artifacts.references.plain_id`).
    """
    names = [f"{record.kind}/{record.id}"] if record.id is not None else []
    address = address_of(record.full_url)
    if address is not None:
        names.append(_path(address))
    if record.kind == "Patient":
        names += [f"Patient/{plain_id(name[8:])}" for name in names if name.startswith("Patient/")]
    return list(dict.fromkeys(names))


def names_meant(reference: str) -> list[str]:
    """The names by which a reference may mean a resource, the most exact first."""
    found = meaning_of(reference)
    if found.form == "address":
        plain = f"Patient/{plain_id(found.id)}"
        return [found.path] if found.kind != "Patient" or found.path == plain else [found.path, plain]
    return [found.id] if found.form in ("urn", "uri") else []


def group_name(group: str) -> str:
    """The name of all records of a group."""
    return _GROUP + group


def link_names(names: list[str]) -> list[str]:
    """The names of the Patients that are linked (`Patient.link.other`) to a person who bears some names."""
    return [_LINK + name for name in dict.fromkeys(names)]


def keys_of(record: ReadRecord, persons: bool) -> Iterator[str]:
    """All names under which a record is to be found; those of its group and its links only with `persons`."""
    yield from names_of(record)
    if persons:
        yield group_name(record.group)
        if record.kind == "Patient":
            yield from link_names(_linked(record))


def _linked(patient: ReadRecord) -> list[str]:
    """The references of a Patient to the persons whom it is linked to."""
    try:
        resource = patient.facts if patient.facts is not None else whole(patient.raw)
    except BAD_JSON:
        return []
    found = values_below(resource, ["link", "other", "reference"])
    return [name for text in found if text.__class__ is str for name in names_meant(text)]


def _path(name: str) -> str:
    """`Type/id` of a RESTful address, and any other as it is."""
    match = RESTFUL.fullmatch(name)
    return match["path"] if match is not None else name
