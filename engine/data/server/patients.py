"""Patients of a FHIR server by search: a page of patients at a time, each with all that criteria read, as compartments.

For every page of patients one search a type and batch of patients (`GET /Observation?patient=1,2,...`), then one a
type for what these refer to (`GET /Endpoint?_id=...`). Which types, narrowed by which codes, and which references are
followed is given (`SearchPlan`). A patient whose data cannot be had whole is a problem and gets no verdict. Memory is
bounded by a page of patients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Any
from urllib.parse import urlencode

from engine.artifacts.models import Model
from engine.artifacts.references import RESTFUL, root_of
from engine.data.cohort import cohort_of
from engine.data.compartment import Compartment
from engine.data.problems import Problem
from engine.data.server.client import Server, ServerError, shown
from engine.data.server.search import Answer, Found, Incomplete, SearchError, every_page, search
from engine.data.sources import Loaded, OnProblem

PAGE, BATCH, THREADS = 50, 20, 4
IDS = 50  # referenced resources asked for at once
DEPTH = 5  # how far references are followed from a patient's own resources
REMEMBERED = 20_000  # referenced resources kept from page to page
# Search parameters that find what an element path links to a patient, where they are not called like the path's last
# step.
_NAMED = {"deliverTo": "subject", "candidate": "subject", "for": "subject", "member.entity": "member"}
_NAMED |= {"agent.who": "agent", "entity.what": "entity"}


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What to search for. `narrowed` holds (parameter, value) by type: enough for the criteria, but no must.

    `follow` are the types whose references are followed, None for every type. `shared` are types about no patient that are fetched whole, for every patient.
    """

    types: tuple[str, ...]
    narrowed: dict[str, tuple[str, str]] = field(default_factory=dict)
    follow: frozenset[str] | None = frozenset()
    shared: tuple[str, ...] = ()


@dataclass(slots=True)
class _Batch:
    """What one search found: resources, or why it failed."""

    type: str
    patients: list[str]
    found: list[Found] = field(default_factory=list)
    error: ServerError | None = None
    warnings: list[str] = field(default_factory=list)


