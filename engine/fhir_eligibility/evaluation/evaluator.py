"""One compiled rule set on one patient gives a verdict.

Criteria are combined by Kleene logic. Where rows were in doubt, the criterion is run in the worlds in which they are kept; if the
answer changes, it is unknown and names the row and the clause. Errors are bound to the criterion and the patient.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.analysis.other_version import checks_of
from fhir_eligibility.compiler.criteria.cql import CqlCode
from fhir_eligibility.compiler.criteria.rules import FhirPathCriterion, Rule, RuleSet
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.runtime.membership import NO_CODES, Codes
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.evaluation.evidence import evidence_of, patient_evidence
from fhir_eligibility.evaluation.filtered import asks_for_no_others
from fhir_eligibility.evaluation.imaging import identifiers_of, imaging_link, merge_links
from fhir_eligibility.evaluation.in_doubt import Certainty
from fhir_eligibility.evaluation.incomplete import NO_PATIENT, open_gaps, why_open
from fhir_eligibility.evaluation.malformed import OF_DATA, place_of
from fhir_eligibility.evaluation.other_systems import coded_otherwise
from fhir_eligibility.evaluation.other_version import other_version, version_checks
from fhir_eligibility.evaluation.records import CriterionResult, Evidence, ImagingLink, Verdict, changed
from fhir_eligibility.evaluation.time_limit import SECONDS, TimeLimit
from fhir_eligibility.evaluation.tracing import Doubt, DoubtKey, PatientEnvironment, Trace
from fhir_eligibility.evaluation.truth import combine, truth
from fhir_eligibility.evaluation.verdict import Role
from fhir_eligibility.evaluation.why import why_in_doubt, why_unanswered
from fhir_eligibility.evaluation.worlds import EXHAUSTIVE, choices

Absent = Literal["default", "unknown", "not-met"]
AnyCode = FhirPathCriterion | CqlCode
LACKING = ("missing-valueset", "incomplete-valueset", "missing-codesystem")
WORLDS = 64
_NO_DOUBTS: dict[int, Doubt] = {}
_NOWHERE: frozenset[int] = frozenset()
_NEVER: dict[int, int] = {}


class Options(Struct, frozen=True, kw_only=True):
    """What a verdict depends on besides rules and data; all of it is recorded in the outputs.

    `now` is an aware datetime. `absent` overrides what the absence of any record means for coded characteristics. A criterion that takes
    longer than `criterion_seconds` for a patient is unknown (0: no limit).
    """

    now: dt.datetime
    timezone: str = "UTC"
    absent: Absent = "default"
    dicomweb: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[tuple[str, str], Any] = field(default_factory=dict)
    value_sets: Codes = field(default_factory=lambda: NO_CODES)
    strict_cql: bool = False
    criterion_seconds: float = SECONDS


class Outcome:
    """Truth of one rule for one patient (None: unknown), why it is unknown, and the resources behind it."""

    __slots__ = ("detail", "evidence", "images", "members", "plain", "reason", "value")

    def __init__(self, value: bool | None, reason: Reason | None = None, detail: str | None = None) -> None:
        self.value = value
        self.reason = reason
        self.detail = detail
        self.evidence: list[Evidence] = []
        self.images: list[ImagingLink] = []
        self.members: list[tuple[Rule, Outcome]] = []
        self.plain: bool | None = None

    def conclude(self, images: list[ImagingLink]) -> None:
        """Say of the evidence what it is now that the truth of the rule is known, and add all links to images, those of members too.

        A record that passed the conditions of a criterion which is not met did not meet it: it was found where none may be, or with too
        few or too many others.
        """
        if self.value is not True:
            self.evidence = [changed(one, role="found") if one.role == "met" else one for one in self.evidence]
            self.images = [changed(one, role="found") if one.role == "met" else one for one in self.images]
        images.extend(self.images)
        for _, member in self.members:
            member.conclude(images)


class Evaluator:
    """Evaluates one rule set; make one and call it for every patient."""

    def __init__(self, rules: RuleSet, options: Options) -> None:
        self.rules = rules
        self.options = options
        self._written_otherwise = {
            id(rule.code): version_checks(checks_of(rule.code.reads(), rules.model))
            for rule in rules.walk()
            if rule.code is not None
        }
        self.certainty = Certainty(load_model(rules.model))
        self.time_limit = TimeLimit(options.criterion_seconds)
        self.prepared = False
        self.cql = Run(options.now, options.timezone, options.parameters, value_sets=options.value_sets)

    def __call__(self, compartment: Compartment) -> Verdict:
        """The verdict on one patient. Never raises for data: what goes wrong is a criterion that is unknown."""
        if not self.prepared:
            self.prepare()
        environment = PatientEnvironment(
            compartment, now=self.options.now, variables=self.options.variables, run=self.cql
        )
        environment.limited = self.time_limit.runner()
        results = [(rule, self.rule(rule, environment)) for rule in self.rules.rules]
        satisfied = _satisfied(results)
        value = combine(self.rules.combination, self.rules.threshold, satisfied)
        verdict = "included" if value is True else "excluded" if value is False else "undetermined"
        images: list[ImagingLink] = []
        for _, outcome in results:
            outcome.conclude(images)
        environment.release()
        return Verdict(
            patient=compartment.reference,
            artifact=self.rules.artifact,
            artifact_version=self.rules.version,
            verdict=verdict,
            deciding=[rule.id for (rule, _), one in zip(results, satisfied, strict=True) if one is value],
            criteria=[_result(rule, outcome) for rule, outcome in results],
            imaging=merge_links(images) if images else [],
            identifiers=[x for one in environment.shown_patients() for x in identifiers_of(one)] if images else [],
            incomplete=list(dict.fromkeys(gap.type for gap in environment.hanging)) or None,
        )

    def prepare(self) -> None:
        """Load what was compiled before the time of any criterion is taken."""
        for rule in self.rules.walk():
            for code in (rule.code, rule.presence):
                with suppress(Exception):  # what is wrong is said where the criterion is evaluated
                    code and code.prepare()
        self.prepared = True

    def rule(self, rule: Rule, environment: PatientEnvironment) -> Outcome:
        """Truth of one rule, before its `exclude` is applied."""
        if rule.reason is not None:
            return Outcome(None, rule.reason, rule.detail)
        if rule.combination is not None:
            members = [(member, self.rule(member, environment)) for member in rule.members]
            value = combine(rule.combination, rule.threshold, _satisfied(members))
            outcome = Outcome(value)
            outcome.members = members
            if value is None:
                first = next((o for m, o in members if o.value is None), None)
                if first is not None:
                    outcome.reason, outcome.detail = first.reason, first.detail
            return outcome
        assert rule.code is not None
        try:
            found: Outcome = environment.limited(self.leaf, rule, rule.code, environment)
        except EvaluationError as error:
            where = f"{environment.compartment.reference}: the criterion {rule.id}: {error.message}"
            return Outcome(None, Reason.ERROR, f"{where} in `{rule.code.text[:80]}` ({error.code})")
        if rule.beside is not None:
            self.compare(rule, found, environment)
        return found

    def leaf(self, rule: Rule, code: AnyCode, environment: PatientEnvironment) -> Outcome:
        """Truth of a rule that is one expression; unknown where it hangs on records in doubt."""
        environment.forget_reached()
        outcome = self.answer(rule, code, environment)
        if outcome.value is not None and environment.doubts():
            why = self.certainty.why_in_doubt(
                rule, outcome.value, environment, lambda other: self.answer(rule, code, other).value
            )
            if why is not None:
                outcome.value, (outcome.reason, outcome.detail) = None, why
        return outcome

    def answer(self, rule: Rule, code: AnyCode, environment: PatientEnvironment) -> Outcome:
        """Truth of a rule that is one expression over the records as they stand."""
        try:
            outcome = self.code(rule, code, environment)
        except Exception as error:
            # data of a shape that nobody foresaw: it is about this criterion of this patient, and nothing else
            detail = f"{environment.compartment.reference}: {error.__class__.__name__}: {error}"
            return Outcome(None, Reason.ERROR, f"the evaluation failed unexpectedly: {detail}"[:500])
        self.version(code, outcome, environment)
        value = outcome.value
        if outcome.value is False and rule.presence is not None:
            self.absence(rule, outcome, environment)
        elif outcome.value is None and rule.causes:
            self.because(rule, outcome, environment)
        if rule.otherwise and outcome.value is not None:
            self.otherwise(rule, outcome, environment)
        if environment.compartment.gaps or environment.compartment.patient is None:
            self.incomplete(code, value, outcome, environment)
        return outcome

    def code(self, rule: Rule, code: AnyCode, environment: PatientEnvironment) -> Outcome:
        trace = environment.begin()
        try:
            value = truth(code, code.run(environment, environment.compartment.patient))
            outcome = Outcome(value)
            if trace.doubts:
                doubts = dict(trace.doubts)
                self.worlds(code, environment, doubts, outcome)
                if isinstance(code, CqlCode) and outcome.value is None and value is not None:
                    outcome.plain = value
                    if self.options.strict_cql:
                        outcome.value = value
        except EvaluationError as error:
            if error.code in LACKING:
                return Outcome(None, Reason.MISSING_VALUESET, error.message)
            if error.code == "related-patient-missing":
                return Outcome(None, Reason.UNRESOLVED_REFERENCE, self.error_text(rule, code, error, environment))
            return Outcome(None, Reason.ERROR, self.error_text(rule, code, error, environment))
        if outcome.value is None and outcome.reason is None:
            outcome.reason, outcome.detail = why_unanswered(code, trace, environment)
        self.gather(rule, code, trace, outcome, environment)
        return outcome

    def error_text(self, rule: Rule, code: AnyCode, error: EvaluationError, environment: PatientEnvironment) -> str:
        compartment = environment.compartment
        place = None
        if error.code in OF_DATA:
            records = [] if compartment.patient is None else [compartment.patient]
            records += [one for kind in code.reads() if kind != "Patient" for one in compartment.of_type(kind)]
            place = place_of(error, records, self.rules.model)
        return f"{place or compartment.reference}: {error.message}{code.where(error)} ({error.code})"

    def worlds(
        self, code: AnyCode, environment: PatientEnvironment, doubts: dict[DoubtKey, Doubt], outcome: Outcome
    ) -> None:
        """Run the criterion with doubtful rows kept; if that changes the answer, it is unknown.

        Where keeping more rows moves the answer one way only, keeping all of them decides. A run that fails with a row
        kept counts as a change. Where there are more worlds than can be tried, the answer is unknown.
        """
        patient = environment.compartment.patient
        if code.monotone:
            trace = environment.begin(None)
            try:
                changed = truth(code, code.run(environment, patient)) is not outcome.value
            except EvaluationError:
                changed = True
            doubts.update({key: doubt for key, doubt in trace.doubts.items() if key not in doubts})
            if changed:
                self.undecided(code, doubts, environment, outcome, frozenset(doubts))
            return
        tried: set[frozenset[DoubtKey]] = {frozenset()}
        queue = choices(list(doubts))
        while queue:
            keep = queue.pop(0)
            if keep in tried:
                continue
            if len(tried) > WORLDS:
                break
            tried.add(keep)
            trace = environment.begin(keep)
            try:
                changed = truth(code, code.run(environment, patient)) is not outcome.value
            except EvaluationError:
                changed = True
            if changed:
                self.undecided(code, doubts, environment, outcome, keep)
                return
            fresh = {key: doubt for key, doubt in trace.doubts.items() if key not in doubts}
            if fresh:
                doubts.update(fresh)
                queue.extend(choices(list(doubts)))
        if queue or (len(doubts) > EXHAUSTIVE and not code.by_number):
            self.undecided(code, doubts, environment, outcome, frozenset(doubts))
            outcome.detail = f"{len(doubts)} rows cannot be decided, too many to try every way: {outcome.detail}"

    def undecided(
        self,
        code: AnyCode,
        doubts: dict[DoubtKey, Doubt],
        environment: PatientEnvironment,
        outcome: Outcome,
        keep: frozenset[DoubtKey],
    ) -> None:
        """Fill in why a criterion is unknown although it had an answer without the doubtful rows."""
        doubt = next(d for key, d in doubts.items() if key in keep)
        outcome.value = None
        outcome.reason, outcome.detail = why_in_doubt(code, doubt, environment)

    def incomplete(self, code: AnyCode, value: bool | None, outcome: Outcome, environment: PatientEnvironment) -> None:
        """An answer (`value`) that records which may be missing could change is unknown; where there is none for lack of records, these are why."""
        found = [
            gap
            for gap in open_gaps(value, code.monotonicity, environment.compartment)
            if not (gap.filters and asks_for_no_others(code, gap.type, gap.filters))
        ]
        environment.hanging.extend(found)
        gap = next((gap for gap in found if not gap.tolerated), None)
        if gap is not None and (
            outcome.value is not None or (outcome.reason is Reason.NO_DATA and gap is not NO_PATIENT)
        ):
            if outcome.value is not None and isinstance(code, CqlCode):
                outcome.plain = outcome.value
            outcome.value = None
            outcome.reason, outcome.detail = why_open(gap)

    def version(self, code: AnyCode, outcome: Outcome, environment: PatientEnvironment) -> None:
        """A record of another version of FHIR, read as this one, lacks what it holds: nothing can be told from it."""
        checks = self._written_otherwise.get(id(code))
        if checks:
            found = other_version(checks, environment.compartment, self.rules.model)
            if found is not None:
                outcome.value, outcome.reason, outcome.detail = None, Reason.OTHER_FHIR_VERSION, found

    def absence(self, rule: Rule, outcome: Outcome, environment: PatientEnvironment) -> None:
        """Without any record of the kind, a measurement is unknown, a diagnosis or act is not met (unless told)."""
        assert rule.presence is not None
        unknown = rule.measurement if self.options.absent == "default" else self.options.absent == "unknown"
        if not unknown:
            return
        environment.begin(None)
        try:
            present = rule.presence.run(environment, environment.compartment.patient)
        except EvaluationError as error:
            outcome.value, outcome.reason = None, Reason.ERROR
            outcome.detail = self.error_text(rule, rule.presence, error, environment)
            return
        if present is not True:
            outcome.value, outcome.reason = None, Reason.NO_DATA
            outcome.detail = rule.absent

    def because(self, rule: Rule, outcome: Outcome, environment: PatientEnvironment) -> None:
        """Why a criterion that is unknown is so, where its form names causes: an event that is not recorded, a time not yet over."""
        for cause in rule.causes:
            environment.begin(None)
            try:
                holds = truth(cause.code, cause.code.run(environment, environment.compartment.patient))
            except EvaluationError:
                continue
            if holds is True:
                outcome.reason, outcome.detail = cause.reason, cause.detail
                return

    def otherwise(self, rule: Rule, outcome: Outcome, environment: PatientEnvironment) -> None:
        """Records that are coded in other systems than the criterion asks for cannot decide it."""
        for one in rule.otherwise:
            if outcome.value is True and not one.counted:
                continue
            environment.begin(None)
            try:
                rows = one.code.run(environment, environment.compartment.patient)
            except EvaluationError as error:
                outcome.value, outcome.reason = None, Reason.ERROR
                outcome.detail = self.error_text(rule, one.code, error, environment)
                return
            if rows:
                outcome.value = None
                outcome.reason, outcome.detail = coded_otherwise(rows[0], one)
                return

    def compare(self, rule: Rule, outcome: Outcome, environment: PatientEnvironment) -> None:
        """A definition beside the preferred expression must agree with it; if it does not, say so."""
        assert rule.beside is not None
        other = self.rule(rule.beside, environment)
        if other.value is not None and outcome.value is not None and other.value is not outcome.value:
            outcome.detail = (
                f"the expression says {_words(outcome.value)}, the definition beside it ({rule.beside.form}) says "
                f"{_words(other.value)}; the expression is preferred"
            )

    def gather(
        self, rule: Rule, code: AnyCode, trace: Trace, outcome: Outcome, environment: PatientEnvironment
    ) -> None:
        """Evidence and images of a criterion from the trace of its first run."""
        compartment = environment.compartment
        rows, doubtful = trace.rows, _NO_DOUBTS
        if trace.doubts:
            doubtful = {id(d.row): d for d in trace.doubts.values()}
            rows = {**rows, **{id(d.row): d.row for d in trace.doubts.values() if _is_resource(d.row)}}
        seen_as, evidence, all_failed = environment.shown, outcome.evidence, trace.failed
        for key, row in rows.items():
            failed = None
            if key in all_failed or doubtful:
                passed = trace.passed.get(key, _NOWHERE)
                for site, clause in all_failed.get(key, _NEVER).items():
                    if site not in passed:
                        failed = code.clause(site, clause)
                        break
                if failed is None and key in doubtful and not passed:
                    doubt = doubtful[key]
                    failed = f"unknown: {code.clause(doubt.site, doubt.clause)}"
            seen = seen_as.get(key)
            if seen is None:
                origin = compartment.origins.get(key) or environment.origin(row)
                seen = seen_as[key] = evidence_of(row, "met", None, origin.file if origin is not None else None)
            if failed is not None:
                seen = changed(seen, role="examined", failed=failed)
            evidence.append(seen)
            if row.get("resourceType") == "ImagingStudy":
                kept = _matching_series(row, trace) if failed is None and trace.series else None
                role: Role = "met" if failed is None else "examined"
                outcome.images.append(self.images(row, rule.id, role, failed, kept, environment))
        if not rows and compartment.patient is not None:
            found = patient_evidence(code.reads(), compartment.patient, "met" if outcome.value is True else "examined")
            if found is not None:
                outcome.evidence.append(found)

    def images(
        self,
        study: dict[str, Any],
        criterion: str,
        role: Role,
        failed: str | None,
        kept: set[int] | None,
        environment: PatientEnvironment,
    ) -> ImagingLink:
        """The link to a study's images; its UIDs are gathered once a patient."""
        key = id(study), None if kept is None else frozenset(kept)
        link: ImagingLink | None = environment.links.get(key)
        if link is None:
            link = imaging_link(
                study,
                criterion=criterion,
                role=role,
                failed=failed,
                resolve=environment.compartment.resolver(study),
                dicomweb=self.options.dicomweb,
                series_kept=kept,
            )
            environment.links[key] = link
            return link
        return changed(link, criterion=criterion, role=role, failed=failed)


