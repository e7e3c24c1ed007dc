"""One patient's data: the resources by type, indexes by code, and the references between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.data.records.gaps import WHOLE, Gaps
from fhir_eligibility.data.records.in_doubt import InDoubt, name_of

Resource = dict[str, Any]
_REMEMBERED = 512


class ResourceOrigin(NamedTuple):
    """Where a resource was read: file, bundle entry or line, and the entry's fullUrl."""

    file: str
    entry: int | None = None
    line: int | None = None
    full_url: str | None = None


Key = tuple[str | None, str | tuple[str] | None]
Index = dict[Key, list[Resource]]
"""Resources by system and code; a code that is no text in the data, as a number, stands in a tuple."""


class SharedResources:
    """Resources that are about no patient, by type, in the order of the data: every patient's retrieves find them.

    What is looked up among them is remembered for all patients.
    """

    __slots__ = ("_base", "_holders", "_indexes", "_results", "by_type", "doubts", "origins")

    def __init__(
        self,
        by_type: dict[str, list[Resource]],
        origins: dict[int, ResourceOrigin],
        base: SharedResources | None = None,
        doubts: Sequence[InDoubt] = (),
    ) -> None:
        """`base` is what the patients see of whom nothing else is known; its lists that are not replaced are taken over as they are.

        `doubts` are the records among these that are in doubt.
        """
        self.doubts = doubts
        self._base = base
        self.by_type = by_type
        self.origins = origins
        self._holders: dict[int, Resource] | None = None
        self._indexes: dict[tuple[str, str], Index] = {}
        self._results: dict[tuple[int, ...], tuple[tuple[Any, ...], Any]] = {}

    def index(self, resource_type: str, path: str) -> Index:
        """Those of a type by the codings at a path. Raises EvaluationError `malformed-data`."""
        if self._base is not None and self.by_type.get(resource_type) is self._base.by_type.get(resource_type):
            return self._base.index(resource_type, path)
        found = self._indexes.get((resource_type, path))
        if found is None:
            found = self._indexes[resource_type, path] = _index(self.by_type.get(resource_type, ()), path)
        return found

    def with_own(
        self, own: dict[str, tuple[Resource, ResourceOrigin]], known: dict[str, list[Resource]]
    ) -> SharedResources:
        """The same with some resources, by `Type/id`, in the place of those that are `known` by that name."""
        by_type, origins = dict(self.by_type), {id(resource): origin for resource, origin in own.values()}
        for name, (resource, _) in own.items():
            replaced = {id(one) for one in known.get(name, ())}
            listed: list[Resource] = []
            there = False
            for one in by_type.get(resource["resourceType"], ()):
                if id(one) not in replaced:
                    listed.append(one)
                elif not there:
                    listed.append(resource)
                    there = True
            by_type[resource["resourceType"]] = listed if there else [*listed, resource]
        doubts = [one for one in self.doubts if one.record is None or name_of(one.record) not in own]
        return SharedResources(by_type, origins, self, doubts)

    def origin(self, resource: Resource) -> ResourceOrigin | None:
        """Where one was read."""
        found = self.origins.get(id(resource))
        return self._base.origin(resource) if found is None and self._base is not None else found

    def holder(self, value: Any) -> Resource | None:
        """The one in which an object or a reference stands, None where it stands in none."""
        if self._holders is None:
            known = self._base.by_type if self._base is not None else {}
            holders: dict[int, Resource] = {}
            for name, resources in self.by_type.items():
                for resource in resources if resources is not known.get(name) else ():
                    add_holders(holders, resource)
            self._holders = holders
        found = self._holders.get(id(value))
        return self._base.holder(value) if found is None and self._base is not None else found

    def remembered(self, asked: tuple[Any, ...], compute: Callable[[], Any]) -> Any:
        """The result of a question that is the same for all patients; `asked` are the objects that it depends on."""
        key = tuple(map(id, asked))
        known = self._results.get(key)
        if known is None:
            if len(self._results) >= _REMEMBERED:
                self._results.clear()
            # what was asked is held, so that nothing else can have its identity
            known = self._results[key] = asked, compute()
        return known[1]


class Fingerprint:
    """A digest of all records of a patient; `value` is None as soon as something is found that the records alone do not tell. `group` is what the records are put together by."""

    __slots__ = ("group", "value")

    def __init__(self, value: bytes | None, group: str) -> None:
        self.value = value
        self.group = group


