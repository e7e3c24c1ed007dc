"""Records to the patients they are about, where all of the patients are at hand: well-formed references first, then what means a patient by another name or spelling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct, field

from fhir_eligibility.artifacts.references import Meaning, Odd, plain_id, root_of
from fhir_eligibility.data.files.problems import NOT_DESCRIBED, Problem
from fhir_eligibility.data.patients.addresses import Addresses
from fhir_eligibility.data.records.identity import address_of, id_of, text_of_id
from fhir_eligibility.data.records.oddities import Oddities
from fhir_eligibility.data.records.sources import Loaded
from fhir_eligibility.data.records.subjects import Asked, Names, asked_of

_MISSING_HINT = "what criteria ask of the Patient is not known; give the Patient resource, or mend the references"
_LINK_HINT = "a record needs a reference to a Patient in its subject (or patient) element"
_NONE = "no patient of the data is called so"
_SEVERAL = "several patients of the data are called so"


class Links(Struct):
    """The patients of one record: `keys` of those that it names, `perhaps` those that it means if the data holds them, and what is wrong with what means nobody.

    `elsewhere` tells that it names something that is no patient, `names_somebody` that some reference can mean a patient.
    """

    keys: list[str] = field(default_factory=list)
    perhaps: list[tuple[str, Asked]] = field(default_factory=list)
    wrong: list[tuple[Asked, str]] = field(default_factory=list)
    odd: list[tuple[Odd, Asked]] = field(default_factory=list)
    among: dict[str, str] = field(default_factory=dict)
    """The name, as `Patient/id`, of several patients one of whom is meant, by what is written."""
    elsewhere: bool = False
    names_somebody: bool = False

    def add(self, key: str) -> None:
        """Take in a patient."""
        if key not in self.keys:
            self.keys.append(key)


def problem_of(
    loaded: Loaded, code: str, message: str, *, warning: bool = False, hint: str | None = None, **more: Any
) -> Problem:
    """A problem with a resource, where it stands."""
    where = {"file": loaded.file, "line": loaded.line, "offset": loaded.offset, "entry": loaded.entry}
    fields = {"resource": loaded.name, "severity": "warning" if warning else "error", **more}
    return Problem(**where, **fields, code=code, message=message, hint=hint)


def whose(loaded: Loaded, links: Links, resident: str | None, on_problem: Callable[[Problem], None]) -> list[str]:
    """The patients of a resource: those that it names; of one that names nothing, that of its bundle, if there is exactly one (`resident`). What is wrong is reported."""
    for asked, why in links.wrong:
        if not links.keys or asked.certain:
            message = f"{loaded.name} is about {asked.shown}, and {why}: that links it to nobody"
            among: dict[str, Any] = {"patient": links.among[asked.shown]} if asked.shown in links.among else {}
            on_problem(problem_of(loaded, "no-patient", message, hint=_LINK_HINT, **among))
    if links.keys or links.names_somebody:
        return links.keys
    if resident is None or links.elsewhere:
        message = f"{loaded.name} is linked to no patient; it is not used"
        # what is about a place, a group or another thing is no patient's that could be missed
        on_problem(problem_of(loaded, "no-patient", message, warning=links.elsewhere, hint=_LINK_HINT))
        return []
    message = f"{loaded.name} names no patient; it counts as that of the one Patient of its bundle"
    on_problem(problem_of(loaded, "patient-of-bundle", message, warning=True, hint=_LINK_HINT))
    return [resident]


def undescribed(first: Loaded, reference: str) -> Problem:
    """The problem of a patient whom no Patient resource describes; `first` is the first resource that names this patient."""
    message = f"{reference} is known by references only, such as that of {first.name}: no Patient resource describes this patient"
    names: dict[str, Any] = {"resource": reference, "patient": reference}
    return problem_of(first, NOT_DESCRIBED, message, hint=_MISSING_HINT, **names)


class Linking:
    """Finds the patients of records. `key_of` gives the key of a Patient, `names` tells who bears which names."""

    def __init__(
        self,
        addresses: Addresses,
        key_of: Callable[[Loaded], str | None],
        names: Names,
        oddities: Oddities | None = None,
        mine: Callable[[Asked], bool] | None = None,
        several: bool = False,
    ) -> None:
        """Without `oddities`, odd spellings are counted elsewhere. Where only some patients are at hand, `mine` tells whether a reference means one of these
        if it means anybody; of others nothing is said. With `several`, several who are not at hand bear the names that nobody here bears."""
        self._addresses = addresses
        self._key_of = key_of
        self._names = names
        self._oddities = oddities
        self._mine = mine
        self._several = several
        self.bearing: Callable[[list[str]], list[str]] = list
        """The patients that those who bear one name come to (`fhir_eligibility.data.patients.persons`)."""

    def links(
        self, records: Iterable[tuple[int, Loaded, Iterable[Any]]], described: Iterable[str]
    ) -> Iterator[tuple[int, Loaded, Links]]:
        """Records with the patients that they are about. Each is given with its place and the values of its elements for a patient; `described` are
        the keys of the patients who have a Patient resource."""
        found = [(place, loaded, self.of(loaded, values)) for place, loaded, values in records]
        known = set(described)
        for _, _, links in found:
            known.update(links.keys)
        for place, loaded, links in found:
            for key, asked in links.perhaps:
                if key in known:
                    links.add(key)
                else:
                    self._wrong(links, asked, _NONE)
            if self._oddities is not None:
                for odd, asked in links.odd:
                    where = (loaded.offset or 0, -1 if loaded.entry is None else loaded.entry, loaded.line)
                    self._oddities.add(odd, loaded.file, loaded.name, asked.shown, *where)
            yield place, loaded, links

    def _wrong(self, links: Links, asked: Asked, why: str) -> None:
        """Note that a reference means nobody, if that can be told here."""
        if asked.failure is not None or self._mine is None or self._mine(asked):
            links.wrong.append((asked, why))
            if asked.address is not None and self._addresses.names_patients(asked.address.id):
                links.among[asked.shown] = f"Patient/{asked.address.id}"

    def of(self, loaded: Loaded, values: Iterable[Any]) -> Links:
        """What some values, as they stand in a resource, mean; whether the patients whom they mean `perhaps` are there is left to the caller."""
        links = Links()
        for asked in map(asked_of, values):
            if asked is None:
                continue
            links.names_somebody = links.names_somebody or not asked.elsewhere
            if asked.odd is not None:
                links.odd.append((asked.odd, asked))
            if asked.address is not None:
                self._at(asked, asked.address, loaded, links)
            elif asked.name is not None:
                self._by_name(asked, asked.name, loaded, links)
            elif asked.failure is not None:
                self._wrong(links, asked, asked.failure)
            else:
                links.elsewhere = True
        return links

    def _at(self, asked: Asked, address: Meaning, loaded: Loaded, links: Links) -> None:
        """By an address."""
        found = self._addresses.at(address, loaded)
        if found is not None:
            key = self._key_of(found)
            if found.resource is not None and found.resource["resourceType"] == "Patient" and key is not None:
                links.add(key)
            return
        key = f"{address.root or root_of(loaded.full_url) or ''}Patient/{address.id}"
        if asked.firm:
            links.add(key)
        else:
            links.perhaps.append((key, asked))

    def _in_bundle(self, keys: Sequence[str], name: str, loaded: Loaded) -> list[str]:
        """Those of some patients whom the entry of a urn in the bundle of a resource is."""
        found = {key: self._addresses.known(key) for key in keys}
        known = {key: id_of(one.resource) for key, one in found.items() if one is not None and one.resource}
        if loaded.group is not None:
            # the bundle is not at hand, but whom its entry is was told when it was
            groups = {key: name if one is None else plain_id(one) for key, one in known.items()}
            return [key for key, group in groups.items() if group == loaded.group]
        ids = {text_of_id(patient.id) for patient in loaded.patients if address_of(patient.full_url) == name}
        return [key for key, one in known.items() if one in ids]

    def _by_name(self, asked: Asked, name: str, loaded: Loaded, links: Links) -> None:
        """By a urn or an identifier."""
        keys = self.bearing(self._names.keys(name))
        if len(keys) > 1 and asked.urn:
            keys = self._in_bundle(keys, name, loaded) or keys
        if len(keys) == 1:
            links.add(keys[0])
        elif keys:
            self._wrong(links, asked, _SEVERAL)
            return
        found = self._addresses.of_urn(name, loaded)
        if found is not None and not keys:
            links.elsewhere = True
        elif not keys:
            self._wrong(links, asked, _SEVERAL if self._several else _NONE)
        here = any(address_of(patient.full_url) == name for patient in loaded.patients)
        if asked.urn and not here and (found is None or (found.file, found.offset) != (loaded.file, loaded.offset)):
            links.odd.append(("urn-elsewhere", asked))
