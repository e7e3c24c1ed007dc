"""Code systems by their addresses: known spellings of one, what people call it, how its codes are built, and which include which.

Criteria and data write the same code system in several ways (an OID, `https` for `http`, a slash at the end). One table serves both: coded criteria, the code
comparisons, retrieves and value sets of CQL, and `memberOf`. Texts that an author compares are compared as they are.
"""

from __future__ import annotations

import difflib
import re
from typing import Any

from msgspec import Struct

SNOMED = "http://snomed.info/sct"
LOINC = "http://loinc.org"
ICD_10 = "http://hl7.org/fhir/sid/icd-10"
ICD_10_CM = "http://hl7.org/fhir/sid/icd-10-cm"
ICD_10_GM = "http://fhir.de/CodeSystem/bfarm/icd-10-gm"
ATC = "http://www.whocc.no/atc"
ATC_DE = "http://fhir.de/CodeSystem/bfarm/atc"
DICOM = "http://dicom.nema.org/resources/ontology/DCM"

# Canonical address (as FHIR's terminology pages give it): what people call it, its OIDs, other addresses in use.
_KNOWN: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    SNOMED: ("SNOMED CT", ("2.16.840.1.113883.6.96",), ("http://www.snomed.info/sct", "http://snomed.org/sct")),
    LOINC: ("LOINC", ("2.16.840.1.113883.6.1",), ("http://www.loinc.org",)),
    ICD_10: ("ICD-10", ("2.16.840.1.113883.6.3",), ("http://www.hl7.org/fhir/sid/icd-10",)),
    ICD_10_CM: ("ICD-10-CM", ("2.16.840.1.113883.6.90",), ("http://www.hl7.org/fhir/sid/icd-10-cm",)),
    ICD_10_GM: ("ICD-10-GM", (), ("http://fhir.de/CodeSystem/dimdi/icd-10-gm",)),
    "http://hl7.org/fhir/sid/icd-9-cm": ("ICD-9-CM", ("2.16.840.1.113883.6.103", "2.16.840.1.113883.6.104"), ()),
    "http://hl7.org/fhir/sid/icd-o-3": ("ICD-O-3", ("2.16.840.1.113883.6.43.1",), ()),
    "http://www.cms.gov/Medicare/Coding/ICD10": (
        "ICD-10-PCS",
        ("2.16.840.1.113883.6.4",),
        ("http://hl7.org/fhir/sid/icd-10-pcs",),
    ),
    "http://www.nlm.nih.gov/research/umls/rxnorm": ("RxNorm", ("2.16.840.1.113883.6.88",), ()),
    ATC: ("ATC", ("2.16.840.1.113883.6.73",), ("http://whocc.no/atc",)),
    ATC_DE: ("ATC (Germany)", (), ("http://fhir.de/CodeSystem/dimdi/atc",)),
    "http://fhir.de/CodeSystem/bfarm/ops": ("OPS", (), ("http://fhir.de/CodeSystem/dimdi/ops",)),
    "http://unitsofmeasure.org": ("UCUM", ("2.16.840.1.113883.6.8",), ("http://www.unitsofmeasure.org",)),
    "http://www.ama-assn.org/go/cpt": ("CPT", ("2.16.840.1.113883.6.12",), ()),
    "http://hl7.org/fhir/sid/ndc": ("NDC", ("2.16.840.1.113883.6.69",), ()),
    "http://hl7.org/fhir/sid/cvx": ("CVX", ("2.16.840.1.113883.12.292",), ()),
    # The codes of a modality also stand under the page and the UID of the list that they are taken from (PS3.16, CID 29; Synthea writes the
    # page), under the address of DSTU2, and under the name of the coding scheme.
    DICOM: (
        "DICOM",
        ("1.2.840.10008.2.16.4", "1.2.840.10008.6.1.19"),
        (
            "http://dicom.nema.org/medical/dicom/current/output/chtml/part16/sect_CID_29.html",
            "http://nema.org/dicom/dicm",
            "DCM",
        ),
    ),
    "http://terminology.hl7.org/CodeSystem/v3-ActCode": (
        "ActCode",
        ("2.16.840.1.113883.5.4",),
        ("http://hl7.org/fhir/v3/ActCode",),
    ),
}
_PUBLISHED = ("http://terminology.hl7.org/", "http://hl7.org/fhir/", "urn:iso:", "urn:ietf:", "http://cts.nlm.nih.gov/")


