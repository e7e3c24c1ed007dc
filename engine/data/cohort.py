"""All resources read, brought together by patient: identities, duplicates, deletions, and who a resource is about.

A resource is known by its entry's fullUrl, else by `Type/id`. Two patients of the same id under different servers stay two.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from engine.algebra.diagnostic import EvaluationError
from engine.artifacts.models import Model
from engine.artifacts.references import RESTFUL, root_of
from engine.data.compartment import Compartment, Origin, SharedResources
from engine.data.problems import Problem
from engine.data.sources import Loaded, OnProblem, dict_of, dicts_in

Resource = dict[str, Any]
# Types whose resources may be about a patient or about none, besides those that the model does not relate to Patient.
SHARED = frozenset(
    "Organization Practitioner PractitionerRole Location Endpoint Medication Substance HealthcareService Device Library "
    "ValueSet CodeSystem ConceptMap StructureDefinition SearchParameter Measure PlanDefinition ActivityDefinition "
    "Questionnaire ResearchStudy EvidenceVariable Group Binary OperationOutcome NamingSystem".split()
)


_CONTAINERS = frozenset(("Patient", "Bundle", "Parameters"))


@lru_cache(maxsize=8)
def shared_types(model: Model) -> frozenset[str]:
    """The types whose resources need not be about a patient: those that the model does not relate to Patient, and SHARED."""
    unrelated = {kind for kind in model.resource_types if not model.patient_paths(kind)}
    return (SHARED | unrelated) - _CONTAINERS


@dataclass(slots=True)
class CohortPatient:
    """A patient, known by a key, with the resources about them; `place` is where they first appear."""

    key: str
    loaded: Loaded | None
    place: int
    resources: list[Loaded] = field(default_factory=list)


class Cohort:
    """Everything read, by patient. `add` what was read, then iterate over `compartments`."""

    def __init__(self, model: Model, on_problem: OnProblem, beyond: Cohort | None = None) -> None:
        """`beyond` holds what references may lead to besides: resources of no patient."""
        self.model = model
        self.beyond = beyond
        self.on_problem = on_problem
        self._by_key: dict[str, Loaded] = {}
        self._anonymous: list[Loaded] = []
        self._deleted: set[str] = set()
        self._aliases: dict[str, list[str]] = {}
        self._owner: dict[int, Loaded] = {}
        self._identifiers: dict[tuple[str | None, str], list[str]] = {}
        self._listed: dict[str, tuple[CohortPatient, str]] = {}
        self._persons: dict[int, list[str]] | None = None
        self._shared_types = shared_types(model)
        self._nobodys: list[Loaded] = []
        self._shared: SharedResources | None = None

    # -- taking in

    def add(self, loaded: Loaded) -> None:
        """Take in one resource (or deletion)."""
        if loaded.resource is None:
            self._deleted.add((loaded.deleted or "").partition("?")[0])
            return
        resource = loaded.resource
        if _entered_in_error(resource):
            self._report(loaded, "entered-in-error", "recorded in error; it is disregarded", warning=True)
            return
        key = self._key(loaded)
        if key is None:
            self._anonymous.append(loaded)
            return
        known = self._by_key.get(key)
        if known is None:
            self._by_key[key] = loaded
            return
        assert known.resource is not None
        if known.resource == resource and resource["resourceType"] in self._shared_types:
            return  # every bundle brings its own copy of what all patients share
        if known.resource == resource:
            self._report(loaded, "duplicate", f"{loaded.name} was read before, the same; it counts once", warning=True)
            return
        if _updated(resource) > _updated(known.resource):
            self._by_key[key] = loaded
        self._report(
            loaded,
            "duplicate",
            f"{loaded.name} was read before with other content; the one with the newest meta.lastUpdated counts",
            warning=True,
        )

    def delete(self, names: Iterable[str]) -> None:
        """Take in deletions, as `Type/id`."""
        self._deleted.update(names)

    def _key(self, loaded: Loaded) -> str | None:
        assert loaded.resource is not None
        name = f"{loaded.resource['resourceType']}/{loaded.resource['id']}" if loaded.resource.get("id") else None
        url = loaded.full_url
        if url:
            match = RESTFUL.fullmatch(url)
            if match is None or match["root"]:
                return url.partition("/_history/")[0]
        return name

    def _report(
        self, loaded: Loaded, code: str, message: str, *, warning: bool = False, hint: str | None = None
    ) -> None:
        self.on_problem(
            Problem(
                file=loaded.file,
                line=loaded.line,
                offset=loaded.offset,
                entry=loaded.entry,
                resource=loaded.name,
                code=code,
                severity="warning" if warning else "error",
                message=message,
                hint=hint,
            )
        )

    # -- giving out

    def compartments(self) -> Iterator[Compartment]:
        """Patients with their resources, in the order of the Patient resources (a patient without one: of the first record)."""
        for patient, reference in self.patients():
            yield self.compartment(patient, reference)

    def patients(self) -> Iterator[tuple[CohortPatient, str]]:
        """Patients and how each is named, in order."""
        everything = self._surviving()
        patients: dict[str, CohortPatient] = {}
        for loaded in everything:
            assert loaded.resource is not None
            self._owner[id(loaded.resource)] = loaded
            key = self._key(loaded)
            if key is not None:
                name = f"{loaded.resource['resourceType']}/{loaded.resource.get('id')}"
                if key != name:
                    self._aliases.setdefault(name, []).append(key)
            if loaded.resource["resourceType"] == "Patient":
                key = key or f"Patient/{id(loaded.resource)}"
                for identifier in dicts_in(loaded.resource.get("identifier")):
                    value = identifier.get("value")
                    if value.__class__ is str:
                        self._identifiers.setdefault((identifier.get("system"), value), []).append(key)
                        self._identifiers.setdefault((None, value), []).append(key)
        order = patients
        for place, loaded in enumerate(everything):
            assert loaded.resource is not None
            kind = loaded.resource["resourceType"]
            if kind == "Patient":
                key = self._key(loaded) or f"Patient/{id(loaded.resource)}"
                patient = order.setdefault(key, CohortPatient(key, None, place))
                patient.loaded, patient.place = loaded, place
                continue
            subjects = self._subjects(loaded)
            if not subjects and kind in self._shared_types:
                self._nobodys.append(loaded)
            elif not subjects:
                self._report(
                    loaded, "no-patient", f"{loaded.name} is linked to no patient; it is not used", hint=_LINK_HINT
                )
            for key in subjects:
                order.setdefault(key, CohortPatient(key, None, place)).resources.append(loaded)
        names: dict[str, int] = {}
        for patient in order.values():
            names[_short(patient)] = names.get(_short(patient), 0) + 1
        for patient in sorted(order.values(), key=lambda patient: patient.place):
            short = _short(patient)
            self._listed[patient.key] = patient, short if names[short] == 1 else patient.key
        yield from self._listed.values()

    def _surviving(self) -> list[Loaded]:
        """What is left after duplicates and deletions, in the order of the data."""
        out = []
        for loaded in (*self._by_key.values(), *self._anonymous):
            if loaded.name in self._deleted:
                self._report(loaded, "deleted", f"{loaded.name} was deleted; it is not used", warning=True)
            else:
                out.append(loaded)
        return out

    def shared(self) -> SharedResources:
        """The resources that are about no patient, once patients were given out."""
        if self._shared is None:
            by_type: dict[str, list[Resource]] = {}
            for loaded in self._nobodys:
                assert loaded.resource is not None
                by_type.setdefault(loaded.resource["resourceType"], []).append(loaded.resource)
            self._shared = SharedResources(by_type, {id(x.resource): _origin(x) for x in self._nobodys})
        return self._shared

    def compartment(self, patient: CohortPatient, reference: str) -> Compartment:
        """A patient with the resources about them."""
        resources: dict[str, list[Resource]] = {}
        origins: dict[int, Origin] = {}
        for loaded in patient.resources:
            assert loaded.resource is not None
            resources.setdefault(loaded.resource["resourceType"], []).append(loaded.resource)
            origins[id(loaded.resource)] = _origin(loaded)
        root = patient.loaded.resource if patient.loaded is not None else None
        if patient.loaded is not None and root is not None:
            origins[id(root)] = _origin(patient.loaded)
        shared = self.shared() if self.beyond is None else self.beyond.shared()
        return Compartment(root, reference, resources, origins, self.find, partial(self.other, holder=root), shared)

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
        found = found or self._lookup(asked, home)
        if found is None or found.resource is None:
            bare = asked.partition("/_history/")[0]
            root = root_of(home.full_url) if home is not None else None
            keys = [key for key in (f"{root}{bare}" if root else bare, bare) if key in self._listed][:1]
        elif found.resource["resourceType"] == "Patient":
            keys = [self._key(found) or f"Patient/{id(found.resource)}"]
        elif found.resource["resourceType"] != "RelatedPerson":
            raise EvaluationError("related-context", f"{asked} is no patient whose data could be retrieved")
        else:
            keys = self._linked().get(id(found.resource), [])
        if len(keys) > 1:
            names = ", ".join(self._listed[key][1] for key in keys)
            raise EvaluationError("related-patient-missing", f"several patients are linked to {asked}: {names}")
        listed = self._listed.get(keys[0]) if keys else None
        return None if listed is None else self.compartment(*listed)

    def _linked(self) -> dict[int, list[str]]:
        """Keys of the patients by the resource, a RelatedPerson, that their `link.other` names."""
        if self._persons is None:
            self._persons = {}
            for key, (patient, _) in self._listed.items():
                if patient.loaded is None:
                    continue
                for other in _values(patient.loaded.resource, ["link", "other", "reference"]):
                    found = self._lookup(other, patient.loaded) if isinstance(other, str) else None
                    if found is not None and found.resource is not None:
                        keys = self._persons.setdefault(id(found.resource), [])
                        keys.extend([key] if key not in keys else [])
        return self._persons

    # -- references

    def _subjects(self, loaded: Loaded) -> list[str]:
        """Keys of the patients that a resource is about."""
        assert loaded.resource is not None
        kind = loaded.resource["resourceType"]
        paths = self.model.patient_paths(kind) or ("subject", "patient")
        out: list[str] = []
        for path in paths:
            for reference in _values(loaded.resource, path.split(".")):
                key = self._patient_key(reference, loaded)
                if key is not None and key not in out:
                    out.append(key)
        return out

    def _patient_key(self, reference: Any, loaded: Loaded) -> str | None:
        if reference.__class__ is not dict:
            return None
        text = reference.get("reference")
        if isinstance(text, str):
            found = self._lookup(text, loaded)
            if found is not None:
                assert found.resource is not None
                if found.resource["resourceType"] != "Patient":
                    return None
                return self._key(found)
            bare = text.partition("/_history/")[0]
            match = RESTFUL.fullmatch(bare)
            if match is not None and not match["path"].startswith("Patient/"):
                return None
            if text.startswith("#"):
                return None
            if match is not None and match["root"] is None:
                root = root_of(loaded.full_url)
                return f"{root}{bare}" if root else bare
            return bare
        identifier = reference.get("identifier")
        if isinstance(identifier, dict) and isinstance(identifier.get("value"), str):
            return self._by_identifier(identifier, loaded)
        return None

    def _by_identifier(self, identifier: dict[str, Any], loaded: Loaded) -> str | None:
        system, value = identifier.get("system"), identifier["value"]
        found = list(dict.fromkeys(self._identifiers.get((system, value), [])))
        if system is not None and len(found) == 1:
            return found[0]
        if system is None:
            message = f"the subject is given by the identifier {value!r} without a system; it is not linked"
        elif found:
            message = f"the identifier {system}|{value} belongs to {len(found)} patients; it is not linked"
        else:
            message = f"no patient has the identifier {system}|{value}; it is not linked"
        self._report(loaded, "subject-by-identifier", message, warning=True)
        return None

    def _lookup(self, reference: str, loaded: Loaded | None) -> Loaded | None:
        """The resource that a reference means, whatever version it names; unique aliases are followed."""
        bare = reference.partition("/_history/")[0]
        match = RESTFUL.fullmatch(bare)
        if match is None:
            return self._by_key.get(bare)
        if match["root"] is not None:
            found = self._by_key.get(bare)
            if found is None and match["path"] not in self._aliases:
                found = self._by_key.get(match["path"])
            return found
        root = root_of(loaded.full_url) if loaded is not None else None
        if root is not None:
            found = self._by_key.get(root + match["path"])
            if found is not None:
                return found
        found = self._by_key.get(match["path"])
        if found is not None and (root is None or match["path"] not in self._aliases):
            return found
        keys = self._aliases.get(match["path"], [])
        if root is None and loaded is not None:
            same = [key for key in keys if self._by_key[key].file == loaded.file]
            keys = same or keys
            if loaded.full_url is not None:
                # an entry without a RESTful fullUrl: only its own bundle's other such entries are meant
                keys = [key for key in keys if not key.startswith("http")]
        return self._by_key[keys[0]] if len(keys) == 1 else None

    def named(self, key: str) -> Resource | None:
        """The resource that is known by `Type/id`, or by its whole address; None where there is none or a version is meant."""
        found = self._by_key.get(key)
        return found.resource if found is not None else None

    def find(self, reference: str, from_resource: Resource | None) -> Resource | None:
        """Resolve a reference as it stands in a resource; a version that is named must be the one at hand."""
        loaded = self._owner.get(id(from_resource)) if from_resource is not None else None
        found = self._lookup(reference, loaded)
        if found is None and self.beyond is not None:
            found = self.beyond._lookup(reference, loaded)
        if found is None or found.resource is None:
            return None
        match = RESTFUL.fullmatch(reference)
        if match is not None and match["version"] is not None:
            if str(dict_of(found.resource.get("meta")).get("versionId")) != match["version"]:
                if loaded is not None:
                    message = f"{reference} names a version that is not among the data"
                    self._report(loaded, "version-not-found", message, warning=True)
                return None
        return found.resource


_LINK_HINT = "a record needs a reference to a Patient in its subject (or patient) element"


def _origin(loaded: Loaded) -> Origin:
    return Origin(loaded.file, loaded.entry, loaded.line, loaded.full_url)


def _short(patient: CohortPatient) -> str:
    resource = patient.loaded.resource if patient.loaded is not None else None
    if resource is not None and resource.get("id"):
        return f"Patient/{resource['id']}"
    match = RESTFUL.fullmatch(patient.key)
    return match["path"] if match is not None else patient.key


def _values(owner: Any, path: list[str]) -> Iterator[Any]:
    if owner.__class__ is list:
        for item in owner:
            yield from _values(item, path)
    elif not path:
        yield owner
    elif owner.__class__ is dict and path[0] in owner:
        yield from _values(owner[path[0]], path[1:])


def _entered_in_error(resource: Resource) -> bool:
    if resource.get("status") == "entered-in-error":
        return True
    verification = resource.get("verificationStatus")
    if verification.__class__ is dict:
        return any(coding.get("code") == "entered-in-error" for coding in dicts_in(verification.get("coding")))
    return False


def _updated(resource: Resource) -> dt.datetime:
    """meta.lastUpdated as an instant; the beginning of time where it is missing or not valid."""
    text = dict_of(resource.get("meta")).get("lastUpdated")
    if isinstance(text, str):
        try:
            moment = dt.datetime.fromisoformat(text)
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
        except ValueError:
            pass
    return dt.datetime.min.replace(tzinfo=dt.UTC)


def cohort_of(loaded: Iterable[Loaded], model: Model, on_problem: OnProblem) -> Cohort:
    """A cohort of everything read."""
    cohort = Cohort(model, on_problem)
    for item in loaded:
        cohort.add(item)
    return cohort
