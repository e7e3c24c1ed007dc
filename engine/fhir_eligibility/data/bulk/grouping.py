"""Records of a bucket to patients: the records of each patient are decoded when it is that patient's turn.

The usual patient - one Patient resource, every record known by its id and linked by type and id - is put together directly. Any other goes through
`Cohort`, which knows about duplicates, deletions, addresses and identifiers, with that patient's records alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from heapq import heappop, heappush
from typing import Any

from msgspec.structs import replace

from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.references import meaning_of, plain_id, root_of
from fhir_eligibility.data.bulk.decoding import Decoders
from fhir_eligibility.data.bulk.fingerprints import Fingerprints, Takeover
from fhir_eligibility.data.bulk.following import Everyone, Follower, Person, World, identity_of
from fhir_eligibility.data.bulk.records import Position, ReadRecord, called_as_several, is_orphan
from fhir_eligibility.data.bulk.rows import has_row
from fhir_eligibility.data.files.json_text import BAD_JSON, syntax_message
from fhir_eligibility.data.files.problems import NO_PATIENT, Problem
from fhir_eligibility.data.patients.cohort import Cohort
from fhir_eligibility.data.patients.compartment import Compartment, Fingerprint, ResourceOrigin
from fhir_eligibility.data.patients.completeness import gaps_of_nobodys
from fhir_eligibility.data.records.deletions import Deletion, Deletions
from fhir_eligibility.data.records.identity import NO_HOME, address_of, id_of, stands_alone
from fhir_eligibility.data.records.in_doubt import InDoubt, marks_of
from fhir_eligibility.data.records.record_versions import Versions
from fhir_eligibility.data.records.sources import Loaded
from fhir_eligibility.data.records.subjects import Asked

Resource = dict[str, Any]
# a named tuple made in one step
_origin = tuple.__new__
OnProblem = Callable[[Problem], None]


def _position(record: ReadRecord) -> Position:
    return record.position


class Grouping:
    """Puts patients together from records; `shared` are the records of no patient, `deleted` what the export says was deleted, each naming a resource, `marked` the
    types of which some resource is marked as a whole, `digests` the contents of records of which not all is kept."""

    def __init__(
        self,
        decoders: Decoders,
        model: Model,
        paths: list[str],
        on_problem: OnProblem,
        shared: Iterable[ReadRecord] = (),
        deleted: Iterable[Deletion] = (),
        marked: Iterable[str] = (),
        digests: Mapping[Position, bytes] | None = None,
        everyone: Everyone | None = None,
        *,
        merge: bool = False,
    ) -> None:
        """`everyone` is where references are looked up that lead to other patients' records, if criteria follow such. With `merge`, Patients that are linked as
        one person are one patient."""
        self.decoders = decoders
        self.model = model
        self.paths = paths
        self.on_problem = on_problem
        self.merge = merge
        self.marked = frozenset(marked)
        self.deletions = Deletions(deleted)
        self.versions = Versions(digests=digests)
        self.shared = Cohort(model, on_problem, versions=self.versions)
        records = sorted(shared, key=_position)
        names = Counter((record.kind, record.id) for record in records)
        self._several = frozenset(name for name, number in names.items() if number > 1)
        filled = self._fill(self.shared, records)
        self.shared.remove(self.deletions)
        for _ in self.shared.patients():
            pass  # they are of no patient
        self._nobodys = self.shared.nobodys.shared
        self._plain: dict[tuple[str, str], Resource | None] = {}
        self.fingerprints: Fingerprints | None = None
        """Makes the fingerprints of patients, where they are kept."""
        self.takeover: Takeover | None = None
        """Takes over patients whose records did not change since an earlier run, where there is one."""
        self.in_order = True
        """Whether the records that are given are in the order of the data."""
        self._world: World | None = None
        if everyone is not None:
            self._world = self._world_of(everyone, filled)

    def _world_of(self, everyone: Everyone, shared: Sequence[tuple[ReadRecord, Loaded]]) -> World:
        quiet = copy(self)
        quiet.on_problem = _ignore
        quiet._world = World(
            self.model,
            everyone,
            self.deletions,
            self.versions,
            quiet._loaded,
            {identity_of(record): loaded for record, loaded in shared},
            {id(loaded.resource): (record, loaded) for record, loaded in shared},
            quiet._people,
            self._report,
        )
        return quiet._world

    def _report(self, problem: Problem) -> None:
        self.on_problem(problem)

    def _people(self, group: str, records: list[ReadRecord], joined: Mapping[str, str]) -> list[Person]:
        """The patients of a group, whose records are all there; of several groups that are looked at together with `joined`."""
        together = joined if group in joined else None
        simple = self._simple(records) if together is None and not is_orphan(group) else None
        if simple is None:
            return [person for _, person in self._any(records, group, together)]
        (record,) = (one for one in records if one.kind == "Patient")
        loaded = self._read(record, simple.patient)
        return [Person(address_of(record.full_url) or loaded.name, loaded, simple)]

    def patients(
        self, records: Iterable[ReadRecord], joined: Mapping[str, str] | None = None
    ) -> Iterator[tuple[Position, Compartment]]:
        """The patients of some records, in the order of the data, each with its place there.

        `joined` maps groups that are to be looked at together to one name for them.
        """
        groups: dict[str, list[ReadRecord]] = {}
        places: dict[str, Position] = {}
        first: set[str] = set()
        for record in records:
            group = record.group if joined is None else joined.get(record.group, record.group)
            found = groups.get(group)
            if found is None:
                groups[group] = [record]
                places[group] = (record.file, record.offset, record.entry)
            else:
                found.append(record)
            if record.kind == "Patient":
                if group not in first or record.position < places[group]:
                    places[group] = record.position
                first.add(group)
            elif joined is not None and group not in first:
                # records that are looked at together come from several places
                places[group] = min(places[group], record.position)
        waiting: list[tuple[Position, int, Compartment]] = []
        for group in sorted(groups, key=places.__getitem__):
            while waiting and waiting[0][0] < places[group]:
                place, _, compartment = heappop(waiting)
                yield place, compartment
            found = groups.pop(group)
            if not self.in_order:
                found.sort(key=_position)
            try:
                simple = self._simple(found) if joined is None and not is_orphan(group) else None
                several = [] if simple is not None else list(self._any(found, group, joined))
            except (OSError, MemoryError):
                raise
            except Exception as error:
                # an error of this program, which shall not cost anybody else the verdict
                self._lost(group, found[0], error)
                continue
            if simple is not None:
                yield places[group], simple
                continue
            several = [one for one in several if one[1].row]
            # a group may hold several patients, who appear at different places
            for number, (place, person) in enumerate(several, len(waiting)):
                heappush(waiting, (max(place, places[group]), number, person.compartment))
        while waiting:
            place, _, compartment = heappop(waiting)
            yield place, compartment

    def _lost(self, group: str, record: ReadRecord, error: Exception) -> None:
        """Report that a patient could not be put together."""
        message = f"the records of this patient could not be put together, and there is no verdict: {error!r:.300}"
        self.on_problem(
            Problem(file=self.paths[record.file], patient=f"Patient/{group}", code="not-read", message=message)
        )

    @staticmethod
    def _one_patient(records: list[ReadRecord]) -> ReadRecord | None:
        """The one Patient of some records that all refer to it plainly, each being there once; None where a closer look is needed."""
        head = records[0]
        local, file, offset = head.local, head.file, head.offset
        names: set[tuple[str, str | None]] = set()
        root: str | bool | None = False
        patient: ReadRecord | None = None
        homes: set[tuple[int, int, int]] = set()
        for record in records:
            kind, full_url = record.kind, record.full_url
            if local:
                if not record.local or record.file != file or record.offset != offset:
                    return None
            elif not record.plain:
                return None
            else:
                own = full_url and full_url[: -len(kind) - len(record.id or "") - 1]
                if own != root:
                    if root is not False:
                        return None
                    root = own
            if record.home != NO_HOME and stands_alone(record.home):
                homes.add((record.file, record.offset, record.home))
            names.add((kind, record.id or full_url))
            if kind == "Patient":
                if patient is not None:
                    return None
                patient = record
        if patient is None or len(names) != len(records):
            return None
        if homes and homes != {(patient.file, patient.offset, patient.home)}:
            return None  # some stand in a bundle of another patient, or of another file
        return patient

    def _simple(self, records: list[ReadRecord]) -> Compartment | None:
        """A patient that needs no closer look, None for any other."""
        nobodys = [record for record in records if record.own]
        if nobodys:
            # what is about nobody is at hand, but where a patient's own bundle may tell something else of it
            if not self._several.isdisjoint([(record.kind, record.id) for record in nobodys]):
                return None
            records = [record for record in records if not record.own]
        if not records:
            return None
        patient = self._one_patient(records)
        if patient is None:
            return None
        if self.deletions and any(self.deletions.has(record.kind, record.id, record.full_url) for record in records):
            return None
        mark: Fingerprint | None = None
        if self.fingerprints is not None and self._world is None:
            value = self.fingerprints.of_records(records, self.paths)
            mark = Fingerprint(value, patient.group)
            if value is not None and self.takeover is not None:
                taken = self.takeover.taken(value, patient, partial(self.decoders.resource, patient))
                if taken is not None:
                    return taken
        resources: dict[str, list[Resource]] = {}
        origins: dict[int, ResourceOrigin] = {}
        decode, paths, follows = self.decoders.resource, self.paths, self._world is not None
        owner: Resource | None = None
        decoded: list[tuple[ReadRecord, Resource]] = []
        for record in records:
            try:
                resource = decode(record)
            except BAD_JSON:
                return None
            if follows:
                decoded.append((record, resource))
            entry = record.entry if record.entry >= 0 else None
            origins[id(resource)] = _origin(ResourceOrigin, (paths[record.file], entry, None, record.full_url))
            if record is patient:
                owner = resource
                continue
            same = resources.get(record.kind)
            if same is None:
                resources[record.kind] = [resource]
            else:
                same.append(resource)
        reference = f"Patient/{patient.id}" if patient.id else patient.full_url or ""
        doubts = self._doubts(owner, resources) if self.marked else ()
        if self._world is not None:
            follower = Follower(self._world, [(record, self._read(record, found)) for record, found in decoded])
            others = partial(follower.other, holder=owner)
            return Compartment(
                owner,
                reference,
                resources,
                origins,
                follower.find,
                others,
                shared=self._nobodys,
                doubts=doubts,
                reached=follower.doubts_about,
            )
        find = _Finder(self, owner, resources, origins, mark)
        return Compartment(
            owner, reference, resources, origins, find, shared=self._nobodys, doubts=doubts, fingerprint=mark
        )

    def _doubts(self, owner: Resource | None, resources: Mapping[str, list[Resource]]) -> list[InDoubt]:
        """The doubts that a patient's records tell of themselves."""
        found = [doubt for kind in self.marked for one in resources.get(kind, ()) for doubt in marks_of(one)]
        return [*marks_of(owner), *found] if owner is not None and "Patient" in self.marked else found

    def _any(
        self, records: list[ReadRecord], group: str, joined: Mapping[str, str] | None
    ) -> Iterator[tuple[Position, Person]]:
        """Patients of a group by way of a cohort; patients of other groups that its records mention as well are left to those."""
        nobodys: list[Problem] = []
        report = partial(_noting, self.on_problem, nobodys)
        cohort = Cohort(self.model, report, self.shared, versions=self.versions, merge=self.merge)
        lost = any(is_orphan(record.group) for record in records)
        cohort.mine = partial(_mine, group=group, joined=joined, lost=lost)
        cohort.several = lost and any(called_as_several(record.group) for record in records)
        records.sort(key=lambda record: (record.file, record.offset, record.entry))
        own = self._fill(cohort, records)
        cohort.remove(self.deletions)
        for patient, reference in cohort.patients():
            if is_orphan(group) or not self._own(patient, group, joined):
                continue
            loaded = cohort.first_of(patient)
            place = (loaded.file_number, loaded.offset or 0, -1 if loaded.entry is None else loaded.entry)
            compartment = cohort.compartment(patient, reference)
            compartment.gaps = (*compartment.gaps, *gaps_of_nobodys(nobodys))
            if self._world is not None:
                follower = Follower(self._world, own)
                others = partial(follower.other, holder=compartment.patient)
                compartment = replace(
                    compartment, find=follower.find, others=others, reached=follower.doubts_about, _indexes={}
                )
            row = has_row(compartment, self.decoders.plan)
            if row:
                cohort.report_undescribed(patient, reference)
            yield place, Person(patient.key, patient.loaded, compartment, cohort.merged_into(patient), row)

    def plain(self, reference: str, root: str | None) -> Resource | None:
        """A resource of no patient that a reference by type and id means, as it stands in a resource of a server (empty: of no known one).

        None where that needs a closer look.
        """
        if root is None:
            return None
        key = root, reference
        if key not in self._plain:
            plain = reference.count("/") == 1 and ":" not in reference
            self._plain[key] = self.shared.named(root + reference) if plain else None
        return self._plain[key]

    def _own(self, patient: Any, group: str, joined: Mapping[str, str] | None) -> bool:
        names = {patient.key, _logical(patient.key)}
        if patient.loaded is not None and patient.loaded.resource is not None:
            identifier, address = id_of(patient.loaded.resource), address_of(patient.loaded.full_url)
            if identifier is not None:
                names.add(plain_id(identifier))
            elif address is not None:
                names.add(_logical(address))  # the key tells more where several bear the address
            else:
                return True  # a Patient without any name is kept once, in the group that its place in the data tells
        if joined is not None:
            return any(joined.get(name) == group for name in names)
        return group in names or group.startswith("#")

    def _fill(self, cohort: Cohort, records: Iterable[ReadRecord]) -> list[tuple[ReadRecord, Loaded]]:
        """Add records to a cohort; gives each as it was read."""
        filled = []
        for record in records:
            loaded = self._loaded(record)
            if loaded is not None:
                cohort.add(loaded)
                filled.append((record, loaded))
        return filled

    def _loaded(self, record: ReadRecord) -> Loaded | None:
        """A record as it was read; None where it cannot be decoded, which is a problem."""
        try:
            return self._read(record, self.decoders.resource(record))
        except BAD_JSON as error:
            entry = record.entry if record.entry >= 0 else None
            path = self.paths[record.file]
            self.on_problem(
                Problem(
                    file=path, offset=record.offset, entry=entry, code="invalid-json", message=syntax_message(error)
                )
            )
            return None

    def _read(self, record: ReadRecord, resource: Resource | None) -> Loaded:
        """The same, given the resource."""
        return Loaded(
            resource,
            self.paths[record.file],
            record.entry if record.entry >= 0 else None,
            None,
            record.full_url,
            offset=record.offset,
            file_number=record.file,
            home=record.home,
            condition=record.condition,
            group=record.group,
            marked=record.kind in self.marked,
            text=record.raw if record.facts is None and not record.compact else None,
        )


