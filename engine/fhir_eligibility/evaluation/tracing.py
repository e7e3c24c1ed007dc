"""The environment that emitted criteria run in over one patient: it retrieves resources and remembers what was tried.

Emitted code reports every row of a retrieve that fails or passes a filter, every row whose condition is unknown (a doubt), and every
comparison that had no answer. Doubts can be resolved either way, so that a criterion can be run in each possible world.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.algebra.values.bounds import compare_bounds
from fhir_eligibility.algebra.values.clinical import ValueSet
from fhir_eligibility.algebra.values.element import Element
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.runtime.fhir_values import plainly_coded
from fhir_eligibility.compiler.runtime.membership import coded
from fhir_eligibility.compiler.runtime.related import out_of_reach
from fhir_eligibility.compiler.runtime.retrieving import RetrieveSpec
from fhir_eligibility.compiler.runtime.runtime import Environment
from fhir_eligibility.data.patients.compartment import Compartment, ResourceOrigin, add_holders
from fhir_eligibility.data.records.gaps import Gap
from fhir_eligibility.data.records.in_doubt import InDoubt
from fhir_eligibility.evaluation.cql_patient import CompartmentPatient
from fhir_eligibility.evaluation.time_limit import NO_LIMIT
from fhir_eligibility.evaluation.unknowns import NotInTerminology, Records, Unknown

Resource = dict[str, Any]
DoubtKey = tuple[Any, ...]
CODE_SITE = -1
_FEW = 4


class Doubt(Struct):
    """A row whose condition is unknown: the site, the row, and the clause that could not be decided.

    A row whose code is in question has the `code` that it was found by, and what was `asked` for: of several questions about it, each is a doubt of its own.
    `items` are what the condition is about, where that is not the row alone: it may turn out another way for each combination of them.
    `before` are the comparisons of the run that had no answer; the first `count` of them came before this row was in doubt.
    """

    site: int
    row: Any
    clause: int
    code: str | None = None
    why: str | None = None
    asked: Any = None
    items: tuple[Any, ...] | None = None
    reason: Reason = Reason.MISSING_VALUESET
    before: Sequence[Unknown] = ()
    count: int = 0

    @property
    def unknowns(self) -> Sequence[Unknown]:
        """The comparisons without an answer up to this row, the last ones first."""
        return self.before[: self.count][::-1]


def without_code(row: Resource, system: str | None, asked: Any) -> Doubt:
    """A doubt about a row with a coding that has no code."""
    why = "a coding has neither a code nor a system" if system is None else f"a coding of {system} has no code"
    return Doubt(CODE_SITE, row, 0, why=why, asked=asked, reason=Reason.MISSING_VALUE)


def not_a_text(row: Resource, code: str) -> Doubt:
    """A doubt about a row with a coding whose code is a number, or another value that is no text."""
    why = f"malformed data: `code` of a coding is the number {code}, where a text is expected"
    return Doubt(CODE_SITE, row, 0, why=why, reason=Reason.ERROR)


class Trace:
    """What one run of one criterion saw."""

    __slots__ = ("doubts", "failed", "passed", "rows", "series", "unknowns", "unresolved")

    def __init__(self) -> None:
        self.passed: dict[int, set[int]] = {}
        self.failed: dict[int, dict[int, int]] = {}
        self.rows: dict[int, Resource] = {}
        self.doubts: dict[DoubtKey, Doubt] = {}
        self.unknowns: list[Unknown] = []
        self.series: set[int] = set()
        # references that lead nowhere, by the resource that they stand in
        self.unresolved: dict[int, str] = {}


class PatientEnvironment(Environment):
    """Runs criteria over one compartment. `begin` starts a run with the doubts that are to be kept in it."""

    def __init__(
        self,
        compartment: Compartment,
        *,
        now: dt.datetime,
        variables: Mapping[str, Any] | None = None,
        run: Run | None = None,
    ) -> None:
        self.run = run if run is not None else Run(now)
        membership = self.run.membership
        super().__init__(now=now, variables=variables, resolver=self._find, membership=membership)
        self.compartment = compartment
        # what was gathered of this patient's resources for the verdict, by `id()`
        self.shown: dict[int, Any] = {}
        self.links: dict[Any, Any] = {}
        self.hanging: list[Gap] = []
        self.trace_of_run = Trace()
        self._keep: frozenset[DoubtKey] | None = frozenset()
        self._holders: dict[int, Resource] | None = None
        self._without_answer: tuple[Any, str] = (None, "")
        self._others: dict[Any, Compartment | None] = {}
        # resources that references led to, by `id()`
        self._reached: dict[int, tuple[Resource, Resource | None]] = {}
        self._cql: CqlPatient | None = None
        self.limited: Callable[..., Any] = NO_LIMIT.runner()
        self._looked_through: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[Resource]] = {}

    def begin(self, keep: frozenset[DoubtKey] | None = frozenset()) -> Trace:
        """Start a run in which the given doubts count as satisfied (None: all of them); returns its trace."""
        self.trace_of_run = Trace()
        self._keep = keep
        return self.trace_of_run

    def release(self) -> None:
        """Let go of the ways from the environment to itself, so that it goes when nothing holds it any more."""
        self.resolver = None
        self._cql = None

    def for_cql(self, parameters: Mapping[tuple[str, str], Any] | None = None) -> CqlPatient:
        """This patient as CQL sees it; definitions are evaluated anew, so that each criterion has its own trace."""
        run = self.run.with_parameters(parameters or {})
        known = self._cql
        if known is None or known.run is not run:
            known = self._cql = CqlPatient(run, self)
        known.memo = {}
        return known

    def other(self, asked: Resource | str) -> Compartment | None:
        """The compartment of another patient, looked up once. Raises EvaluationError where who is meant cannot be told, or data is read one at a time."""
        if self.compartment.others is None:
            raise out_of_reach(asked)
        key = asked if isinstance(asked, str) else id(asked)
        if key not in self._others:
            self._others[key] = self.compartment.others(asked)
        return self._others[key]

    def origin(self, resource: Resource) -> ResourceOrigin | None:
        """Where a resource of this patient, or of another that was looked at, was read."""
        own = self.compartment.origin(resource)
        if own is not None or not self._others:
            return own
        seen = (self.compartment, *filter(None, self._others.values()))
        return next((found for one in seen if (found := one.origin(resource)) is not None), None)

    def shown_patients(self) -> list[Resource | None]:
        """The patient, and the others of whom images are linked."""
        if not self._others:
            return [self.compartment.patient]
        linked = {key[0] for key in self.links}
        others = {
            id(one.patient): one.patient
            for one in filter(None, self._others.values())
            if any(id(study) in linked for study in one.of_type("ImagingStudy"))
        }
        return [self.compartment.patient, *(one for one in others.values() if one is not self.compartment.patient)]

    # -- called by emitted code

    def retrieve(
        self, resource_type: str, path: str | None = None, codes: tuple[tuple[str, str], ...] = ()
    ) -> list[Resource]:
        """Resources of a type, by code where codes are given. A coding without a system, without a code, or with a number in its place, leaves its row in doubt."""
        if path is None:
            return self.compartment.of_type(resource_type)
        coded = self.compartment.coded
        if len(codes) == 1:
            plain = self._plainly(resource_type, path, codes)
            if plain is not None:
                return plain
            ((system, only),) = codes
            rows = coded(resource_type, path, system, only)
            others = ((None, only), (system, None), (None, None), (system, (only,)), (None, (only,)))
            if not any(coded(resource_type, path, *other) for other in others):
                return rows
        found: dict[int, Resource] = {}
        for system, code in codes:
            for row in coded(resource_type, path, system, code):
                found[id(row)] = row
        for system, code in codes:
            for row in coded(resource_type, path, None, code):
                if id(row) not in found and self._doubt(Doubt(CODE_SITE, row, 0, code, asked=system)):
                    found[id(row)] = row
        for asked in dict.fromkeys((*(system for system, _ in codes), None)):
            for row in coded(resource_type, path, asked, None):
                if id(row) not in found and self._doubt(without_code(row, asked, codes)):
                    found[id(row)] = row
        for system, code in codes:
            for row in (*coded(resource_type, path, system, (code,)), *coded(resource_type, path, None, (code,))):
                if id(row) not in found and self._doubt(not_a_text(row, code)):
                    found[id(row)] = row
        if len(codes) > 1 and len(found) > 1:
            return [row for row in self.compartment.of_type(resource_type) if id(row) in found]
        return list(found.values())

    def _plainly(self, resource_type: str, path: str, codes: tuple[tuple[str, str], ...]) -> list[Resource] | None:
        """A few resources with ordinary codings are looked through without an index; None for all others."""
        key = resource_type, path, codes
        rows = self._looked_through.get(key)
        if rows is None:
            resources = self.compartment.of_type(resource_type)
            rows = plainly_coded(resources, path, codes) if len(resources) <= _FEW else None
            if rows is not None:
                self._looked_through[key] = rows
        return rows

    def retrieve_all(
        self, resource_type: str, path: str | None = None, codes: tuple[tuple[str, str], ...] = ()
    ) -> list[Resource]:
        """As `retrieve`, for rows that no filter tries: all of them count as evidence."""
        rows = self.retrieve(resource_type, path, codes)
        for row in rows:
            self.passed(CODE_SITE, row)
        return rows

    def passed(self, site: int, row: Resource) -> None:
        """A row satisfied a filter."""
        trace = self.trace_of_run
        key = id(row)
        found = trace.passed.get(key)
        if found is None:
            trace.rows[key] = row
            trace.passed[key] = {site}
        else:
            found.add(site)

    def failed(self, site: int, row: Resource, clause: int) -> None:
        """A row failed a clause of a filter."""
        trace = self.trace_of_run
        key = id(row)
        found = trace.failed.get(key)
        if found is None:
            trace.rows[key] = row
            trace.failed[key] = {site: clause}
        else:
            found.setdefault(site, clause)

    def series(self, row: Any) -> None:
        """A series of an imaging study satisfied a filter."""
        self.trace_of_run.series.add(id(row))

    def doubt(self, site: int, row: Any, clause: int, items: tuple[Any, ...] | None = None) -> bool:
        """A row's condition is unknown; answers whether this run keeps it. `items` are what the condition is about, where that is not the row alone."""
        unknowns = self.trace_of_run.unknowns
        return self._doubt(Doubt(site, row, clause, items=items, before=unknowns, count=len(unknowns)))

    def _doubt(self, doubt: Doubt) -> bool:
        about = known_by(doubt.row) if doubt.items is None else tuple(map(known_by, doubt.items))
        key = (doubt.site, about, doubt.code, doubt.why, doubt.asked)
        self.trace_of_run.doubts.setdefault(key, doubt)
        return self._keep is None or key in self._keep

    def answered(self, site: int, row: Any, items: tuple[Any, ...]) -> bool | None:
        """A question that was to be an item has no answer: it may be true or false, and as it stands there is no such item."""
        unknowns = self.trace_of_run.unknowns
        kept = [
            answer
            for answer in (True, False)
            if self._doubt(Doubt(site, row, 0, asked=answer, items=items, before=unknowns, count=len(unknowns)))
        ]
        return kept[0] if kept else None

    def bounded(self, kind: str, left: Any, right: Any) -> bool | None:
        """A comparison of quantities of which one may be only a bound; None where it cannot be told."""
        return compare_bounds(kind, left, right)

    def unknown(self, site: int, left: Any, right: Any, *owners: Any) -> None:
        """A comparison, or a question of terminology, had no answer; `owners` are the records that its operands come from."""
        unknowns = self.trace_of_run.unknowns
        if len(unknowns) < 1000:
            unknowns.append(Unknown(site, left, self._right_side(left, right), owners))

    def _right_side(self, left: Any, right: Any) -> Any:
        """The right side of a comparison; of a question of terminology, why it has no answer."""
        if right.__class__ is ValueSet and left is not None:
            membership = self.run.membership
            reason = Reason.MISSING_VALUE if membership.members(right).complete else Reason.MISSING_VALUESET
            return NotInTerminology(membership.why(coded(left), right), reason)
        asked, why = self._without_answer
        return NotInTerminology(why) if asked is not None and (asked == right or asked == left) else right

    def without_answer(self, *values: Any) -> None:
        """A question about code systems had no answer; `unknown` tells of it next."""
        lacking = self.run.membership.lacking(*values)
        self._without_answer = values[-1], lacking or "the code system does not list enough to tell"

    def subsumes(self, general: Any, special: Any) -> bool | None:
        """Whether a code is or subsumes another (FHIR: subsumes)."""
        found = super().subsumes(general, special)
        if found is None:
            self.without_answer(coded(general), coded(special))
        return found

    def records(self) -> Records:
        """The patient's records, for the sentences that say why something is unknown."""
        rows, passed = self.trace_of_run.rows, self.trace_of_run.passed
        return Records(self.compartment.of_type, lambda row: id(row) in rows and id(row) in passed, self._owner)

    # -- references

    def _find(self, reference: str, holder: Any) -> Resource | None:
        owner = self._owner(holder)
        found = self.compartment.resolve(reference, owner)
        if found is None and owner is not None:
            self.trace_of_run.unresolved.setdefault(id(owner), reference)
        elif found is not None:
            self.reach(found, owner)
            if self._holders is not None and id(found) not in self._holders:
                add_holders(self._holders, found)  # references may go on from there
        return found

    def reach(self, resource: Resource, holder: Resource | None) -> None:
        """Note a resource that a reference led to, as it stands in another."""
        if self.compartment.reached is not None:
            self._reached[id(resource)] = resource, holder

    def forget_reached(self) -> None:
        """Forget what references led to, before another criterion."""
        if self._reached:
            self._reached = {}

    def doubts(self) -> Sequence[InDoubt]:
        """The records in doubt that retrieves find or references led to, of this patient and of others that were looked at."""
        found = self.compartment.in_doubt
        if not self._reached and not self._others:
            return found
        more = [one for other in self._others.values() if other is not None for one in other.in_doubt]
        if self.compartment.reached is not None:
            more += (one for pair in self._reached.values() for one in self.compartment.reached(*pair))
        return list({(id(one.record), one.kind): one for one in (*found, *more)}.values()) if more else found

    def _owner(self, holder: Any) -> Resource | None:
        """The resource in which a reference stands."""
        if self._holders is None:
            holders: dict[int, Resource] = {}
            if self.compartment.patient is not None:
                add_holders(holders, self.compartment.patient)
            for resources in self.compartment.resources.values():
                for resource in resources:
                    add_holders(holders, resource)
            self._holders = holders  # whole, or not at all
        found = self._holders.get(id(holder))
        if found is None and self.compartment.shared is not None:
            return self.compartment.shared.holder(holder)
        return found


