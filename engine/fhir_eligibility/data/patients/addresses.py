"""What references lead to among resources at hand: addresses with and without the root of a server, urns, and ids that are spelled otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fhir_eligibility.artifacts.references import Meaning, meaning_of, plain_id, root_of
from fhir_eligibility.data.patients.counting import Counting
from fhir_eligibility.data.patients.names import SharedUrns
from fhir_eligibility.data.patients.nobodys import Nobodys
from fhir_eligibility.data.records.identity import stands_alone
from fhir_eligibility.data.records.sources import Loaded

NOBODYS = "#nobody"
"""Behind the key of a resource that is about nobody although its type may be about a patient."""


def bundle_of(loaded: Loaded) -> str:
    """The bundle of one patient in which a resource stands."""
    number = loaded.home // 2
    return f"{loaded.file}{f'@{loaded.offset}' if loaded.offset else ''}{f'[{number}]' if number else ''}"


class Addresses:
    """Finds resources; `counting` holds them, `residents` the key of the patient by bundle of one patient, `nobodys` what is about no patient, and `urns` tells which
    urns several things bear."""

    def __init__(self, counting: Counting, residents: Mapping[str, str], nobodys: Nobodys, urns: SharedUrns) -> None:
        self._counting = counting
        self._by_key = counting.by_key
        self._urns = urns
        self._residents = residents
        self._nobodys = nobodys
        self._aliases: dict[str, list[str]] = {}
        # names, as Type/id, of Patients whose id reads otherwise in plain text
        self._spellings: dict[str, list[str]] = {}

    def add_alias(self, name: str, key: str) -> None:
        """Note that a resource that is known by its address has this name, `Type/id`."""
        self._aliases.setdefault(name, []).append(key)

    def add_spelling(self, identifier: str) -> None:
        """Note the id of a Patient."""
        plain = plain_id(identifier)
        if plain != identifier:
            self._spellings.setdefault(plain, []).append(f"Patient/{identifier}")

    def known(self, key: str) -> Loaded | None:
        """The resource of a key; a Device, say, that is about nobody has another key than one of a patient."""
        return self._by_key.get(key) or self._by_key.get(key + NOBODYS)

    def names_patients(self, identifier: str) -> bool:
        """Whether Patients have an id, at whatever address."""
        return f"Patient/{identifier}" in self._aliases or self.known(f"Patient/{identifier}") is not None

    def lookup(self, reference: str, loaded: Loaded | None) -> Loaded | None:
        """The resource that a reference means as it stands in another, whatever version it names; unique aliases are followed."""
        meaning = meaning_of(reference)
        if meaning.form == "address":
            return self.at(meaning, loaded)
        return self.of_urn(meaning.id, loaded) if meaning.form in ("urn", "uri") else None

    def of_urn(self, urn: str, loaded: Loaded | None) -> Loaded | None:
        """The resource at a urn, or another address that is on no server, as it stands in another: of several that of the same bundle."""
        keys = self._urns.keys(urn)
        if not keys:
            return self.known(urn)
        home = bundle_of(loaded) if loaded is not None else None
        for key in keys:
            found = self.known(key)
            if found is not None and any(bundle_of(one) == home for one in self._versions(key, found)):
                return found
        return None

    def _versions(self, key: str, found: Loaded) -> Sequence[Loaded]:
        return self._counting.all_versions(key if key in self._by_key else key + NOBODYS, found)

    def at(self, meaning: Meaning, loaded: Loaded | None) -> Loaded | None:
        """The resource at an address, as it stands in another; a bare id is a Patient's."""
        kind = meaning.kind or "Patient"
        found = self._exactly(meaning.root, f"{kind}/{meaning.id}", loaded)
        if found is None and kind == "Patient":
            plain = plain_id(meaning.id)
            names = [f"Patient/{plain}"] if plain != meaning.id else []
            spelled = [self._exactly(meaning.root, name, loaded) for name in names + self._spellings.get(plain, [])]
            several = {id(one): one for one in spelled if one is not None}
            found = next(iter(several.values())) if len(several) == 1 else None
        return found

    def _exactly(self, named_root: str | None, path: str, loaded: Loaded | None) -> Loaded | None:
        aliases = self._aliases.get(path, [])
        if named_root is not None:
            found = self.known(named_root + path)
            if found is None and not aliases:
                return self.known(path)
            # known by a urn only, it may be on any server
            local = [key for key in aliases if not key.startswith("http")]
            return self._by_key[local[0]] if found is None and len(local) == 1 == len(aliases) else found
        root = root_of(loaded.full_url) if loaded is not None else None
        if root is not None:
            found = self.known(root + path)
            if found is not None:
                return found
        elif loaded is not None and stands_alone(loaded.home):
            found = self._at_home(bundle_of(loaded), path)
            if found is not None:
                return found
        found = self.known(path)
        if found is not None and (root is None or not aliases):
            return found
        if root is None and loaded is not None:
            aliases = [key for key in aliases if self._by_key[key].file == loaded.file] or aliases
            if loaded.full_url is not None:
                # an entry without a RESTful fullUrl: only its own bundle's other such entries are meant
                aliases = [key for key in aliases if not key.startswith("http")]
        return self._by_key[aliases[0]] if len(aliases) == 1 else None

    def _at_home(self, home: str, name: str) -> Loaded | None:
        """What a `Type/id` means in a bundle that stands for itself, None where the bundle does not hold it."""
        if name.startswith("Patient/"):
            found = self._by_key.get(self._residents.get(home, ""))
            return found if found is not None and found.name == name else None
        return self._nobodys.at_home(home, name) or self.known(f"{home}#{name}")