class _Finder:
    """Follows references of a patient's resources; the maps are only made if something asks."""

    __slots__ = ("cohort", "grouping", "mark", "origins", "owner", "resources")

    def __init__(
        self,
        grouping: Grouping,
        owner: Resource | None,
        resources: dict[str, list[Resource]],
        origins: dict[int, ResourceOrigin],
        mark: Fingerprint | None,
    ) -> None:
        """What is reported is so every time the patient is judged: such a one has no fingerprint (`mark`)."""
        self.mark = mark
        self.grouping = grouping
        self.owner = owner
        self.resources = resources
        self.origins = origins
        self.cohort: Cohort | None = None

    def __call__(self, reference: str, from_resource: Resource | None) -> Resource | None:
        if self.cohort is None and from_resource is not None:
            origin = self.origins.get(id(from_resource))
            if origin is not None:
                # as a rule a reference by type and id leads to a resource of no patient, of the same server
                known = self.grouping.plain(reference, root_of(origin.full_url) if origin.full_url else "")
                if known is not None and not self._mine(reference):
                    return known
        if self.cohort is None:
            self.cohort = Cohort(self.grouping.model, self._report, self.grouping.shared)
            several = [self.owner] if self.owner is not None else []
            for resource in (*several, *(one for same in self.resources.values() for one in same)):
                origin = self.origins[id(resource)]
                self.cohort.add(Loaded(resource, origin.file, origin.entry, None, origin.full_url))
            for _ in self.cohort.patients():
                pass
        return self.cohort.find(reference, from_resource)

    def _report(self, problem: Problem) -> None:
        if self.mark is not None:
            self.mark.value = None
        self.grouping.on_problem(problem)

    def _mine(self, reference: str) -> bool:
        kind, _, identifier = reference.partition("/")
        same = self.resources.get(kind)
        return same is not None and any(resource.get("id") == identifier for resource in same)


def _logical(key: str) -> str:
    """The group of a patient's key."""
    found = meaning_of(key)
    return plain_id(found.id) if found.form == "address" else key


def _mine(asked: Asked, group: str, joined: Mapping[str, str] | None, lost: bool) -> bool:
    """Whether a reference means a patient of a group, if it means anybody; with `lost`, what is called by a name that nobody bears is here."""
    if asked.group is None:
        return lost
    return (asked.group if joined is None else joined.get(asked.group, asked.group)) == group


def _noting(on_problem: OnProblem, nobodys: list[Problem], problem: Problem) -> None:
    """Report a problem, and note it where a record that names one of the patients at hand is nobody's."""
    if problem.code == NO_PATIENT and problem.severity == "error":
        nobodys.append(problem)
    on_problem(problem)


def _ignore(problem: object) -> None:
    return None