def _matching_series(study: dict[str, Any], trace: Trace) -> set[int] | None:
    """The series of a study that a filter on series kept, None where no criterion asked about its series."""
    kept = {id(series) for series in study.get("series") or ()} & trace.series
    return kept or None


def _is_resource(row: Any) -> bool:
    return row.__class__ is dict and "resourceType" in row


def _satisfied(results: Sequence[tuple[Rule, Outcome]]) -> list[bool | None]:
    """Truth of members with `exclude` applied: not matching counts as meeting."""
    return [
        outcome.value if not rule.exclude or outcome.value is None else not outcome.value for rule, outcome in results
    ]


def _words(value: bool | None) -> Literal["met", "not met", "unknown"]:
    return "met" if value is True else "not met" if value is False else "unknown"


def _result(rule: Rule, outcome: Outcome) -> CriterionResult:
    return CriterionResult(
        id=rule.id,
        outcome=_words(outcome.value),
        reason=outcome.reason if outcome.value is None else None,
        detail="; ".join(filter(None, (outcome.detail, *rule.notes))) if rule.notes else outcome.detail,
        plain_cql=None if outcome.plain is None else _words(outcome.plain),
        evidence=outcome.evidence,
        members=[_result(member, result) for member, result in outcome.members] if outcome.members else [],
    )
