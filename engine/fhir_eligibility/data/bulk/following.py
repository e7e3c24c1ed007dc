"""References of one patient's resources to anything in the export: to the patient's own, to what is about no patient, and to other patients' records.

What a reference means depends on nothing but the resources that bear a name that it may mean. These are looked up, wherever they stand, and a small cohort
of them alone says which one it is, as a cohort of everything would (`fhir_eligibility.data.patients.cohort`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.references import meaning_of, plain_id, root_of
from fhir_eligibility.data.bulk.name_index import RecordIndex
from fhir_eligibility.data.bulk.naming import group_name, keys_of, link_names, names_meant, names_of
from fhir_eligibility.data.bulk.records import ReadRecord
from fhir_eligibility.data.patients.cohort import Cohort
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.records.deletions import Deletions
from fhir_eligibility.data.records.identity import address_of, on_a_server, stands_alone, values_below
from fhir_eligibility.data.records.in_doubt import InDoubt, marks_of
from fhir_eligibility.data.records.record_versions import Versions
from fhir_eligibility.data.records.referring import check_names_person, in_version, no_person
from fhir_eligibility.data.records.sources import Loaded, OnProblem

Resource = dict[str, Any]
Identity = tuple[Any, ...]
"""What tells one record of the data from another, for whichever group it is kept."""
REMEMBERED = 2 << 20
"""Bytes of the texts of resources that are remembered for the next patient, about."""
_LEAST = 100


class Person(NamedTuple):
    """A patient of a group: the key that a cohort knows them by, the Patient resource as it was read, the compartment, the keys of those who count for it, and whether
    there is a row for it."""

    key: str
    loaded: Loaded | None
    compartment: Compartment
    same: frozenset[str] = frozenset()
    row: bool = True

    def is_at(self, found: FollowedReference) -> bool:
        """Whether the patient is a Patient that a reference means; of several that bear one urn, whose keys depend on which of them are at hand, the one with the id."""
        if found.key in self.same or self.loaded is None:
            return found.key in (self.key, *self.same)
        address = address_of(self.loaded.full_url)
        if address is None or on_a_server(address):
            return found.key == self.key
        return (address, self.loaded.name) == (address_of(found.loaded.full_url), found.loaded.name)


class FollowedReference(NamedTuple):
    """What a reference means: the resource as it was read, its record, the key that a cohort knows it by, and what is in doubt about it."""

    loaded: Loaded
    record: ReadRecord
    key: str
    doubts: tuple[InDoubt, ...] = ()


def identity_of(record: ReadRecord) -> Identity:
    """What tells a record from others; copies of one that are kept for several groups are the same."""
    text = record.raw or id(record.facts)
    return record.file, record.offset, record.entry, record.home, record.kind, record.id, record.full_url, text


class Everyone:
    """All records of an export by name; `shared` are those of no patient, `extra` some that the index does not have, `joined` as `Resolved` has it."""

    def __init__(
        self,
        index: RecordIndex,
        shared: Iterable[ReadRecord] = (),
        extra: Iterable[ReadRecord] = (),
        joined: Mapping[str, str] | None = None,
    ) -> None:
        self.index = index
        self.joined = joined or {}
        self.remembered = _Remembered()
        self._more: dict[str, list[ReadRecord]] = {}
        for record in shared:
            for name in names_of(record):
                self._more.setdefault(name, []).append(record)
        for record in extra:
            for name in keys_of(record, True):
                self._more.setdefault(name, []).append(record)
        self._members: dict[str, list[str]] = {}
        for group, name in self.joined.items():
            self._members.setdefault(name, []).append(group)

    def number(self, name: str) -> int:
        """How many records may bear a name: no fewer than do."""
        return self.index.count(name) + len(self._more.get(name, ()))

    def bearing(self, names: Iterable[str]) -> list[ReadRecord]:
        """The records that bear some names, or a name of one that does, and so on; each once, in the order of the data."""
        found: dict[Identity, ReadRecord] = {}
        todo, seen = list(names), set(names)
        while todo:
            name = todo.pop()
            for record in self._under(name):
                others = names_of(record)
                if name in others:
                    found.setdefault(identity_of(record), record)
                    todo += [other for other in others if other not in seen]
                    seen.update(others)
        return sorted(found.values(), key=lambda record: record.position)

    def group(self, group: str) -> tuple[str, list[ReadRecord]]:
        """The name under which a group is looked at, and its records in the order of the data."""
        name = self.joined.get(group, group)
        members = self._members.get(name, [name])
        records = [
            record for member in members for record in self._under(group_name(member)) if record.group in members
        ]
        return name, sorted(records, key=lambda record: record.position)

    def groups_linked_to(self, names: Sequence[str]) -> list[str]:
        """The groups of Patients that may be linked to a person who bears some names, in the order of the data."""
        listed = link_names(list(names))
        records = [record for name in listed for record in self._under(name) if record.kind == "Patient"]
        records.sort(key=lambda record: record.position)
        return list(dict.fromkeys(self.joined.get(record.group, record.group) for record in records))

    def _under(self, name: str) -> Sequence[ReadRecord]:
        more = self._more.get(name)
        found = self.index.records(name)
        return found if more is None else [*found, *more]


class _Remembered:
    """What references were found to mean, the same for all patients; what was not asked for longest is forgotten."""

    def __init__(self) -> None:
        self._known: OrderedDict[Any, tuple[FollowedReference | None, int]] = OrderedDict()
        self._held = 0

    def __contains__(self, asked: Any) -> bool:
        return asked in self._known

    def __getitem__(self, asked: Any) -> FollowedReference | None:
        self._known.move_to_end(asked)
        return self._known[asked][0]

    def __setitem__(self, asked: Any, found: FollowedReference | None) -> None:
        size = _LEAST + (len(found.record.raw) if found is not None else 0)
        self._known[asked] = found, size
        self._held += size
        while self._held > REMEMBERED:
            self._held -= self._known.popitem(last=False)[1][1]


class World(NamedTuple):
    """What followers of all patients share.

    `read` gives a record as it was read, `shared` what is about no patient, by `identity_of`, `holders` the same by `id()` of the resource, and `people`
    the patients of a group.
    """

    model: Model
    everyone: Everyone
    deletions: Deletions
    versions: Versions
    read: Callable[[ReadRecord], Loaded | None]
    shared: Mapping[Identity, Loaded]
    holders: Mapping[int, tuple[ReadRecord, Loaded]]
    people: Callable[[str, list[ReadRecord], Mapping[str, str]], list[Person]]
    on_problem: OnProblem


class Follower:
    """Follows the references of one patient's resources; `own` are the patient's records with the resources as they were read."""

    __slots__ = ("_by_name", "_doubts", "_foreign", "_holders", "_mine", "_own", "_people", "world")

    def __init__(self, world: World, own: Sequence[tuple[ReadRecord, Loaded]]) -> None:
        self.world = world
        self._own = own
        self._mine: dict[Identity, Loaded] | None = None
        self._by_name: dict[str, list[tuple[ReadRecord, Loaded]]] = {}
        self._holders: dict[int, tuple[ReadRecord, Loaded]] = {}
        self._foreign: dict[Identity, Loaded] = {}
        self._people: dict[str, list[Person]] = {}
        self._doubts: dict[int, tuple[InDoubt, ...]] = {}

    def find(self, reference: str, holder: Resource | None) -> Resource | None:
        """The resource that a reference means as it stands in another, in the version that it names, if it does."""
        context = self._context(holder)
        found = self.meant(reference, context)
        if found is not None and found.doubts:
            self._doubts[id(found.loaded.resource)] = found.doubts
        return in_version(found.loaded if found is not None else None, reference, context, self.world.on_problem)

    def doubts_about(self, resource: Resource, holder: Resource | None) -> Sequence[InDoubt]:
        """The doubts about a resource that was found for a reference."""
        return self._doubts.get(id(resource), ())

    def other(self, asked: Resource | str, holder: Resource | None) -> Compartment | None:
        """As `Cohort.other`."""
        context, everyone = self._context(holder), self.world.everyone
        found: FollowedReference | None = None
        if not isinstance(asked, str):
            found = self._as_it_stands(asked)
            asked = f"{asked.get('resourceType')}/{asked.get('id')}"
        found = found or self.meant(asked, context)
        if found is None:
            return self._undescribed(asked, context)
        if found.record.kind == "Patient":
            people = [person for person in self._of_group(found.record.group) if person.is_at(found)]
        elif found.record.kind != "RelatedPerson":
            raise no_person(asked)
        else:
            groups = everyone.groups_linked_to([*names_of(found.record)])
            people = [p for group in groups for p in self._of_group(group) if self._is_linked(p, found)]
        if len(people) > 1:
            names = ", ".join(person.compartment.reference for person in people)
            raise EvaluationError("related-patient-missing", f"several patients are linked to {asked}: {names}")
        return people[0].compartment if people else None

    def _undescribed(self, asked: str, context: Loaded | None) -> Compartment | None:
        """The patient whom a reference means and no Patient resource describes."""
        unversioned = asked.partition("/_history/")[0]
        check_names_person(unversioned)
        meaning = meaning_of(unversioned)
        root = root_of(context.full_url) if context is not None else None
        people = self._of_group(plain_id(meaning.id))
        for key in (f"{root}{unversioned}" if root else unversioned, unversioned):
            for person in people:
                if person.key == key and person.loaded is None:
                    return person.compartment
        return None

    def meant(self, reference: str, context: Loaded | None) -> FollowedReference | None:
        """What a reference means as it stands in a resource (None: in one that is not known), whatever version it names."""
        names = names_meant(reference)
        mine = self._only_mine(names)
        if mine is not None:
            if not mine:
                return None
            if len(mine) == 1 and self._plainly(mine[0][0], reference, context):
                record, loaded = mine[0]
                marks = tuple(marks_of(loaded.resource)) if loaded.marked and loaded.resource is not None else ()
                return FollowedReference(loaded, record, address_of(record.full_url) or loaded.name, marks)
        remembered, asked = self.world.everyone.remembered, _asked(reference, context)
        if asked not in remembered:
            remembered[asked] = self._among(names, reference, context)
        found = remembered[asked]
        if found is None:
            return None
        loaded = self._at_hand(found.record) or self._foreign.setdefault(identity_of(found.record), found.loaded)
        self._holders[id(loaded.resource)] = found.record, loaded
        # the doubts are about the resource as this patient has it
        doubts = tuple(replace(one, record=loaded.resource) for one in found.doubts)
        return FollowedReference(loaded, found.record, found.key, doubts)

    def _among(self, names: Sequence[str], reference: str, context: Loaded | None) -> FollowedReference | None:
        """What a reference means among all that bear some names."""
        cohort, records = self._bearing(names)
        found = cohort.meant(reference, context)
        if found is None or found.resource is None:
            return None
        key, doubts = cohort.key_of(found) or found.name, tuple(cohort.doubts_beside(found.resource, context))
        return FollowedReference(found, records[id(found.resource)], key, doubts)

    def _bearing(self, names: Sequence[str]) -> tuple[Cohort, dict[int, ReadRecord]]:
        """All that bear some names as a cohort, and their records by the identity of the resource."""
        world = self.world
        cohort = Cohort(world.model, _ignore, versions=world.versions)
        records: dict[int, ReadRecord] = {}
        for record in world.everyone.bearing(names):
            loaded = self._at_hand(record) or world.read(record)
            if loaded is not None:
                cohort.add(loaded)
                records[id(loaded.resource)] = record
        cohort.remove(world.deletions)
        cohort.note_names()
        return cohort, records

    def _at_hand(self, record: ReadRecord) -> Loaded | None:
        """The same as it was read for this patient, or for all, so that it is the same object again."""
        identity = identity_of(record)
        mine = self._mine_by_identity().get(identity)
        return mine or self.world.shared.get(identity) or self._foreign.get(identity)

    def _only_mine(self, names: list[str]) -> list[tuple[ReadRecord, Loaded]] | None:
        """The patient's own records that bear some names, where nobody else has such; else None."""
        self._mine_by_identity()
        found: list[tuple[ReadRecord, Loaded]] = []
        for name in names:
            mine = self._by_name.get(name, [])
            if self.world.everyone.number(name) != len(mine):
                return None
            found += mine
        return found

    def _plainly(self, record: ReadRecord, reference: str, context: Loaded | None) -> bool:
        """Whether the only record that bears a name which a reference may mean is what it means, without a closer look."""
        name = f"{record.kind}/{record.id}"
        if not record.plain or record.own or record.apart:
            return False
        if self.world.deletions and self.world.deletions.has(record.kind, record.id, record.full_url):
            return False
        meaning = meaning_of(reference)
        if meaning.form != "address" or meaning.path != name:
            return False
        root = meaning.root or (root_of(context.full_url) if context is not None else None)
        return record.full_url is None or record.full_url == f"{root or ''}{name}"

    def _mine_by_identity(self) -> dict[Identity, Loaded]:
        if self._mine is None:
            self._mine = {}
            for record, loaded in self._own:
                self._mine[identity_of(record)] = loaded
                self._holders[id(loaded.resource)] = record, loaded
                for name in names_of(record):
                    self._by_name.setdefault(name, []).append((record, loaded))
        return self._mine

    def _holder(self, resource: Resource | None) -> tuple[ReadRecord, Loaded] | None:
        """The record of a resource that this patient has, or was led to, and the resource as it was read."""
        if resource is None:
            return None
        self._mine_by_identity()
        return self._holders.get(id(resource)) or self.world.holders.get(id(resource))

    def _context(self, holder: Resource | None) -> Loaded | None:
        """Where a resource was read that references are followed from."""
        known = self._holder(holder)
        return known[1] if known is not None else None

    def _as_it_stands(self, resource: Resource) -> FollowedReference | None:
        """A resource that is at hand itself, with its key."""
        known = self._holder(resource)
        if known is None:
            return None
        record, loaded = known
        if record.plain and not record.apart and not stands_alone(record.home):
            return FollowedReference(loaded, record, address_of(record.full_url) or loaded.name)
        return FollowedReference(loaded, record, self._bearing(names_of(record))[0].key_of(loaded) or loaded.name)

    # -- other patients

    def _of_group(self, group: str) -> list[Person]:
        everyone = self.world.everyone
        name = everyone.joined.get(group, group)
        if name not in self._people:
            self._people[name] = self.world.people(*everyone.group(name), everyone.joined)
        return self._people[name]

    def _is_linked(self, person: Person, to: FollowedReference) -> bool:
        """Whether a patient's `link.other` means a RelatedPerson."""
        if person.loaded is None:
            return False
        for text in values_below(person.loaded.resource, ["link", "other", "reference"]):
            found = self.meant(text, person.loaded) if isinstance(text, str) else None
            if found is not None and identity_of(found.record) == identity_of(to.record):
                return True
        return False


def _asked(reference: str, context: Loaded | None) -> Any:
    """All that the meaning of a reference depends on besides the data (`Cohort.meant`)."""
    if context is None:
        return reference
    alone = (context.offset, context.home // 2) if stands_alone(context.home) else None
    return reference, context.full_url is None, root_of(context.full_url), context.file, alone


def _ignore(problem: object) -> None:
    return None
