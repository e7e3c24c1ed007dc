"""What emitted CQL calls, and the request and patient that it is handed. Plain Python over the algebra; nothing here knows where patients come from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from functools import cmp_to_key
from typing import Any
from zoneinfo import ZoneInfo

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.operators.equality import sign
from fhir_eligibility.algebra.temporal import Date, DateTime, Time
from fhir_eligibility.algebra.temporal.recorded import to_the_millisecond
from fhir_eligibility.algebra.values import points as p
from fhir_eligibility.algebra.values.clinical import Code, CodeSystem, ValueSet, codes_of
from fhir_eligibility.algebra.values.code_systems import alias_of
from fhir_eligibility.algebra.values.element import (
    to_datetime,
)
from fhir_eligibility.algebra.values.expansion import Expansion
from fhir_eligibility.algebra.values.interval import Interval
from fhir_eligibility.compiler.runtime import fhir_values as fhir
from fhir_eligibility.compiler.runtime.membership import NO_CODES, Codes, ValueSetMembership, with_canonical
from fhir_eligibility.compiler.runtime.related import Others, RelatedContexts
from fhir_eligibility.compiler.runtime.retrieving import RetrieveSpec, has_profile
from fhir_eligibility.compiler.runtime.untraced import Untraced

MISSING: Any = object()
MEDICATION = RetrieveSpec("Medication", None, "code", (("code",),))
_MOMENTS = 50_000
_LISTED = 256


class Failed:
    """An error kept in place of the value of a definition."""

    __slots__ = ("error", "traceback")

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.traceback = error.__traceback__


class Run(Untraced, RelatedContexts):
    """What all patients of a run share: the request's clock and offset, parameters, definitions without a patient."""

    def __init__(
        self,
        now: dt.datetime | None = None,
        timezone: str = "UTC",
        parameters: Mapping[tuple[str, str], Any] | None = None,
        messages: Callable[[str, str, str, Any], None] | None = None,
        value_sets: Codes | None = None,
        ignore_profiles: bool = False,
    ) -> None:
        moment = now if now is not None else dt.datetime.now(ZoneInfo(timezone))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=ZoneInfo(timezone))
        moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
        self.moment = moment
        self.now = DateTime.parse(moment.isoformat(timespec="milliseconds"))
        self.today = Date(moment.year, moment.month, moment.day)
        self.time_of_day = Time(moment.hour, moment.minute, moment.second, moment.microsecond // 1000)
        offset = moment.utcoffset()
        assert offset is not None
        self.offset_minutes = int(offset.total_seconds() // 60)
        self.parameters: Mapping[tuple[str, str], Any] = parameters or {}
        self.messages = messages
        self.membership = ValueSetMembership(value_sets if value_sets is not None else NO_CODES)
        self.ignore_profiles = ignore_profiles
        self.memo: dict[Any, Any] = {}
        self.moments: dict[str, DateTime] = {}
        self.run = self
        self._variants: dict[int, tuple[Any, Run]] = {}
        self._listed: dict[int, tuple[Any, Expansion]] = {}

    def with_parameters(self, defaults: Mapping[tuple[str, str], Any]) -> Run:
        """This run with values for the parameters that it does not give itself; the same run for the same values."""
        if not defaults:
            return self
        known = self._variants.get(id(defaults))
        if known is None:
            variant = copy(self)
            kept = {k: v for k, v in defaults.items() if k not in self.parameters and ("", k[1]) not in self.parameters}
            variant.parameters = {**{key: self._at_request(value) for key, value in kept.items()}, **self.parameters}
            variant.memo, variant._variants, variant.run = {}, {}, variant
            known = self._variants[id(defaults)] = (defaults, variant)
        return known[1]

    def _at_request(self, value: Any) -> Any:
        """A value with its DateTimes at the offset of the request where they tell none."""
        if value.__class__ is DateTime:
            return self.at(value)
        if value.__class__ is Interval:
            low, high = self._at_request(value.low), self._at_request(value.high)
            return Interval(low, high, value.low_closed, value.high_closed, value.point)
        return [self._at_request(x) for x in value] if value.__class__ is list else value

    def at(self, value: DateTime | None) -> DateTime | None:
        """A DateTime with the offset of the request where none is written (CQL: "Time Zones")."""
        return value if value is None or value.offset_minutes is not None else value.at_offset(self.offset_minutes)

    def recorded(self, value: Any) -> DateTime | None:
        """A DateTime from data, at the offset of the request where it tells none.

        Data writes a second without its decimals where they are zero: seconds and milliseconds are one precision (CQL: DateTime).
        """
        known = self.moments.get(value) if value.__class__ is str else None
        if known is None:
            known = self.at(to_datetime(value))
            if known is not None:
                known = to_the_millisecond(known)
            if known is not None and value.__class__ is str:
                if len(self.moments) > _MOMENTS:
                    self.moments.clear()
                self.moments[value] = known
        return known

    def parameter(self, library: str, name: str) -> Any:
        """The value given for a parameter, MISSING where there is none."""
        found = self.parameters.get((library, name), MISSING)
        return self.parameters.get(("", name), MISSING) if found is MISSING else found

    def message(self, source: Any, condition: Any, code: Any, severity: Any, text: Any) -> Any:
        """Message: passes its source on; raises EvaluationError `message` for the severity Error (CQL: Message)."""
        if condition is not True:
            return source
        level = severity or "Message"
        if level == "Error":
            raise EvaluationError("message", f"{code or 'Error'}: {text}")
        if self.messages is not None:
            self.messages(level, code, text, source)
        return source

    # -- data and terminology: what is not given cannot be told

    subject: Any = None

    def retrieve(self, spec: RetrieveSpec, codes: Any = None) -> list[Any]:
        """The resources that a retrieve asks for. Raises EvaluationError `no-patient`, since there is none here."""
        message = f"[{spec.resource_type}] stands in no patient's context, so that it asks for the data of all patients; data is read one patient at a time"
        raise EvaluationError("no-patient", f"{message}: put the define below 'context Patient'")

    def retrieve_all(self, spec: RetrieveSpec, codes: Any = None) -> list[Any]:
        """As `retrieve`, for rows that no filter tries."""
        return self.retrieve(spec, codes)

    def in_value_set(self, code: Any, value_set: ValueSet) -> bool | None:
        """Whether a code, a code of a concept, or a text is in a value set; None where that cannot be told."""
        return self.membership.in_value_set(code, value_set)

    def in_code_system(self, code: Any, code_system: CodeSystem) -> bool | None:
        """Whether a code is of a code system; None where its codes are not all known. Raises EvaluationError `missing-codesystem`."""
        found = self.membership.in_code_system(code, code_system)
        return self.without_answer(code_system) if found is None else found

    def subsumes(self, general: Any, special: Any) -> bool | None:
        """Whether a code of the first subsumes one of the second. Raises EvaluationError `missing-codesystem`, `no-terminology`."""
        found = self.membership.subsumes(general, special)
        return self.without_answer(general, special) if found is None else found

    def without_answer(self, *values: Any) -> bool | None:
        """A question about code systems has no answer: an error where that is because one is not there."""
        lacking = self.membership.lacking(*values)
        if lacking is not None:
            raise EvaluationError("missing-codesystem", lacking)
        return None

    def listed(self, codes: Any) -> Expansion:
        """Codes and concepts, one or a list of them, as a set. As a rule they are a constant of the library, so it is made once."""
        known = self._listed.get(id(codes))
        if known is None:
            wanted = codes if codes.__class__ in (list, tuple) else [codes]
            members = with_canonical(
                Expansion(
                    (c.system, c.code) for code in wanted if code is not None for c in codes_of(code) if c is not None
                )
            )
            if len(self._listed) >= _LISTED:
                self._listed.clear()
            known = self._listed[id(codes)] = codes, members
        return known[1]

    def expand_value_set(self, value_set: ValueSet) -> list[Code]:
        """The codes of a value set (CQL: ExpandValueSet)."""
        return self.membership.expand(value_set)


class Patient(Run):
    """One patient of a run: definitions are evaluated once each. `resources` are those of the patient, as decoded JSON.

    A retrieve of a profile takes the resources whose `meta.profile` names it, unless the run ignores profiles.
    """

    def __init__(
        self, run: Run, subject: Any = None, resources: Iterable[dict[str, Any]] = (), others: Others | None = None
    ) -> None:
        self.run = run
        self.others = others
        self.now, self.today, self.time_of_day = run.now, run.today, run.time_of_day
        self.offset_minutes = run.offset_minutes
        self.moment = run.moment
        self.parameters = run.parameters
        self.messages = run.messages
        self.membership = run.membership
        self.ignore_profiles = run.ignore_profiles
        self.memo = {}
        self.moments = run.moments
        self.subject = subject
        self._retrieved: dict[tuple[int, int], tuple[Any, Any, list[Any]]] = {}
        self._by_type: dict[str, list[Any]] = {}
        for resource in resources:
            self._by_type.setdefault(str(resource.get("resourceType")), []).append(resource)

    def retrieve(self, spec: RetrieveSpec, codes: Any = None) -> list[Any]:
        """The patient's resources that a retrieve asks for."""
        # what is remembered holds what was asked, so that nothing else can have its identity
        key = id(spec), id(codes)
        found: tuple[Any, Any, list[Any]] | None = self._retrieved.get(key) or self.memo.get(key)
        if found is None:
            rows = self._plainly(spec, codes)
            if rows is not None:  # nothing was reported, so that this answers every criterion
                found = self._retrieved[key] = spec, codes, rows
            else:
                found = self.memo[key] = spec, codes, self._retrieve(spec, codes)
        return found[2]

    def _plainly(self, spec: RetrieveSpec, codes: Any) -> list[Any] | None:
        """The resources of a retrieve whose codes all stand in ordinary codings; None where more has to be looked at."""
        return self._plain_rows(self.of_type(spec.resource_type), spec, codes)

    def _plain_rows(self, resources: list[Any], spec: RetrieveSpec, codes: Any) -> list[Any] | None:
        """Those of some resources of its type that a retrieve asks for; None as in `_plainly`."""
        if spec.negated or spec.referenced or len(spec.paths) > 1:
            return None
        if spec.profile is not None and not self.ignore_profiles:
            resources = [resource for resource in resources if has_profile(resource, spec.profile)]
        if not spec.paths:
            return resources
        path = spec.paths[0]
        if len(path) > 1:
            return None
        members = self.membership.members(codes) if codes.__class__ is ValueSet else self.run.listed(codes)
        return fhir.plainly_coded(resources, path[0], members.codes) if members.complete else None

    def of_type(self, resource_type: str) -> list[Any]:
        """The patient's resources of a type."""
        return self._by_type.get(resource_type, [])

    def without_code(self, resource: Any, system: str | None, codes: Any) -> bool:
        """Whether a resource counts of which a coding has no code: not for CQL."""
        return False

    def malformed(self, resource: Any, code: Any) -> bool:
        """Whether a resource counts that has a number in the place of a code that would match. Raises EvaluationError `malformed-data`, since no row is dropped."""
        name = f"{resource.get('resourceType')}/{resource.get('id', '(no id)')}"
        raise EvaluationError("malformed-data", f"{name}: the code {code} is a number, not a text", value=code)

    def without_system(self, resource: Any, code: str, codes: Any) -> bool:
        """Whether a coding without a system, whose code would match, counts: not for CQL, where its system is another."""
        return False

    def unsure(self, resource: Any, why: str) -> bool:
        """Whether a resource counts of which the value set does not tell. Raises EvaluationError `incomplete-valueset`, since no row is dropped."""
        name = f"{resource.get('resourceType')}/{resource.get('id', '(no id)')}"
        raise EvaluationError("incomplete-valueset", f"{name}: {why}")

    def _retrieve(self, spec: RetrieveSpec, codes: Any) -> list[Any]:
        resources = self.of_type(spec.resource_type)
        if spec.profile is not None and not self.ignore_profiles:
            resources = [r for r in resources if has_profile(r, spec.profile)]
        if not spec.paths and not spec.negated:
            return resources
        if codes.__class__ is ValueSet:
            members = self.membership.members(codes)
        else:
            members = self.run.listed(codes)
        return [r for r in resources if self._matches(r, spec, members, codes)]

    def _matches(self, resource: Any, spec: RetrieveSpec, members: Expansion, codes: Any) -> bool:
        lost: str | None = None
        uncoded: list[str | None] = []
        unsure: Any = None
        number: Any = None
        for path in spec.paths:
            for code in fhir.codes_at(resource, path):
                if code[1] is not None and code[1].__class__ is not str:
                    number = code[1] if _meant(code, members) else number
                    continue
                if code in members.codes:
                    return True
                known = alias_of(code[0])
                if known is not None:
                    code = known, code[1]
                    if code in members.codes:
                        return True
                if code[0] is fhir.PLAIN:  # a `code`: its element says of which system it is
                    found = members.in_any_system(code[1])
                    if found:
                        return True
                    unsure = code[1] if found is None else unsure
                elif code[1] is None:
                    if code[0] is None or not members.complete or any(code[0] == system for system, _ in members.codes):
                        uncoded.append(code[0])
                elif code[0] is None and members.in_any_system(code[1]) is not False:
                    lost = code[1]
                elif not members.complete and members.has(code) is None:
                    unsure = Code(code[1], code[0])
        if number is not None and self.malformed(resource, number):
            return True
        if lost is not None and self.without_system(resource, lost, codes):
            return True
        if uncoded and self.without_code(resource, uncoded[0], codes):
            return True
        if spec.referenced and self._refers(resource, spec, members, codes):
            return True
        if spec.negated and self._not_done(resource, spec, members, codes):
            return True
        return unsure is not None and self.unsure(resource, self.membership.why(unsure, codes))

    def _not_done(self, resource: Any, spec: RetrieveSpec, members: Expansion, codes: Any) -> bool:
        """Whether a resource says that nothing of a value set was done, and that is the one asked for, or holds a code that is."""
        why: str | None = None
        for url in fhir.at_path(resource, spec.negated):
            named = fhir.to_value_set(url)
            if named is None or (codes.__class__ is ValueSet and named.id != codes.id):
                continue
            if codes.__class__ is ValueSet:
                return True
            try:
                whole = self.membership.members(named)
            except EvaluationError as error:
                why = f"nothing of a value set was done, but {error.message}"
                continue
            answers = {whole.has(member) for member in members.codes}
            if True in answers:
                return True
            if None in answers:
                why = f"nothing of the value set {named.id} was done, and its codes are not all known: {whole.why}"
        if why is not None:
            return self.unsure(resource, why)
        other = fhir.other_not_done(spec.negated)
        return bool(other and fhir.at_path(resource, other)) and self.differently_negated(resource)

    def differently_negated(self, resource: Any) -> bool:
        """Whether a resource counts that names what was not done by an extension of another version of its profile: CQL drops it."""
        return False

    def _refers(self, resource: Any, spec: RetrieveSpec, members: Expansion, codes: Any) -> bool:
        reference = resource
        for name in spec.referenced:
            reference = reference.get(name) if reference.__class__ is dict else None
        written = reference.get("reference") if reference.__class__ is dict else None
        if written is None:
            return False
        found = self.referred(written, resource)
        if found is None:
            return self.unresolved(resource, written)
        return found.get("resourceType") == spec.target and self._matches(found, MEDICATION, members, codes)

    def referred(self, reference: str, holder: Any) -> Any:
        """The patient's resource that a reference means, None where it is not at hand."""
        if reference.startswith("#"):
            return next((r for r in holder.get("contained") or () if r.get("id") == reference[1:]), None)
        kind, _, identifier = reference.partition("/_history/")[0].rpartition("/")
        return next((r for r in self.of_type(kind.rpartition("/")[2]) if r.get("id") == identifier), None)

    def unresolved(self, resource: Any, reference: str) -> bool:
        """Whether a resource counts whose code stands in another that is not at hand: CQL drops it."""
        return False


def once(environment: Any, define: Callable[[Any], Any]) -> Any:
    """The value of a definition, computed at its first use; an error is kept like a value."""
    memo = environment.memo
    found = memo.get(define, MISSING)
    if found is MISSING:
        try:
            found = define(environment)
        except Exception as error:
            memo[define] = Failed(error)
            raise
        memo[define] = found
    elif found.__class__ is Failed:
        raise found.error.with_traceback(found.traceback)
    return found


def with_point(value: Interval, point: str) -> Interval:
    """The same interval under another point type: that of its boundaries where they are null."""
    if value.point == point:
        return value
    return Interval(value.low, value.high, value.low_closed, value.high_closed, point, value.first, value.last)


def convert_interval(value: Interval, bound: Callable[[Any], Any], point: str) -> Interval:
    """An interval with both boundaries converted."""
    low = None if value.low is None else bound(value.low)
    high = None if value.high is None else bound(value.high)
    first, last = (None if x is None else p.spread(bound, x) for x in (value.first, value.last))
    return Interval(low, high, value.low_closed, value.high_closed, point, first, last)


def _meant(code: tuple[Any, Any], members: Expansion) -> bool:
    """Whether a code that is no text in the data may be one of those asked for, were it one."""
    text = str(code[1])
    if code[0].__class__ is not str:
        return members.in_any_system(text) is not False
    return members.has((alias_of(code[0]) or code[0], text)) is not False


def coalesce(values: list[Any] | None) -> Any:
    """The first element that is not null (CQL: Coalesce)."""
    return next((value for value in values or () if value is not None), None)


def sort_rows(rows: list[Any], keys: Iterable[tuple[Callable[[Any], Any] | None, bool]]) -> list[Any]:
    """Rows in the order of several keys, the first the most important; nulls come first, last where descending."""
    for key, descending in reversed(tuple(keys)):
        values = rows if key is None else [key(row) for row in rows]
        order = cmp_to_key(sign)
        ranks = [order(value) for value in values]
        indexes = sorted(range(len(rows)), key=ranks.__getitem__, reverse=descending)
        rows = [rows[index] for index in indexes]
    return rows
