"""ImagingStudy to DICOM: the UIDs, validated and never invented, and where the images can be fetched.

FHIR ImagingStudy, "Implementation Notes" (UID encoding, WADO-RS URLs); DICOM PS3.5 section 9 (UIDs), PS3.18 (DICOMweb).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from fhir_eligibility.algebra.values.code_systems import ALIASES, DICOM, other_address
from fhir_eligibility.data.archives.address import without_studies
from fhir_eligibility.data.archives.uids import all_plain, valid_uid
from fhir_eligibility.data.bulk.instances import LISTED, UIDS
from fhir_eligibility.evaluation.records import ImagingLink, PatientIdentifier, Series, changed
from fhir_eligibility.evaluation.verdict import ROLES, Role

Resource = dict[str, Any]
Resolve = Callable[[str], "Resource | None"]

DICOM_UID = "urn:dicom:uid"
URI_SYSTEM = "urn:ietf:rfc:3986"
OID = "urn:oid:"
WADO_RS = "dicom-wado-rs"
NOT_LINKED = ("cancelled", "entered-in-error")
# by `id()` of the resource, which stays that of the resource because it is held as well
_ADDRESSES: dict[int, tuple[Resource, tuple[str | None, str | None]]] = {}
_ADDRESS = re.compile(r"[!-~]+")
_STATUS_NOTES = {
    "registered": "registered: the images may not be there yet",
    "unknown": "the status of the study is unknown",
    "inactive": "the study is inactive",
}


def normalise_uid(text: Any) -> tuple[str | None, str | None]:
    """A UID without `urn:oid:` and DICOM padding, and a remark where it was repaired or is no UID."""
    if not isinstance(text, str) or not text:
        return None, None
    without_prefix = text.removeprefix(OID)
    if valid_uid(without_prefix):
        return without_prefix, None
    stripped = without_prefix.rstrip("\x00 ")
    if stripped != without_prefix and valid_uid(stripped):
        return stripped, f"padding was stripped from the UID {stripped}"
    return None, f"{text[:80]!r} is not a DICOM UID"


def imaging_link(
    study: Resource,
    *,
    criterion: str,
    role: Role,
    failed: str | None,
    resolve: Resolve,
    dicomweb: str | None = None,
    series_kept: set[int] | None = None,
) -> ImagingLink:
    """An ImagingStudy (STU3, R4, R4B or R5) as a link to its images.

    `resolve` finds Endpoint resources; `dicomweb` is a base URL to use where the data names no archive. `series_kept` limits the
    series to those objects (by `id()`), where the criterion is about series.
    """
    warnings: list[str] = []
    uid, remark = study_uid(study)
    if remark:
        warnings.append(remark)
    status = _text(study, "status", warnings)
    if status in _STATUS_NOTES:
        warnings.append(_STATUS_NOTES[status])
    offered = status not in NOT_LINKED
    if not offered:
        warnings.append(f"{status}: the images are not linked")
    bases = _bases(study.get("endpoint"), resolve, warnings)
    if not bases and dicomweb:
        bases = [dicomweb.rstrip("/")]
    listed = [item for item in _list(study.get("series")) if item.__class__ is dict]
    kept = [item for item in listed if series_kept is None or id(item) in series_kept]
    linked = uid if offered else None
    address = _series_address(bases, linked)
    series = _all_series(kept, linked, bases, address, resolve, warnings)
    urls = [f"{base}/studies/{uid}" for base in bases] if uid is not None and offered else []
    modalities = []
    for one in _list(study.get("modality")):
        code = _code(one)
        if code:
            modalities.append(code)
            if one.get("system") != DICOM:
                _note_system(one, warnings)
    _compare_counts(study, warnings)
    if uid is not None and uid in [one.uid for one in series]:
        warnings.append("a series has the UID of the study")
    for found in {one.modality: None for one in series}:
        if found and found not in modalities:
            modalities.append(found)
    return ImagingLink(
        criterion=criterion,
        role=role,
        resource=f"ImagingStudy/{study.get('id', '')}".rstrip("/"),
        study=uid if offered else None,
        series=series if offered else [],
        series_count=_count(study.get("numberOfSeries")),
        instance_count=_count(study.get("numberOfInstances")),
        started=_text(study, "started", warnings),
        modality=modalities,
        accession=accession_of(study),
        status=status,
        url=urls[0] if urls else None,
        urls=urls,
        failed=failed,
        warnings=list(dict.fromkeys(warnings)) if warnings else warnings,
    )


def _compare_counts(study: Resource, warnings: list[str]) -> None:
    """Warn where the numbers of series and instances that a study says of itself are not those that it lists."""
    series = study.get("series")
    if series.__class__ is not list or not series:
        return
    said = study.get("numberOfSeries")
    if said.__class__ is int and said != len(series):
        warnings.append(f"the study says {said} series, and lists {len(series)}")
    said = study.get("numberOfInstances")
    if said.__class__ is not int:
        return
    first = series[0]
    if first.__class__ is dict and first.get(UIDS).__class__ is msgspec.Raw:
        listed = study.get(LISTED, said)
    else:
        listed = sum(len(_list(one.get("instance"))) for one in series if one.__class__ is dict)
    if listed and listed != said:
        warnings.append(f"the study says {said} instances, and lists {listed}")


def _note_system(modality: Any, warnings: list[str]) -> None:
    """Warn where a modality is coded under another address of its code system than the usual one."""
    if modality.__class__ is not dict:
        return
    for coding in _list(modality["coding"]) if "coding" in modality else (modality,):
        system = coding.get("system") if coding.__class__ is dict else None
        if system.__class__ is str and system in ALIASES:
            warnings.append(f"the modality: {other_address(system)}")


def study_uid(study: Resource) -> tuple[str | None, str | None]:
    """Study Instance UID of an ImagingStudy, and a remark where there is none or it was written unusually."""
    usual = _usual_uid(study)
    return (usual, None) if usual is not None else _any_uid(study)


def _any_uid(study: Resource) -> tuple[str | None, str | None]:
    """The same, however it is written."""
    uid, remark = normalise_uid(study.get("uid"))
    if uid is not None:
        return uid, remark
    identifiers = [item for item in _list(study.get("identifier")) if isinstance(item, dict)]
    refused: list[str] = []
    for wanted in (DICOM_UID, URI_SYSTEM, None):
        for identifier in identifiers:
            system, value = identifier.get("system"), identifier.get("value")
            if system != wanted or not isinstance(value, str):
                continue
            if system == URI_SYSTEM and not value.startswith(OID):
                continue
            found, remark = normalise_uid(value)
            if found is not None and (system is not None or "." in found):
                return found, remark
            if remark:
                refused.append(remark)
    for identifier in identifiers:
        value = identifier.get("value")
        if isinstance(value, str) and not any(value[:80] in text for text in refused):
            refused.append(f"{value[:80]!r} ({identifier.get('system') or 'no system'}) is not a DICOM UID")
    return None, "no Study Instance UID" + (": " + "; ".join(refused) if refused else "")


def _usual_uid(study: Resource) -> str | None:
    """The UID where the first identifier of the DICOM system has a valid one and none stands elsewhere."""
    identifiers = study.get("identifier")
    if "uid" in study or identifiers.__class__ is not list:
        return None
    for identifier in identifiers:
        if identifier.__class__ is dict and identifier.get("system") == DICOM_UID:
            value = identifier.get("value")
            if value.__class__ is str and value.startswith(OID) and valid_uid(value[len(OID) :]):
                return value[len(OID) :]
            return None
    return None


def accession_of(study: Resource) -> str | None:
    """Accession number: the identifier of type ACSN."""
    for identifier in _list(study.get("identifier")):
        kind = identifier.get("type") if identifier.__class__ is dict else None
        codings = _list(kind.get("coding")) if kind.__class__ is dict else ()
        if any(coding.__class__ is dict and coding.get("code") == "ACSN" for coding in codings):
            return _value_of(identifier)
    return _value_of(study.get("accession"))


def _value_of(identifier: Any) -> str | None:
    """The value of an identifier, None where there is none, or something else than a text."""
    return _if_text(identifier.get("value")) if identifier.__class__ is dict else None


def _if_text(value: Any) -> str | None:
    return value if value.__class__ is str else None


def _series_address(bases: list[str], study: str | None) -> str | None:
    """What the addresses of the series of a study begin with, None where it is not linked."""
    return f"{bases[0]}/studies/{study}/series/" if bases and study is not None else None


def _all_series(
    items: list[Resource],
    study: str | None,
    bases: list[str],
    address: str | None,
    resolve: Resolve,
    warnings: list[str],
) -> list[Series]:
    """The series of a study; those of the reader of large exports are taken by a fast path."""
    out: list[Series] = []
    for item in items:
        plain = item.get(UIDS)
        if plain.__class__ is not msgspec.Raw or "endpoint" in item or "bodySite" in item:
            return _merge_series([_series(one, study, bases, address, resolve, warnings) for one in items])
        uid: str = item["uid"]
        modality = item.get("modality")
        if modality.__class__ is dict and modality.get("system") != DICOM:
            _note_system(modality, warnings)
        out.append(
            Series(
                uid=uid,
                modality=_code(modality) if modality is not None else None,
                description=_if_text(item.get("description")),
                instances=plain,
                url=address + uid if address is not None else None,
            )
        )
    # their UIDs differ, or they would not be plain
    return out


def _series(
    item: Resource, study: str | None, bases: list[str], address: str | None, resolve: Resolve, warnings: list[str]
) -> Series:
    plain = item.get(UIDS)
    if plain.__class__ is msgspec.Raw:
        # what the reader of large exports found valid
        uid: str | None = item["uid"]
        instances: Any = plain
    else:
        instances = _instances_of(item, warnings)
        uid, remark = normalise_uid(item.get("uid"))
        if uid is None:
            warnings.append(remark or "a series has no UID")
        elif remark:
            warnings.append(remark)
    own = item.get("endpoint")
    if own:
        address = _series_address(_bases(own, resolve, warnings) or bases, study)
    site = item.get("bodySite")
    modality = item.get("modality")
    _note_system(modality, warnings)
    return Series(
        uid=uid,
        modality=_code(modality),
        description=_if_text(item.get("description")),
        body_site=None if site is None else _display(site),
        instances=instances,
        url=f"{address}{uid}" if address is not None and uid is not None else None,
    )


def _instances_of(series: Resource, warnings: list[str]) -> list[str]:
    """SOP Instance UIDs of a series, each once; what is odd about them is added to the warnings."""
    texts: list[Any] = [instance.get("uid") for instance in instances_of(series)]
    if all_plain(texts):
        return texts
    instances: dict[str, None] = {}
    for text in texts:
        found, remark = normalise_uid(text)
        if found is None:
            warnings.append(remark or "an instance has no UID")
        elif found in instances:
            warnings.append(f"instance {found} is listed twice")
        else:
            instances[found] = None
    return list(instances)


def instances_of(series: Resource) -> list[Resource]:
    """The instances of a series."""
    return [instance for instance in _list(series.get("instance")) if isinstance(instance, dict)]


def _listed(instances: list[str] | msgspec.Raw) -> list[str]:
    """UIDs of instances one by one."""
    return msgspec.json.decode(instances, type=list[str]) if isinstance(instances, msgspec.Raw) else instances


def _merge_series(series: list[Series]) -> list[Series]:
    if len({one.uid for one in series}) == len(series):
        return series
    merged: dict[str | int, Series] = {}
    for index, one in enumerate(series):
        key: str | int = one.uid if one.uid is not None else index
        known = merged.get(key)
        if known is not None:
            instances = list(dict.fromkeys([*_listed(known.instances), *_listed(one.instances)]))
            one = changed(known, instances=instances)
        merged[key] = one
    return list(merged.values())


def _bases(endpoints: Any, resolve: Resolve, warnings: list[str]) -> list[str]:
    """Addresses of active DICOMweb retrieve endpoints."""
    out: list[str] = []
    for reference in _list(endpoints):
        text = reference.get("reference") if isinstance(reference, dict) else None
        if not text or not isinstance(text, str):
            continue
        endpoint = resolve(text)
        if endpoint is None:
            warnings.append(f"{text} cannot be resolved")
            continue
        base, remark = _address(endpoint)
        if remark is not None:
            warnings.append(f"the address of {text} {remark}")
        if base is not None and base not in out:
            out.append(base)
    return out


def _address(endpoint: Resource) -> tuple[str | None, str | None]:
    """Base address of an active DICOMweb retrieve endpoint, None for any other, and what is to be said of the address.

    Few endpoints serve all studies of an export, so it is remembered of those looked at last.
    """
    known = _ADDRESSES.get(id(endpoint))
    if known is not None and known[0] is endpoint:
        return known[1]
    kinds = {code for kind in _list(endpoint.get("connectionType")) for code in _codes(kind)}
    address = endpoint.get("address")
    found: tuple[str | None, str | None] = (None, None)
    if WADO_RS in kinds and endpoint.get("status", "active") == "active" and isinstance(address, str):
        found = archive_address(address)
    if len(_ADDRESSES) >= 64:
        _ADDRESSES.clear()
    _ADDRESSES[id(endpoint)] = endpoint, found
    return found


@lru_cache(maxsize=1024)
def archive_address(address: str) -> tuple[str | None, str | None]:
    """The base address of an archive as an Endpoint writes it (PS3.18 section 8.2), and what is to be said of how it is written.

    The base ends before `/studies`: an address that goes on to a study is cut there. User name, password, query and fragment are left
    out: an output may not say them. None where it is not an address of the form http(s)://host/path.
    """
    plain = address.strip()
    try:
        parts = urlsplit(plain)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, None
    if parts is None or not host or parts.scheme.lower() not in ("http", "https") or not _ADDRESS.fullmatch(plain):
        return None, "is not of the form https://host/path and is not used"
    path = without_studies(parts.path)
    base = urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2], path, "", ""))
    if "@" in parts.netloc or parts.query or parts.fragment:
        return base, "is used without the credentials or the query in it"
    if path != parts.path.rstrip("/"):
        below = parts.path[len(path) :].split("/")[1]
        return base, f"goes on to /{below}; the part before that is the archive's"
    return base, None


def identifiers_of(patient: Resource | None) -> list[PatientIdentifier]:
    """The identifiers of a Patient that have a value, in order."""
    found = [item for item in _list((patient or {}).get("identifier")) if isinstance(item, dict)]
    return [
        PatientIdentifier(system=system if isinstance(system, str) else None, value=value.strip())
        for item in found
        if isinstance(value := item.get("value"), str) and value.strip()
        for system in (item.get("system"),)
    ]


def _text(study: dict[str, Any], name: str, warnings: list[str]) -> str | None:
    """A text of a study; a value of another type is none, which is warned of."""
    value = study.get(name)
    if value is None or isinstance(value, str):
        return value
    warnings.append(f"the {name} of the study is not a text; it is not used")
    return None


def _count(value: Any) -> int | None:
    return value if value.__class__ is int and value >= 0 else None


def merge_links(links: list[ImagingLink]) -> list[ImagingLink]:
    """One link a study and criterion: the same study held by two archives, or met and examined, becomes one."""
    if len(links) == 1:
        return links
    out: dict[tuple[str, str], ImagingLink] = {}
    for link in links:
        key = (link.criterion, link.study or link.resource)
        known = out.get(key)
        if known is None:
            out[key] = link
            continue
        first, second = (link, known) if ROLES.index(link.role) < ROLES.index(known.role) else (known, link)
        urls = list(dict.fromkeys([*first.urls, *second.urls]))
        out[key] = changed(
            first,
            series=_merge_series([*first.series, *second.series]),
            urls=urls,
            url=urls[0] if urls else None,
            warnings=list(dict.fromkeys([*first.warnings, *second.warnings])),
        )
    return list(out.values())


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _codes(value: Any) -> list[str]:
    """Codes of a Coding or a CodeableConcept."""
    if not isinstance(value, dict):
        return []
    if "coding" in value:
        codes = [coding.get("code") for coding in _list(value["coding"]) if coding.__class__ is dict]
    else:
        codes = [value.get("code")]
    return [code for code in codes if isinstance(code, str)]


def _code(value: Any) -> str | None:
    if value.__class__ is dict and "coding" not in value:
        code = value.get("code")
        return code if isinstance(code, str) else None
    codes = _codes(value)
    return codes[0] if codes else None


def _display(value: Any) -> str | None:
    if not isinstance(value, dict):
        return None
    concept = value.get("concept", value)
    value = concept if isinstance(concept, dict) else {}
    codings = [coding for coding in _list(value.get("coding")) if isinstance(coding, dict)]
    if codings:
        value = {"text": value.get("text"), **codings[0]}
    shown = value.get("display") or value.get("text")
    return str(shown) if shown else None
