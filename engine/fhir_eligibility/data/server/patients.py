"""Patients of a FHIR server by search: a page of patients at a time, each with all that criteria read, as compartments.

For every page of patients one search a type and batch of patients (`GET /Observation?patient=1,2,...`), then one a
type for what these refer to (`GET /Endpoint?_id=...`). Which types, narrowed by which codes, and which references are
followed is given (`SearchPlan`). Where the records of a type cannot be had whole, that is a problem, and a gap in the
data of the patient. Memory is bounded by a page of patients.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from urllib.parse import urlencode

from msgspec import Struct, field

from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.artifacts.references import root_of
from fhir_eligibility.data.files.problems import Problem
from fhir_eligibility.data.http.address import shown
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import cohort_of
from fhir_eligibility.data.records.gaps import Gap
from fhir_eligibility.data.records.marks import Noted
from fhir_eligibility.data.records.sources import Loaded, OnProblem
from fhir_eligibility.data.server.about import DENIED, AboutPatients, Batch, moved
from fhir_eligibility.data.server.client import Server, ServerError
from fhir_eligibility.data.server.referred import ServerReferences
from fhir_eligibility.data.server.search import FoundResource, Incomplete, SearchAnswer, SearchError, every_page, search

PAGE, BATCH, THREADS = 50, 20, 4
AGAIN_LATER = "screen again when the server answers; an export does not depend on its search"


class SearchPlan(Struct, frozen=True):
    """What to search for. `narrowed` holds (parameter, value) by type: enough for the criteria, but no must.

    `follow` are the types whose references are followed, None for every type. `shared` are types about no patient that are fetched whole, for every patient.
    """

    types: tuple[str, ...]
    narrowed: dict[str, tuple[str, str]] = field(default_factory=dict)
    follow: frozenset[str] | None = frozenset()
    shared: tuple[str, ...] = ()


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
        self._about = AboutPatients(server, model, plan.types, plan.narrowed)
        self._referred = ServerReferences(server, model.resource_types, plan.follow, self._roots)
        self._warned: set[str] = set()
        self._shared: list[FoundResource] | None = None
        self._shared_gaps: list[Gap] = []
        self._noted = Noted()

    @property
    def name(self) -> str:
        """The address, with what chooses the patients, for records and messages."""
        base = shown(self.server.base)
        return f"{base}/Patient?{urlencode(self.restriction)}" if self.restriction else base

    @property
    def narrowed(self) -> Iterable[str]:
        """The types of which only records with some codes are asked for."""
        return self.plan.narrowed.keys()

    def compartments(self, on_problem: OnProblem) -> Iterator[Compartment]:
        """Patients in the server's order. Raises ServerError where the patients cannot be listed at all.

        Where the list of patients, or access to the server, breaks off later, whoever was not reached is told of in one problem.
        """
        screened = 0
        with ThreadPoolExecutor(self.threads, thread_name_prefix="search") as pool:
            try:
                for patients in self._pages(on_problem):
                    try:
                        found = self._screenable(patients, pool, on_problem)
                    except ServerError as error:
                        if not screened:
                            raise
                        self._broken_off(screened, error, on_problem)
                        return
                    screened += len(patients)
                    yield from found
                for problem in self._noted.problems():
                    on_problem(problem)
            except KeyboardInterrupt:
                self.server.stopping.set()  # searches under way do not try again
                raise
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    # -- patients

    def _pages(self, on_problem: OnProblem) -> Iterator[list[FoundResource]]:
        answer = SearchAnswer()
        parameters = [*self.restriction, ("_count", str(self.page))]
        pages = search(self.server, "Patient", parameters, answer=answer)
        listed: set[str] = set()
        for number in count():
            try:
                page = next(pages, None)
            except Incomplete as error:
                on_problem(Problem(file=self.server.url("Patient"), code="patients-missing", message=str(error)))
                break
            except ServerError as error:
                if not number:
                    raise
                self._broken_off(len(listed), error, on_problem)
                return
            if page is None:
                break
            patients = [item for item in page if item.match and item.resource["resourceType"] == "Patient"]
            if number == 0:
                self._check_restriction(answer)
            self._say(answer.warnings, on_problem)
            if answer.moved is not None:
                self._warn(*moved(answer.moved), on_problem)
            listed.update(str(item.resource["id"]) for item in patients)
            for start in range(0, len(patients), self.page):
                yield patients[start : start + self.page]
        yield from self._alone(listed, on_problem)

    def _broken_off(self, so_far: int, error: ServerError, on_problem: OnProblem) -> None:
        """Tell of the patients that were not reached."""
        gone = " (the credentials were accepted before; they have probably expired)" if error.status == 401 else ""
        on_problem(
            Problem(
                file=self.server.url("Patient"),
                code="patients-missing",
                message=f"the list of patients broke off after {so_far}; whoever comes after them is not screened: {error}{gone}",
                hint=AGAIN_LATER,
            )
        )

    def _alone(self, listed: set[str], on_problem: OnProblem) -> Iterator[list[FoundResource]]:
        """Patients that were asked for by id and not found in a list of ids, one by one; who is not there is told."""
        others = tuple(pair for pair in self.restriction if pair[0] != "_id")
        named = [value.split(",") for name, value in self.restriction if name == "_id"]
        if len(named) != 1 or (others and len(named[0]) == 1):
            return
        absent = []
        for identifier in dict.fromkeys(named[0]):
            if identifier in listed:
                continue
            found = (
                every_page(self.server, "Patient", [*others, ("_id", identifier)], SearchAnswer())
                if len(named[0]) > 1
                else []
            )
            patients = [item for item in found if item.resource["resourceType"] == "Patient"][:1]
            if patients:
                message = "the server's search by Patient?_id= does not take several ids at once; they are asked for one by one"
                self._warn("search-one-by-one", message, on_problem)
                yield patients
            elif not others:
                absent.append(identifier)
        if absent:
            shown_ids = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
            message = f"{len(absent)} of the patients that were asked for by _id are not on the server: {shown_ids}"
            on_problem(Problem(file=self.server.url("Patient"), code="patients-missing", message=message))

    def _check_restriction(self, answer: SearchAnswer) -> None:
        asked = {name.partition(":")[0].partition(".")[0] for name, _ in self.restriction}
        if answer.used is not None:
            used = {name.partition(".")[0] for name in answer.used}
            if not asked <= used:
                lost = ", ".join(sorted(asked - used))
                raise SearchError(
                    f"{self.name}: the server left out {lost} and would give all patients; nothing is screened"
                )

    # -- what is about them

    def _screenable(
        self, patients: list[FoundResource], pool: ThreadPoolExecutor, on_problem: OnProblem
    ) -> list[Compartment]:
        ids = [str(item.resource["id"]) for item in patients]
        jobs = [
            Batch(kind, ids[start : start + self.batch])
            for kind in self.plan.types
            for start in range(0, len(ids), self.batch)
        ]
        done = list(pool.map(self._about.fill, jobs))
        gaps: dict[str, list[Gap]] = {identifier: [] for identifier in ids}
        found = [*patients]
        have = {item.name for item in patients}
        self._roots.update(root for item in patients if (root := root_of(item.full_url)) is not None)
        for job in done:
            self._say(job.warnings, on_problem)
            for code, message in job.notes:
                self._warn(code, message, on_problem)
            # A resource about several patients is found with each of them.
            new = {item.name: item for item in (*job.found, *job.partial.values()) if item.name not in have}
            have.update(new)
            found.extend(new.values())
            for patient, error in job.failed.items():
                gaps[patient].append(Gap(job.type, f"not fetched whole from the server: {error}"))
                self._not_fetched(job.type, error, on_problem, f"Patient/{patient}")
        found.extend(item for item in self._of_nobody(on_problem) if item.name not in have)
        found.extend(self._referred.of(found, pool, on_problem))
        everyones = [*self._shared_gaps, *self._referred.gaps.values()]
        out = []
        cohort = cohort_of(map(self._loaded, found), self.model, on_problem, self._noted)
        for compartment in cohort.compartments(whole=False):
            if compartment.patient is not None and compartment.patient["id"] in gaps:
                compartment.others = None  # only a page of the patients is at hand
                compartment.gaps = (*compartment.gaps, *gaps[compartment.patient["id"]], *everyones)
                out.append(compartment)
        return out

    def _not_fetched(self, kind: str, error: ServerError, on_problem: OnProblem, patient: str | None = None) -> None:
        whose = "" if patient is None else " of the patient"
        on_problem(
            Problem(
                file=self.server.url(kind),
                resource=patient,
                patient=patient,
                code="not-fetched",
                message=f"the {kind}{whose} could not be fetched whole; criteria whose answer rests on it are unknown: {error}",
                hint=AGAIN_LATER,
            )
        )

    def _of_nobody(self, on_problem: OnProblem) -> list[FoundResource]:
        """What is about no patient, fetched once. Raises ServerError where the server does not accept the credentials."""
        if self._shared is None:
            shared: list[FoundResource] = []
            for kind in self.plan.shared:
                answer = SearchAnswer()
                came: list[FoundResource] = []
                try:
                    every_page(self.server, kind, [("_count", "200")], answer, came)
                except ServerError as error:
                    if error.status in DENIED:
                        raise
                    self._shared_gaps.append(Gap(kind, f"not fetched whole from the server: {error}"))
                    self._not_fetched(kind, error, on_problem)
                shared.extend(item for item in came if item.resource["resourceType"] == kind)
                self._say(answer.warnings, on_problem)
            self._shared = shared
        return self._shared

    def _loaded(self, item: FoundResource) -> Loaded:
        """A resource as the readers of files give it; a server that leaves out fullUrl means its own address."""
        where = self.server.url(str(item.resource["resourceType"]))
        return Loaded(item.resource, where, full_url=item.full_url or f"{where}/{item.resource['id']}")

    # -- saying

    def _say(self, warnings: Iterable[str], on_problem: OnProblem) -> None:
        for text in warnings:
            self._warn("server-warning", f"the server says: {text}", on_problem)

    def _warn(self, code: str, message: str, on_problem: OnProblem) -> None:
        if message not in self._warned:
            self._warned.add(message)
            on_problem(Problem(file=self.name, code=code, severity="warning", message=message))
