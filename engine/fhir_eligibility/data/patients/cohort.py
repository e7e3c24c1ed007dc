"""All resources read, brought together by patient: identities, duplicates, deletions, and who a resource is about.

A resource is known by its entry's fullUrl, else by `Type/id`, within its bundle where that stands for itself (`fhir_eligibility.data.records.identity`). Two patients of the
same id under different servers stay two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.references import RESTFUL, root_of
from fhir_eligibility.data.patients.addresses import NOBODYS, Addresses, bundle_of
from fhir_eligibility.data.patients.compartment import Compartment, ResourceOrigin, SharedResources
from fhir_eligibility.data.patients.counting import Counting
from fhir_eligibility.data.patients.holding import CohortPatient, Held, doubts_of
from fhir_eligibility.data.patients.linking import Linking, Links, problem_of, undescribed, whose
from fhir_eligibility.data.patients.names import SharedUrns, UnnamedPatients, name_at, owner_of
from fhir_eligibility.data.patients.nobodys import Nobodys, origin_of
from fhir_eligibility.data.patients.persons import Persons, is_replaced, persons_of
from fhir_eligibility.data.records.deletions import Deletions
from fhir_eligibility.data.records.identity import (
    NO_HOME,
    address_of,
    contradiction,
    entered_in_error,
    id_of,
    on_a_server,
    shared_types,
    stands_alone,
    values_below,
    with_text_as_id,
)
from fhir_eligibility.data.records.in_doubt import InDoubt, marks_of
from fhir_eligibility.data.records.oddities import Oddities, odd_ids
from fhir_eligibility.data.records.record_versions import Versions
from fhir_eligibility.data.records.referring import check_names_person, in_version, no_person
from fhir_eligibility.data.records.sources import Loaded, OnProblem
from fhir_eligibility.data.records.subjects import Asked, Names, names_no_patient, names_of

Resource = dict[str, Any]


class Cohort:
    """Everything read, by patient. `add` what was read, then iterate over `compartments`."""

    def __init__(
        self,
        model: Model,
        on_problem: OnProblem,
        beyond: Cohort | None = None,
        oddities: Oddities | None = None,
        versions: Versions | None = None,
        *,
        merge: bool = False,
    ) -> None:
        """`beyond` holds what references may lead to besides: resources of no patient. Odd spellings are counted in `oddities`, if given; `versions` tells which of
        several versions of a record counts. With `merge`, Patients that are linked as one person are one patient."""
        self.model = model
        self.beyond = beyond
        self.on_problem = on_problem
        # the key of the patient by bundle of one patient, and the bundles by patient
        self._residents: dict[str, str] = {}
        self._homes: dict[str, list[str]] = {}
        self._owner: dict[int, Loaded] = {}
        self._names = Names()
        self.mine: Callable[[Asked], bool] | None = None
        """Whose references are looked at where only some of the patients are at hand; what others mean is not known here."""
        self.several = False
        """Whether several patients, who are not at hand, bear the names that nobody here bears."""
        self._oddities = oddities
        self._unnamed = UnnamedPatients(on_problem)
        self._listed: dict[str, tuple[CohortPatient, str]] = {}
        self._relatives: dict[int, list[str]] | None = None
        self._persons = Persons()
        self._merge = merge
        self._whole = True
        self._shared_types = shared_types(model)
        self._counting = Counting(
            versions if versions is not None else Versions(),
            on_problem,
            self._shared_types,
            self._is_nobodys,
            silent=beyond is not None,
        )
        self._by_key = self._counting.by_key
        self.nobodys = Nobodys(self._counting.of_bundle)
        """What is about no patient; complete once patients were given out."""
        self._urns = SharedUrns()
        self._addresses = Addresses(self._counting, self._residents, self.nobodys, self._urns)
        self._named: dict[int, tuple[Resource, str]] = {}
        self._namesakes: dict[str, list[str]] = {}
        self._first: dict[str, Loaded] = {}

    # -- taking in

    def add(self, loaded: Loaded) -> None:
        """Take in one resource (or deletion)."""
        self._counting.delete(loaded)
        if loaded.resource is None or loaded.superseded:
            return
        resource = with_text_as_id(loaded.resource)
        if resource is not loaded.resource:
            loaded.odd_id, loaded.resource = loaded.resource["id"], resource
        key = self._assign(loaded)
        self._counting.add(key, loaded)
        if key is not None and resource["resourceType"] == "Patient" and not entered_in_error(resource):
            self._first.setdefault(key, loaded)

    def remove(self, deletions: Deletions) -> None:
        """Go by deletions that were resolved elsewhere."""
        self._counting.remove(deletions)

    def _assign(self, loaded: Loaded) -> str | None:
        """The key of a resource; who lives in a bundle of one patient, and what is about nobody there, is noted."""
        resource = loaded.resource
        assert resource is not None
        patient, key = resource["resourceType"] == "Patient", self._key(loaded)
        if loaded.home == NO_HOME:
            return key
        home, alone = bundle_of(loaded), stands_alone(loaded.home)
        if patient:
            if alone and key == loaded.name:
                key = self._person(loaded, key, home)
                if key != loaded.name:
                    # the resource is held, so that nothing else can have its identity
                    self._named[id(resource)] = resource, key
            assert key is not None
            self._residents[home] = key
            if alone:
                self._homes.setdefault(key, []).append(home)
        elif alone and id_of(resource) and self._is_nobodys(resource) and not on_a_server(_address(key)):
            self.nobodys.stands_in(home, loaded)
        return key

    def _person(self, loaded: Loaded, name: str, home: str) -> str:
        """The key of a Patient in a bundle that stands for itself: of two that cannot be one person each is known by its own."""
        assert loaded.resource is not None
        others = self._namesakes.setdefault(name, [])
        differ = None
        for key in others:
            known = self._by_key[key]
            assert known.resource is not None
            differ = contradiction(known.resource, loaded.resource)
            if differ is None:
                return key
        if differ is None:
            others.append(name)
            return name
        message = f"{name} is another person here than in {self._by_key[name].file}: they differ in {differ}, and each stands in a bundle of its own"
        self._report(loaded, "same-id", message, warning=True, hint=_SAME_ID_HINT)
        others.append(f"{home}#{name}")
        return others[-1]

    def first_of(self, patient: CohortPatient) -> Loaded:
        """Where a patient first appears: the first Patient resource, else the first record."""
        return self._first.get(patient.key) or patient.loaded or patient.like or patient.resources[0]

    def _key(self, loaded: Loaded) -> str | None:
        resource = loaded.resource
        assert resource is not None
        kind = resource["resourceType"]
        key, identifier = address_of(loaded.full_url), id_of(resource)
        if key is not None:
            known = identifier is not None or kind == "Patient" or self._is_nobodys(resource)
            key = self._urns.key(key, kind, identifier or "" if known else owner_of(loaded, self._about(resource)))
        if key is None and identifier is None and kind == "Patient":
            return self._unnamed.key(loaded)
        if key is None and identifier is not None:
            key = f"{kind}/{identifier}"
            if stands_alone(loaded.home):
                if kind == "Patient":
                    return self._named[id(resource)][1] if id(resource) in self._named else key
                if not self._is_nobodys(resource):
                    return f"{bundle_of(loaded)}#{key}"
        if key is not None and kind in self._shared_types and self.model.patient_paths(kind):
            return key + NOBODYS if self._is_nobodys(resource) else key
        return key

    def key_of(self, loaded: Loaded) -> str | None:
        """The key by which a resource that was taken in is known, None where it has none."""
        return self._key(loaded)

    def _is_nobodys(self, resource: Resource) -> bool:
        """Whether a resource is about no patient, as its type allows."""
        kind = resource["resourceType"]
        return kind in self._shared_types and names_no_patient(self._about(resource))

    def _about(self, resource: Resource) -> Iterator[Any]:
        """The values of the elements that may name a patient."""
        for path in self.model.patient_paths(resource["resourceType"]) or ("subject", "patient"):
            yield from values_below(resource, path.split("."))

    def _report(self, loaded: Loaded, code: str, message: str, **more: Any) -> None:
        self.on_problem(problem_of(loaded, code, message, **more))

    # -- giving out

    def compartments(self, *, whole: bool = True) -> Iterator[Compartment]:
        """Patients with their resources, in the order of the Patient resources (a patient without one: of the first record).

        Without `whole` there may be Patient resources besides those at hand.
        """
        self._whole = whole
        for patient, reference in self.patients():
            if whole:
                self.report_undescribed(patient, reference)
            yield self.compartment(patient, reference)

    def report_undescribed(self, patient: CohortPatient, reference: str) -> None:
        """Report a patient whom no Patient resource describes, if it is one."""
        first = patient.resources[0] if patient.resources else patient.like
        if patient.loaded is None and first is not None:
            self.on_problem(undescribed(first, reference))

    def patients(self) -> Iterator[tuple[CohortPatient, str]]:
        """Patients and how each is named, in order."""
        everything = self.note_names(deleted=True)
        order: dict[str, CohortPatient] = {}
        records: list[tuple[int, Loaded, Iterator[Any]]] = []
        for place, loaded in enumerate(everything):
            assert loaded.resource is not None
            key = self._key(loaded)
            counted = self._counting.doubt(key)
            if loaded.resource["resourceType"] == "Patient":
                assert key is not None
                patient = order.setdefault(key, CohortPatient(key, None, place))
                patient.loaded, patient.place = loaded, place
                patient.forms = counted
            elif self._is_nobodys(loaded.resource):
                self.nobodys.add(loaded, on_a_server(_address(key)), counted)
            else:
                forms = counted.forms if counted is not None else (loaded,)
                records += ((place, form, self._about(form.resource)) for form in forms if form.resource is not None)
        linking = Linking(self._addresses, self._key, self._names, self._oddities, self.mine, self.several)
        self._merge_persons(order, linking)
        self._hold(linking.links(records, list(order)), order)
        for key in self._persons.gone:
            order.pop(key, None)
        self._without_deleted(order)
        for patient in order.values():
            for loaded in patient.resources:
                if stands_alone(loaded.home) and self._resident(loaded) != patient.key:
                    message = f"{loaded.name} is about {_short(patient)}, not about the one Patient of its bundle"
                    self._report(loaded, "other-patient", message, warning=True, hint=_OTHER_HINT)
        names = Counter(map(_short, order.values()))
        for patient in sorted(order.values(), key=lambda patient: patient.place):
            short = _short(patient)
            self._listed[patient.key] = patient, short if names[short] == 1 else name_at(patient.loaded, patient.key)
        if self._oddities is not None:
            for problem in self._oddities.problems():
                self.on_problem(problem)
        yield from self._listed.values()

    def _merge_persons(self, order: dict[str, CohortPatient], linking: Linking) -> None:
        """Have Patients who are one person count as one."""
        described = {key: patient.loaded for key, patient in order.items() if patient.loaded is not None}
        known = described, linking.of, self._names, self._counting.versions, self.on_problem
        self._persons = persons_of(*known, merge=self._merge, whole=self._whole)
        linking.bearing = self._persons.bearing
        for key in self._persons.same:
            to = self._persons.of(key)
            if key in order:
                patient = order.pop(key)
                # nobody is lost of whom only another Patient tells
                order.setdefault(to, CohortPatient(to, None, patient.place, like=patient.loaded))
            self._homes.setdefault(to, []).extend(self._homes.pop(key, []))

    def merged_into(self, patient: CohortPatient) -> frozenset[str]:
        """The keys of those who count for a patient."""
        return frozenset(key for key in self._persons.same if self._persons.of(key) == patient.key)

    def _resident(self, loaded: Loaded) -> str | None:
        """The patient of the bundle of one patient in which a resource stands."""
        found = self._residents.get(bundle_of(loaded)) if loaded.home != NO_HOME else None
        return None if found is None else self._persons.of(found)

    def note_names(self, *, deleted: bool = False) -> list[Loaded]:
        """Note by which names what was taken in is called; gives what is left after duplicates and deletions, in the order of the data.

        With `deleted`, patients who were deleted are among it, until it is known which records are about them.
        """
        everything = self._counting.surviving(deleted=deleted)
        for loaded in everything:
            assert loaded.resource is not None
            self._owner[id(loaded.resource)], key = loaded, self._key(loaded)
            if key is not None and id_of(loaded.resource) is not None and key != loaded.name:
                self._addresses.add_alias(loaded.name, key)
            if loaded.resource["resourceType"] == "Patient":
                assert key is not None
                self._describe(loaded, key)
        return everything

    def _hold(self, linked: Iterable[tuple[int, Loaded, Links]], order: dict[str, CohortPatient]) -> None:
        """Give records to the patients that they are about; what is in doubt, to all whom it may be about."""
        held: dict[tuple[str, str], Held] = {}
        about: dict[int, list[str]] = {}
        for place, loaded, links in linked:
            resident = self._resident(loaded) if stands_alone(loaded.home) else None  # a search may find anybody's
            named = whose(loaded, links, resident, self.on_problem)
            about[id(loaded)] = list(dict.fromkeys(map(self._persons.of, named)))
            whole = self._counting.held(self._key(loaded), loaded)
            if loaded is not whole.forms[-1]:
                continue  # the last form comes behind the others
            for name in dict.fromkeys(name for form in whole.forms for name in about[id(form)]):
                mine = whole.of([form for form in whole.forms if name in about[id(form)]])
                patient = order.setdefault(name, CohortPatient(name, None, place))
                only = self._name_for(name, mine.forms[0])
                known = held.get((name, only)) if only is not None else None
                if known is None:
                    patient.records.append(mine)
                    if only is not None:
                        held[name, only] = mine
                else:
                    known.merge(mine, self._counting.count([*known.forms, *mine.forms]))
        for patient in order.values():
            patient.join_addresses(partial(self._name_for, patient.key), self._counting.count)

    def _without_deleted(self, order: dict[str, CohortPatient]) -> None:
        """Take away the patients who were deleted, with their records; that is reported."""
        for key, patient in list(order.items()):
            if patient.loaded is None and self._counting.is_removed(key):
                self._counting.gone[key] = patient.records[0].forms[0]
            if key in self._counting.gone:
                first, name = self._counting.gone[key], _short(patient)
                message = f"{name} was deleted: there is no verdict, and records about this patient are not used"
                self.on_problem(problem_of(first, "deleted", message, warning=True, resource=name, patient=name))
                del order[key]
                self._by_key.pop(key, None)

    def _name_for(self, patient: str, loaded: Loaded) -> str | None:
        """The `Type/id` under which a patient has one thing only; None where the resource is known otherwise."""
        assert loaded.resource is not None
        if id_of(loaded.resource) is None or address_of(loaded.full_url) is not None:
            return None
        if stands_alone(loaded.home) and self._resident(loaded) != patient:
            return None
        return loaded.name

    def _describe(self, loaded: Loaded, key: str) -> None:
        """Note by which names a Patient is known, and what is odd about the id."""
        assert loaded.resource is not None
        replaced, identifier = is_replaced(loaded.resource), id_of(loaded.resource)
        for one in self._counting.all_versions(key, loaded):  # records may go by what was changed since
            for name, last in names_of(one.resource or {}, one.full_url):
                self._names.add(name, key, last or replaced)
        if identifier is None:
            return
        self._addresses.add_spelling(identifier)
        if self._oddities is not None:
            where = (loaded.offset or 0, -1 if loaded.entry is None else loaded.entry, loaded.line)
            for odd in odd_ids(identifier if loaded.odd_id is None else loaded.odd_id, loaded.full_url):
                self._oddities.add(odd, loaded.file, loaded.name, f"{identifier!r:.200}", *where)

    def compartment(self, patient: CohortPatient, reference: str) -> Compartment:
        """A patient with the resources about them."""
        resources: dict[str, list[Resource]] = {}
        origins: dict[int, ResourceOrigin] = {}
        for held in patient.records:
            for loaded in held.forms:
                origins[id(loaded.resource)] = origin_of(loaded)
                if loaded.resource is not None:
                    self._owner.setdefault(id(loaded.resource), loaded)
            used = held.forms[0].resource
            assert used is not None
            resources.setdefault(used["resourceType"], []).append(used)
        root = patient.loaded.resource if patient.loaded is not None else None
        if patient.loaded is not None and root is not None:
            origins[id(root)] = origin_of(patient.loaded)
        others, doubts = partial(self.other, holder=root), list(patient.doubts())
        return Compartment(
            root,
            reference,
            resources,
            origins,
            self.find,
            others,
            self._view(patient),
            tuple(self._persons.gaps.get(patient.key, ())),
            doubts=doubts + self._persons.in_doubt.get(patient.key, []),
            reached=self.doubts_about,
        )

    def doubts_about(self, resource: Resource, holder: Resource | None) -> list[InDoubt]:
        """The doubts about a resource that was found for a reference, as it stands in another resource."""
        found = self._owner.get(id(holder)) if holder is not None else None
        return self.doubts_beside(resource, found)

    def doubts_beside(self, resource: Resource, holder: Loaded | None) -> list[InDoubt]:
        """The same, given how the other was read."""
        loaded = self._owner.get(id(resource))
        if loaded is None:
            return self.beyond.doubts_beside(resource, holder) if self.beyond is not None else []
        marks = marks_of(resource) if loaded.marked else ()
        if holder is not None and stands_alone(holder.home) and bundle_of(holder) == bundle_of(loaded):
            return [*marks]  # of several, that of the own bundle is meant
        held = self._counting.held(self._key(loaded), loaded)
        return [*doubts_of(held), *marks]

    def _view(self, patient: CohortPatient) -> SharedResources:
        """What is about nobody, as a patient sees it."""
        homes = [home for home in self._homes.get(patient.key, ()) if home in self.nobodys.homes]
        base = self if self.beyond is None else self.beyond
        if not homes:
            return base.nobodys.shared
        own, doubts = self.nobodys.of_bundles(homes)
        own = {name: one for name, one in own.items() if not self._counting.is_removed(name)}
        self._owner.update((id(loaded.resource), loaded) for loaded in own.values())
        return base.nobodys.seen_with(own, doubts)

    def other(self, asked: Resource | str, holder: Resource | None) -> Compartment | None:
        """The compartment of the patient that a Patient, a RelatedPerson, or a reference to one means, as it stands in the data of `holder`.

        A RelatedPerson is the patient whose `Patient.link.other` names it. Raises EvaluationError `related-patient-missing` where it is named by
        several, `related-context` for what is no person.
        """
        home = self._owner.get(id(holder)) if holder is not None else None
        found: Loaded | None = None
        if not isinstance(asked, str):
            found = self._owner.get(id(asked))
            asked = f"{asked.get('resourceType')}/{asked.get('id')}"
        found = found or self._addresses.lookup(asked, home)
        if found is None or found.resource is None:
            meant = asked.partition("/_history/")[0]
            check_names_person(meant)
            root = root_of(home.full_url) if home is not None else None
            # whom no Patient describes
            listed = ((key, self._listed.get(key)) for key in (f"{root}{meant}" if root else meant, meant))
            keys = [key for key, one in listed if one is not None and one[0].loaded is None][:1]
        elif found.resource["resourceType"] == "Patient":
            keys = [self._persons.of(self._key(found) or f"Patient/{id(found.resource)}")]
        elif found.resource["resourceType"] != "RelatedPerson":
            raise no_person(asked)
        else:
            keys = self._linked().get(id(found.resource), [])
        if len(keys) > 1:
            names = ", ".join(self._listed[key][1] for key in keys)
            raise EvaluationError("related-patient-missing", f"several patients are linked to {asked}: {names}")
        return self.compartment(*self._listed[keys[0]]) if keys and keys[0] in self._listed else None

    def _linked(self) -> dict[int, list[str]]:
        """Keys of the patients by the resource, a RelatedPerson, that their `link.other` names."""
        if self._relatives is None:
            persons: dict[int, dict[str, None]] = {}
            for key, (patient, _) in self._listed.items():
                if patient.loaded is None:
                    continue
                for other in values_below(patient.loaded.resource, ["link", "other", "reference"]):
                    found = self._addresses.lookup(other, patient.loaded) if isinstance(other, str) else None
                    if found is not None and found.resource is not None:
                        persons.setdefault(id(found.resource), {})[key] = None
            self._relatives = {resource: list(keys) for resource, keys in persons.items()}
        return self._relatives

    # -- references

    def named(self, key: str) -> Resource | None:
        """The resource that is known by `Type/id`, or by its whole address; None where there is none or a version is meant."""
        found = self._addresses.known(key)
        return found.resource if found is not None else None

    def find(self, reference: str, from_resource: Resource | None) -> Resource | None:
        """Resolve a reference as it stands in a resource; a version that is named must be the one at hand."""
        loaded = self._owner.get(id(from_resource)) if from_resource is not None else None
        return in_version(self.meant(reference, loaded), reference, loaded, self.on_problem)

    def meant(self, reference: str, loaded: Loaded | None) -> Loaded | None:
        """The resource that a reference means as it stands in another, whatever version it names.

        That depends on nothing but the resources that bear one of the names that the reference may mean.
        """
        found = self._addresses.lookup(reference, loaded)
        if found is None and self.beyond is not None:
            found = self.beyond._addresses.lookup(reference, loaded)
        return found


_SAME_ID_HINT = "they count as two patients; what names the patient outside of these bundles counts for the first"
_OTHER_HINT = "it does not count for the Patient of the bundle; mend the reference if it should"


def _address(key: str | None) -> str:
    return (key or "").removesuffix(NOBODYS)


def _short(patient: CohortPatient) -> str:
    resource = patient.loaded.resource if patient.loaded is not None else None
    if resource is not None and id_of(resource):
        return f"Patient/{resource['id']}"
    match = RESTFUL.fullmatch(patient.key)
    if match is not None:
        return match["path"]
    written = patient.loaded.full_url if patient.loaded is not None else None
    address = address_of(written)
    return written if written is not None and patient.key in (address, f"{address}#") else patient.key