def _ways(canonical: str) -> tuple[str, ...]:
    _, oids, others = _KNOWN[canonical]
    found = [canonical]
    for address in (canonical, *others):
        secure = address.replace("http://", "https://", 1)
        found += [address, address + "/", secure, secure + "/"] if "/" in address else [address]
    for oid in oids:
        found += [f"urn:oid:{oid}", oid]
    return tuple(dict.fromkeys(found))


_SPELLINGS = {canonical: _ways(canonical) for canonical in _KNOWN}
_CANONICAL = {spelling: canonical for canonical, ways in _SPELLINGS.items() for spelling in ways}
ALIASES = {spelling: known for spelling, known in _CANONICAL.items() if spelling != known}
"""Known addresses of code systems that are not the canonical one, with that."""
_LABELS = {entry[0].lower().replace(" ", "").replace("-", ""): canonical for canonical, entry in _KNOWN.items()}


def canonical(system: str) -> str:
    """The address of a code system for any known spelling of it; any other text as it is."""
    return _CANONICAL.get(system, system)


def alias_of(system: Any) -> str | None:
    """The canonical address of a code system that is known by another one; None for canonical addresses and all that is not known."""
    return ALIASES.get(system) if system.__class__ is str else None


def other_address(system: str) -> str:
    """An address that is not the canonical one, in words."""
    return f"{system} is read as {label(system)} ({canonical(system)})"


def same_system(one: Any, other: Any) -> bool:
    """Whether two texts are addresses of one code system."""
    if one == other:
        return True
    if one.__class__ is not str or other.__class__ is not str:
        return False
    return _CANONICAL.get(one, one) == _CANONICAL.get(other, other)


def spellings(system: str) -> tuple[str, ...]:
    """All spellings of a code system, the canonical one first; the text itself where none are known."""
    return _SPELLINGS.get(_CANONICAL.get(system, system), (system,))


def label(system: str | None) -> str:
    """What people call a code system: `SNOMED CT`; its address where it is not known."""
    if system is None:
        return "no code system"
    known = _KNOWN.get(canonical(system))
    return known[0] if known is not None else system


def is_known(system: str) -> bool:
    """Whether an address is that of a code system that is known here, or published by HL7 or a registry."""
    return system in _CANONICAL or system.startswith(_PUBLISHED)


def meant(system: str) -> str | None:
    """The code system that a misspelt address or a name probably means, None where none is near."""
    named = _LABELS.get(re.sub(r"[\s_-]", "", system.lower()))
    if named is not None:
        return named
    if system.lower() in (spelling.lower() for spelling in _CANONICAL):
        return next(known for spelling, known in _CANONICAL.items() if spelling.lower() == system.lower())
    near = difflib.get_close_matches(system.lower(), list(_CANONICAL), n=1, cutoff=0.85)
    return _CANONICAL[near[0]] if near else None


# -- classifications, whose codes say by their text what they include


class Classification(Struct, frozen=True):
    """Whose categories include the codes that begin with theirs. `category` is a code that has others below it by definition."""

    category: re.Pattern[str]
    whole: re.Pattern[str]


