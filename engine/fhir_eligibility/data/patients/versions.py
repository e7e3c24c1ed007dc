"""Which version of FHIR some data is written in, from what the data says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.artifacts.models import VERSIONS
from fhir_eligibility.artifacts.models.differences import FAMILIES, family, written_as
from fhir_eligibility.data.files.files import FoundFile, walk
from fhir_eligibility.data.files.listing import list_data
from fhir_eligibility.data.records.members import dict_of
from fhir_eligibility.data.records.sources import resources_in

FILES, LOOKED_AT = 200, 200
FEW_FILES = 20
ENOUGH = 8  # resources that tell


class FhirVersionError(ValueError):
    """Data is written in another version of FHIR than criteria were compiled for: the message says what tells it, and what to do."""


class VersionEvidence(Struct):
    """What the beginning of some files tells of their version: how many resources of each, and the first of each family with the element that tells it."""

    versions: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version that most resources tell (default R4)."""
        return self.versions.most_common(1)[0][0] if self.versions else "r4"


def version_of(resource: dict[str, Any]) -> str | None:
    """The version that the shape of one resource gives away, None where it could be any."""
    found = _evidence(resource)
    return None if found is None else found[0]


def _evidence(resource: dict[str, Any]) -> tuple[str, str] | None:
    """The version of a resource, and what gives it away."""
    profiles = dict_of(resource.get("meta")).get("profile")
    for profile in profiles if profiles.__class__ is list else ():
        for version, known in VERSIONS.items():
            if f"|{known.number.rpartition('.')[0]}" in str(profile):
                return version, f"its profile {profile}"
    found = [(version, written_as(resource, version)) for version, *_ in FAMILIES.values()]
    telling = [(version, f"its `{element}`") for version, element in found if element is not None]
    return telling[0] if len(telling) == 1 else None


def evidence_of_paths(paths: Iterable[str | Path], files: int = FILES) -> VersionEvidence:
    """What some files tell of their version, from the beginning of each, until enough resources tell; a few files first, which as a rule tell enough."""
    paths = list(paths)
    found = _evidence_of(paths, min(FEW_FILES, files))
    return found if found.versions.total() >= ENOUGH or files <= FEW_FILES else _evidence_of(paths, files)


def _evidence_of(paths: Sequence[str | Path], files: int) -> VersionEvidence:
    """What that many files tell at the most."""
    found = VersionEvidence()

    def beginning(folder: str) -> Iterator[FoundFile]:
        return islice(walk(folder), 5 * files)

    for path in list_data(paths, _ignore, beginning).names[:files]:
        for loaded in islice(resources_in(path, _ignore, damaged=True), LOOKED_AT):
            evidence = _evidence(loaded.resource) if loaded.resource is not None else None
            if evidence is not None:
                found.versions[evidence[0]] += 1
                found.first.setdefault(family(evidence[0]), f"{loaded.name} in {path} ({evidence[1]} says so)")
                if found.versions.total() >= ENOUGH:
                    return found
    return found


def guess_version_of_paths(paths: Iterable[str | Path]) -> str:
    """The version of the data in some files, from the beginning of each (default R4)."""
    return evidence_of_paths(paths).version


def check_version(paths: Iterable[str | Path], version: str) -> None:
    """Raises FhirVersionError where all that the beginning of some files tells is another version than the one they shall be read as."""
    evidence = evidence_of_paths(paths)
    read = family(version)
    if evidence.versions and read not in evidence.first:
        written, where = next(iter(evidence.first.items()))
        raise FhirVersionError(
            f"the data is FHIR {written}: {where}; the criteria are compiled for patients in FHIR {read}, and would miss what {written} "
            f"names otherwise. Give the version of the data (--fhir {written.lower()}; in Python fhir_version={written.lower()!r}), "
            f"or none, or force it (--force-fhir; force_fhir=True)"
        )


def _ignore(problem: object) -> None:
    """What cannot be read is left to the run itself to report."""