class ServerPatients:
    """The patients of a server; `restriction` are search parameters for the patients to take (none: all)."""

    def __init__(
        self,
        server: Server,
        model: Model,
        plan: SearchPlan,
        *,
        restriction: tuple[tuple[str, str], ...] = (),
        page: int = PAGE,
        batch: int = BATCH,
        threads: int = THREADS,
    ) -> None:
        self.server = server
        self.model = model
        self.plan = plan
        self.restriction = restriction
        self.page = page
        self.batch = batch
        self.threads = threads
        # What the server calls itself, in its fullUrls, may be another address than the one that it is reached at.
        self._roots = {f"{server.base}/"}
        self._choice: dict[str, str] = {}
        self._plain: set[str] = set()
        self._referenced: dict[str, Found | None] = {}
        self._warned: set[str] = set()
        self._shared: list[Found] | None = None

    @property
    def name(self) -> str:
        """The address, with what chooses the patients, for records and messages."""
        base = shown(self.server.base)
        return f"{base}/Patient?{urlencode(self.restriction)}" if self.restriction else base

    def compartments(self, on_problem: OnProblem) -> Iterator[Compartment]:
        """Patients in the server's order. Raises ServerError where the patients themselves cannot be listed."""
        with ThreadPoolExecutor(self.threads, thread_name_prefix="search") as pool:
            try:
                for patients in self._pages(on_problem):
                    yield from self._screenable(patients, pool, on_problem)
            except KeyboardInterrupt:
                self.server.stopping.set()  # searches under way do not try again
                raise
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    # -- patients

    def _pages(self, on_problem: OnProblem) -> Iterator[list[Found]]:
        answer = Answer()
        parameters = [*self.restriction, ("_count", str(self.page))]
        pages = search(self.server, "Patient", parameters, answer=answer)
        for number in count():
            try:
                page = next(pages, None)
            except Incomplete as error:
                on_problem(Problem(file=self.server.url("Patient"), code="patients-missing", message=str(error)))
                return
            if page is None:
                return
            patients = [item for item in page if item.match and item.resource["resourceType"] == "Patient"]
            if number == 0:
                self._check_restriction(answer)
                if self.batch > 1 and len(patients) > 1 and not self._takes_alternatives(patients[:2]):
                    message = (
                        "the server's search does not take several ids at once; its patients are asked about one by one"
                    )
                    self._warn("search-one-by-one", message, on_problem)
                    self.batch = 1
            self._say(answer.warnings, on_problem)
            for start in range(0, len(patients), self.page):
                yield patients[start : start + self.page]

    def _check_restriction(self, answer: Answer) -> None:
        asked = {name.partition(":")[0].partition(".")[0] for name, _ in self.restriction}
        if answer.used is not None:
            used = {name.partition(".")[0] for name in answer.used}
            if not asked <= used:
                lost = ", ".join(sorted(asked - used))
                raise SearchError(
                    f"{self.name}: the server left out {lost} and would give all patients; nothing is screened"
                )

    def _takes_alternatives(self, patients: list[Found]) -> bool:
        """Whether `_id=a,b` finds both: a server that reads a comma as part of a value would find nothing, and not
        say so.
        """
        ids = {str(item.resource["id"]) for item in patients}
        try:
            found = every_page(self.server, "Patient", [("_id", ",".join(sorted(ids)))], Answer())
        except SearchError:
            return False
        return ids <= {str(item.resource["id"]) for item in found}

    # -- what is about them

    def _screenable(
        self, patients: list[Found], pool: ThreadPoolExecutor, on_problem: OnProblem
    ) -> Iterator[Compartment]:
        ids = [str(item.resource["id"]) for item in patients]
        jobs = [
            _Batch(kind, ids[start : start + self.batch])
            for kind in self.plan.types
            for start in range(0, len(ids), self.batch)
        ]
        done = list(pool.map(self._about, jobs))
        failed: dict[str, _Batch] = {}
        found = [*patients]
        have = {_name(item) for item in patients}
        self._roots.update(root for item in patients if (root := root_of(item.full_url)) is not None)
        for job in done:
            self._say(job.warnings, on_problem)
            if job.error is None:
                # A resource about several patients is found with each of them.
                new = {name: item for item in job.found if (name := _name(item)) not in have}
                have.update(new)
                found.extend(new.values())
                continue
            if job.error.status in (401, 403):
                raise job.error
            for patient in job.patients:
                failed.setdefault(patient, job)
        for patient, job in failed.items():
            on_problem(
                Problem(
                    file=self.server.url(job.type),
                    resource=f"Patient/{patient}",
                    code="not-fetched",
                    message=f"the {job.type} of the patient could not be fetched; the patient is not screened: {job.error}",
                    hint="screen again when the server answers; an export does not depend on its search",
                )
            )
        found.extend(item for item in self._of_nobody(on_problem) if _name(item) not in have)
        found.extend(self._followed(found, pool, on_problem))
        wanted = {identifier for identifier in ids if identifier not in failed}
        for compartment in cohort_of(map(self._loaded, found), self.model, on_problem).compartments():
            if compartment.patient is not None and compartment.patient["id"] in wanted:
                compartment.others = None  # only a page of the patients is at hand
                yield compartment

    def _of_nobody(self, on_problem: OnProblem) -> list[Found]:
        """What is about no patient, fetched once. Raises SearchError: without it no patient could be screened."""
        if self._shared is None:
            answer = Answer()
            self._shared = [
                item
                for kind in self.plan.shared
                for item in every_page(self.server, kind, [("_count", "200")], answer)
                if item.resource["resourceType"] == kind
            ]
            self._say(answer.warnings, on_problem)
        return self._shared

    def _loaded(self, item: Found) -> Loaded:
        """A resource as the readers of files give it; a server that leaves out fullUrl means its own address."""
        where = self.server.url(str(item.resource["resourceType"]))
        return Loaded(item.resource, where, full_url=item.full_url or f"{where}/{item.resource['id']}")

    def _about(self, job: _Batch) -> _Batch:
        """Fill a batch. Whichever parameter a server knows is kept for the type."""
        known = self._choice.get(job.type)
        for name in [known] if known is not None else self._candidates(job.type):
            try:
                job.found = self._search(job, name)
            except ServerError as error:
                job.error = error
                if not isinstance(error, SearchError) or error.status is None or error.status >= 500:
                    return job
            else:
                job.error = None
                self._choice.setdefault(job.type, name)
                return job
        return job

    def _candidates(self, resource_type: str) -> list[str]:
        names = ["patient"]
        for path in self.model.patient_paths(resource_type) or ("subject", "patient"):
            name = _NAMED.get(path) or _hyphenated(path.rpartition(".")[2])
            if name not in names:
                names.append(name)
        return names

    def _search(self, job: _Batch, name: str) -> list[Found]:
        values = ",".join(job.patients if name == "patient" else [f"Patient/{p}" for p in job.patients])
        base = [(name, values), ("_count", "200")]
        narrowed = self.plan.narrowed.get(job.type)
        if narrowed is not None and job.type not in self._plain:
            try:
                return self._checked(job, name, [narrowed, *base])
            except SearchError as error:
                if error.status is None or error.status >= 500:
                    raise
                # The narrowing is not needed; what is left over is not looked at.
                found = self._checked(job, name, base)
                self._plain.add(job.type)
                return found
        return self._checked(job, name, base)

    def _checked(self, job: _Batch, name: str, parameters: list[tuple[str, str]]) -> list[Found]:
        """The resources about the patients. Raises SearchError where the server did not look for these patients."""
        answer = Answer()
        found = every_page(self.server, job.type, parameters, answer)
        where = self.server.url(job.type)
        if answer.used is not None and name not in answer.used:
            raise SearchError(f"{where}: the server left out the parameter {name}", 400)
        asked = {f"Patient/{patient}" for patient in job.patients}
        for item in found:
            if item.match and item.resource["resourceType"] == job.type:
                paths = self.model.patient_paths(job.type) or ("subject", "patient")
                about = [r for path in paths for r in _references(item.resource, path.split("."))]
                if not any(_local(reference) in asked for reference in about):
                    text = f"{job.type}/{item.resource['id']} is about none of the patients that were asked for"
                    raise SearchError(f"{where}: {text}; the server did not use the parameter {name}", 400)
        job.warnings.extend(answer.warnings)
        return found

    # -- what those refer to

    def _followed(self, found: list[Found], pool: ThreadPoolExecutor, on_problem: OnProblem) -> list[Found]:
        if self.plan.follow is not None and not self.plan.follow:
            return []
        have = {_name(item) for item in found}
        out: list[Found] = []
        new: Iterable[Found] = found
        for _ in range(DEPTH):
            wanted = [name for name in self._wanted(new) if name not in have]
            if not wanted:
                break
            unknown: dict[str, list[str]] = {}
            for name in wanted:
                if name not in self._referenced:
                    kind, _, identifier = name.partition("/")
                    unknown.setdefault(kind, []).append(identifier)
            asked = [
                (kind, ids[start : start + (IDS if self.batch > 1 else 1)])
                for kind, ids in unknown.items()
                for start in range(0, len(ids), IDS if self.batch > 1 else 1)
            ]
            for problem in pool.map(lambda pair: self._by_id(*pair), asked):
                if problem is not None:
                    on_problem(problem)
            new = [item for name in wanted if (item := self._referenced.get(name)) is not None]
            have.update(wanted)
            out.extend(new)
        for name in list(islice(self._referenced, max(0, len(self._referenced) - REMEMBERED))):
            del self._referenced[name]
        return out

    def _wanted(self, found: Iterable[Found]) -> list[str]:
        names: dict[str, None] = {}
        for item in found:
            for text in _all_references(item.resource):
                local = self._on_server(text)
                if local is not None and local.partition("/")[0] != "Patient":
                    if self.plan.follow is None or local.partition("/")[0] in self.plan.follow:
                        names[local] = None
        return list(names)

    def _on_server(self, reference: str) -> str | None:
        """`Type/id` of a reference to this server, None for one that leads elsewhere."""
        match = RESTFUL.fullmatch(reference.partition("/_history/")[0])
        if match is None or match["path"].partition("/")[0] not in self.model.resource_types:
            return None
        root = match["root"]
        return str(match["path"]) if root is None or root in self._roots else None

    def _by_id(self, kind: str, ids: list[str]) -> Problem | None:
        try:
            found = every_page(self.server, kind, [("_id", ",".join(ids)), ("_count", str(IDS))], Answer())
        except ServerError as error:
            message = f"{len(ids)} {kind} that records refer to could not be fetched: {error}"
            return Problem(file=self.server.url(kind), code="not-fetched", severity="warning", message=message)
        wanted = set(ids)
        by_id = {str(item.resource["id"]): item for item in found if item.resource["resourceType"] == kind}
        for identifier in wanted:
            self._referenced[f"{kind}/{identifier}"] = by_id.get(identifier)
        return None

    # -- saying

    def _say(self, warnings: list[str], on_problem: OnProblem) -> None:
        for text in warnings:
            self._warn("server-warning", f"the server says: {text}", on_problem)
        warnings.clear()

    def _warn(self, code: str, message: str, on_problem: OnProblem) -> None:
        if message not in self._warned:
            self._warned.add(message)
            on_problem(Problem(file=self.name, code=code, severity="warning", message=message))


def _name(item: Found) -> str:
    return f"{item.resource['resourceType']}/{item.resource['id']}"


def _hyphenated(name: str) -> str:
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name)


def _local(reference: str) -> str:
    """`Patient/id` of a reference, whatever server it names."""
    match = RESTFUL.fullmatch(reference.partition("/_history/")[0])
    return str(match["path"]) if match is not None else reference


def _references(owner: Any, path: list[str]) -> Iterator[str]:
    """The literal references at a path."""
    if isinstance(owner, list):
        for item in owner:
            yield from _references(item, path)
    elif isinstance(owner, dict):
        if path:
            yield from _references(owner.get(path[0]), path[1:])
        elif isinstance(owner.get("reference"), str):
            yield owner["reference"]


def _all_references(value: Any) -> Iterator[str]:
    """Every literal reference in a resource."""
    if isinstance(value, dict):
        text = value.get("reference")
        if isinstance(text, str):
            yield text
        for item in value.values():
            if isinstance(item, (dict, list)):
                yield from _all_references(item)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, (dict, list)):
                yield from _all_references(item)