class Compartment(Struct):
    """A patient and the resources about them; `shared` are those that are about no patient.

    `patient` is None where the Patient resource is not among the data and the patient is known by reference only;
    `reference` names the patient either way (`Patient/123`, `urn:uuid:...`). `others` gives the compartment of another patient, by their
    Patient, a RelatedPerson that is linked to it, or a reference to one (None where they are not among the data); it is None where data
    is read one patient at a time. `gaps` tell of which types records may be missing, `doubts` which of the patient's records, and the Patient, are in doubt.
    `reached` gives the doubts about a resource that a reference led to, of whomever it is, as it stands in another resource. `fingerprint` tells the data apart from
    that of other runs, where that is kept.
    """

    patient: Resource | None
    reference: str
    resources: dict[str, list[Resource]] = field(default_factory=dict)
    origins: dict[int, ResourceOrigin] = field(default_factory=dict)
    find: Callable[[str, Resource | None], Resource | None] | None = None
    others: Callable[[Resource | str], Compartment | None] | None = None
    shared: SharedResources | None = None
    gaps: Gaps = WHOLE
    doubts: Sequence[InDoubt] = ()
    reached: Callable[[Resource, Resource | None], Sequence[InDoubt]] | None = None
    fingerprint: Fingerprint | None = None
    _indexes: dict[tuple[str, str], Index] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Compartment {self.reference}: {sum(map(len, self.resources.values()))} resources>"

    @property
    def id(self) -> str:
        """Logical id of the patient (the last part of the reference)."""
        return self.reference.rpartition("/")[2]

    def of_type(self, resource_type: str) -> list[Resource]:
        """Resources of a type, in the order of the data: those about the patient, then those that are about no patient."""
        if resource_type == "Patient":
            return [] if self.patient is None else [self.patient]
        own = self.resources.get(resource_type)
        shared = self.shared.by_type.get(resource_type) if self.shared is not None else None
        return [*own, *shared] if own and shared else own or shared or []

    def shared_of_type(self, resource_type: str) -> list[Resource]:
        """Resources of a type that are about no patient."""
        return self.shared.by_type.get(resource_type, []) if self.shared is not None else []

    @property
    def in_doubt(self) -> Sequence[InDoubt]:
        """The records in doubt among all that the patient's retrieves find."""
        if self.shared is None or not self.shared.doubts:
            return self.doubts
        return [*self.doubts, *self.shared.doubts]

    def coded(self, resource_type: str, path: str, system: str | None, code: str | tuple[str] | None) -> list[Resource]:
        """Resources of a type with a coding at `path` (an element name); None finds codings without a system, and without a code, a tuple codes that are no texts."""
        index = self._indexes.get((resource_type, path))
        if index is None:
            own = self.of_type(resource_type) if resource_type == "Patient" else self.resources.get(resource_type, [])
            index = self._indexes[resource_type, path] = _index(own, path)
        found = index.get((system, code), [])
        if self.shared is not None and resource_type in self.shared.by_type:
            return [*found, *self.shared.index(resource_type, path).get((system, code), [])]
        return found

    def origin(self, resource: Resource) -> ResourceOrigin | None:
        """Where a resource was read."""
        found = self.origins.get(id(resource))
        return self.shared.origin(resource) if found is None and self.shared is not None else found

    def resolver(self, holder: Resource) -> Callable[[str], Resource | None]:
        """What references mean that stand in one resource."""
        return lambda reference: self.resolve(reference, holder)

    def resolve(self, reference: str, from_resource: Resource | None) -> Resource | None:
        """The resource that a reference means, as it stands in `from_resource` (FHIR: "Resolving references in Bundles")."""
        if reference.startswith("#"):
            for contained in (from_resource or {}).get("contained") or ():
                if contained.get("id") == reference[1:]:
                    return contained  # type: ignore[no-any-return]
            return from_resource if reference == "#" else None
        return self.find(reference, from_resource) if self.find is not None else None


def add_holders(holders: dict[int, Resource], resource: Resource) -> None:
    """Note of every object below a resource, and of every reference, that it stands in this one, by `id()`."""
    stack: list[Any] = [resource]
    while stack:
        value = stack.pop()
        if value.__class__ is dict:
            holders[id(value)] = resource
            if "reference" in value:
                holders[id(value["reference"])] = resource
            stack.extend(value.values())
        elif value.__class__ is list:
            stack.extend(value)


def _index(resources: Iterable[Resource], path: str) -> Index:
    """Resources by the codings at a path, each once for a coding. Raises EvaluationError `malformed-data`."""
    index: Index = {}
    for resource in resources:
        for coding in _codings(resource, path):
            code, system = coding.get("code"), coding.get("system")
            key: Key = (
                system if system.__class__ is str else None,
                code if code is None or code.__class__ is str else (str(code),),
            )
            rows = index.setdefault(key, [])
            if not rows or rows[-1] is not resource:
                rows.append(resource)
    return index


def _all_dicts(values: list[Any]) -> bool:
    for value in values:
        if value.__class__ is not dict:
            return False
    return True


def _codings(resource: Resource, path: str) -> list[Resource]:
    """Codings of a CodeableConcept, repeating or not. Raises EvaluationError `malformed-data`: a code is never passed over."""
    value = resource.get(path)
    if value is None:
        value = resource.get(path + "CodeableConcept")
    if value is None:
        return []
    out: list[Resource] = []
    for concept in value if value.__class__ is list else [value]:
        concept = concept.get("concept", concept) if concept.__class__ is dict else None
        codings = concept.get("coding", []) if concept.__class__ is dict else None
        if codings.__class__ is not list or not _all_dicts(codings):
            name = f"{resource.get('resourceType')}/{resource.get('id')}"
            raise EvaluationError(
                "malformed-data", f"{name}: {path}: expected a CodeableConcept, found {str(value)[:60]}"
            )
        out.extend(codings)
    return out


class Unchanged(Compartment):
    """A patient whose records are the same as in an earlier run, whose verdicts hold: nothing of them is decoded. `taken` is the fingerprint, `read` gives the Patient."""

    taken: bytes = b""
    read: Callable[[], Resource] | None = None
    group: str = ""
    """What the records are put together by."""