_ICD_10 = Classification(
    re.compile(r"[A-Z]\d[0-9A-Z](?:\.[0-9A-Z]{1,2})?"), re.compile(r"[A-Z]\d[0-9A-Z]\.[0-9A-Z]{3,4}")
)
_CLASSIFICATIONS = {
    ICD_10: _ICD_10,
    ICD_10_CM: Classification(
        re.compile(r"[A-Z]\d[0-9A-Z](?:\.[0-9A-Z]{1,3})?"), re.compile(r"[A-Z]\d[0-9A-Z]\.[0-9A-Z]{4}")
    ),
    ICD_10_GM: Classification(re.compile(r"[A-Z]\d\d(?:\.\d)?"), re.compile(r"[A-Z]\d\d\.\d{2}")),
    "http://hl7.org/fhir/sid/icd-9-cm": Classification(
        re.compile(r"(?:\d{3}|V\d\d|E\d{3})(?:\.\d)?"), re.compile(r"(?:\d{3}|V\d\d)\.\d{2}|E\d{3}\.\d")
    ),
    ATC: Classification(re.compile(r"[A-Z](?:\d\d(?:[A-Z]{1,2})?)?"), re.compile(r"[A-Z]\d\d[A-Z]{2}\d\d")),
    ATC_DE: Classification(re.compile(r"[A-Z](?:\d\d(?:[A-Z]{1,2})?)?"), re.compile(r"[A-Z]\d\d[A-Z]{2}\d\d")),
    "http://fhir.de/CodeSystem/bfarm/ops": Classification(
        re.compile(r"\d-\d{2}[0-9a-z](?:\.[0-9a-z])?"), re.compile(r"\d-\d{2}[0-9a-z]\.[0-9a-z]{2}")
    ),
}
_BLOCK = re.compile(r"([A-Z]\d[0-9A-Z])-([A-Z]\d[0-9A-Z])")
_BLOCKS = (ICD_10, ICD_10_CM, ICD_10_GM)


def is_classification(system: str) -> bool:
    """Whether codes of a system include those that begin with them."""
    return canonical(system) in _CLASSIFICATIONS


def prefix_of(system: str, code: str) -> str | None:
    """What the codes begin with that a code of a classification includes (ICD-10 I21 and I21.-: `I21`); None where a code includes only itself."""
    classification = _CLASSIFICATIONS.get(canonical(system))
    if classification is None:
        return None
    trimmed = code.strip().rstrip("-").rstrip(".")
    return trimmed if classification.category.fullmatch(trimmed) else None


def block_of(system: str, code: str) -> tuple[str, str] | None:
    """The first and last category of a block of ICD-10 (`I20-I25`), None for any other code."""
    match = _BLOCK.fullmatch(code.strip())
    return (match[1], match[2]) if match is not None and canonical(system) in _BLOCKS else None


def is_well_formed(system: str, code: str) -> bool:
    """Whether a code of a classification is built as its codes are; true for systems whose codes tell nothing."""
    classification = _CLASSIFICATIONS.get(canonical(system))
    if classification is None or prefix_of(system, code) or block_of(system, code):
        return True
    return classification.whole.fullmatch(code.strip().rstrip("+*!†")) is not None


# -- check digits


def check_digit_is_wrong(system: str, code: str) -> bool:
    """Whether a LOINC code or a SNOMED CT identifier is not built as such: its check digit does not fit, or it is not a number."""
    name = canonical(system)
    if name == LOINC:
        return not _is_loinc(code)
    return name == SNOMED and not _is_sctid(code)


def _is_loinc(code: str) -> bool:
    """LOINC codes end in a hyphen and a check digit (mod 10). Of answers (LA...), parts, lists and groups only the form is looked at."""
    match = re.fullmatch(r"(\d{1,8})-(\d)", code)
    if match is None:
        return re.fullmatch(r"L[A-Z]\d+-\d", code) is not None
    return _mod_10(match[1]) == int(match[2])


def _mod_10(number: str) -> int:
    """LOINC Users' Guide, "Calculating the check digit": the digits at odd places from the right, doubled as a number, and those between."""
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value // 10 + value % 10
    return -total % 10


_DIHEDRAL = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_PERMUTATIONS = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)


def _is_sctid(code: str) -> bool:
    """SNOMED CT identifiers have 6 to 18 digits and end in a check digit (Verhoeff)."""
    if not re.fullmatch(r"[1-9]\d{5,17}", code):
        return False
    state = 0
    for place, digit in enumerate(reversed(code)):
        state = int(_DIHEDRAL[state][int(_PERMUTATIONS[place % 8][int(digit)])])
    return state == 0