class CqlPatient(CompartmentPatient):
    """A patient for traced CQL: retrieves from the compartment, reports to the environment of the criterion."""

    def __init__(self, run: Run, environment: PatientEnvironment, compartment: Compartment | None = None) -> None:
        """`compartment` is that of another patient whose data is looked at for the one of the environment."""
        super().__init__(run, compartment if compartment is not None else environment.compartment)
        self.environment = environment
        self.passed, self.failed = environment.passed, environment.failed
        self.doubt, self.unknown, self.series = environment.doubt, environment.unknown, environment.series
        self._doubt = environment._doubt

    def other(self, asked: Resource | str) -> CqlPatient | None:
        """The patient of a resource or reference, whose rows are reported like the patient's own."""
        found = self.environment.other(asked)
        return None if found is None else CqlPatient(self.run, self.environment, found)

    def referred(self, reference: str, holder: Any) -> Any:
        """As of any patient."""
        found = super().referred(reference, holder)
        if found is not None:
            self.environment.reach(found, holder)
        return found

    def retrieve_all(self, spec: RetrieveSpec, codes: Any = None) -> list[Any]:
        """As `retrieve`, for rows that no filter tries: all of them count as evidence."""
        rows = self.retrieve(spec, codes)
        for row in rows:
            self.passed(CODE_SITE, row)
        return rows

    def without_code(self, resource: Any, system: str | None, codes: Any) -> bool:
        """A coding without a code, of a system that is asked for or of none: a doubt about the row."""
        return self._doubt(without_code(resource, system, str(codes)))

    def malformed(self, resource: Any, code: Any) -> bool:
        """A number in the place of a code that would match: a doubt about the row."""
        return self._doubt(not_a_text(resource, str(code)))

    def without_system(self, resource: Any, code: str, codes: Any) -> bool:
        """A coding without a system that would match the codes asked for: a doubt about the row."""
        return self._doubt(Doubt(CODE_SITE, resource, 0, code, asked=str(codes)))

    def unsure(self, resource: Any, why: str) -> bool:
        """A code of which the value set does not tell: a doubt about the row."""
        return self._doubt(Doubt(CODE_SITE, resource, 0, why=why))

    def differently_negated(self, resource: Any) -> bool:
        """What was not done is named in a way that the profile does not have: a doubt about the row."""
        why = "the value set of what was not done is named by an extension of another version of the profile"
        return self._doubt(Doubt(CODE_SITE, resource, 0, why=why, reason=Reason.NOT_COMPUTABLE))

    def unresolved(self, resource: Any, reference: str) -> bool:
        """A code that stands in a resource that is not among the data: a doubt about the row."""
        why = f"its code stands in {reference}, which is not among the data"
        return self._doubt(Doubt(CODE_SITE, resource, 0, why=why, reason=Reason.UNRESOLVED_REFERENCE))

    def without_answer(self, *values: Any) -> bool | None:
        """A question about code systems without an answer: unknown, and reported where it is asked."""
        self.environment.without_answer(*values)
        return None


def known_by(row: Any) -> Any:
    """What tells a row from others in every run: an object of the data is the same in all, a value that was read from it is made anew."""
    if row.__class__ is Element:
        return known_by(row.value), None if row.sibling is None else id(row.sibling)
    return id(row) if row.__class__ in (dict, list) else (row.__class__, str(row))
