"""Criteria as compiled rules: the tree of an artifact's characteristics, each with its code or the reason why it has none.

This is what evaluation runs and what `eligibility check` shows. A rule set pickles; functions load on first use in a process.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal, get_args

from msgspec import Struct, field

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError
from fhir_eligibility.algebra.reasons import Reason
from fhir_eligibility.artifacts.libraries import LibraryStore
from fhir_eligibility.artifacts.models import Model, load_model
from fhir_eligibility.artifacts.records import (
    Artifact,
    ArtifactDefinition,
    CombinationDefinition,
    Criterion,
    ExpressionDefinition,
    ExpressionSource,
    LinkDefinition,
    NotComputableDefinition,
)
from fhir_eligibility.compiler.analysis.requirements import DataRequirement
from fhir_eligibility.compiler.criteria.cql import CqlCode, CqlCriteria
from fhir_eligibility.compiler.criteria.fhirpath_code import FhirPathCriterion, compile_code
from fhir_eligibility.compiler.criteria.program_errors import program_error
from fhir_eligibility.compiler.criteria.rule_parts import Cause, OtherSystems
from fhir_eligibility.compiler.forms.base import Form, NotComputable, Selection
from fhir_eligibility.compiler.forms.coded import timed_selections
from fhir_eligibility.compiler.forms.exceptions import except_subset_form
from fhir_eligibility.compiler.forms.grouping import Hierarchy, exact_codes, grouped
from fhir_eligibility.compiler.forms.registry import forms
from fhir_eligibility.compiler.forms.timing import Timeline
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.syntax.languages import language_advice

__all__ = ["Cause", "FhirPathCriterion", "Rule", "RuleSet", "compile_artifact", "compile_code", "cql_codes"]

Combination = Literal["all-of", "any-of", "at-least", "at-most", "except-subset"]
_COMBINATIONS: dict[str, Combination] = {kind: kind for kind in get_args(Combination)}
FHIRPATH_LANGUAGES = ("text/fhirpath", "text/fhir-path", "fhirpath")
CQL_LANGUAGES = ("text/cql", "text/cql-identifier", "text/cql-expression", "text/cql.identifier", "text/cql.expression")


class Rule(Struct):
    """One criterion, or a combination of them. `asked` are resource type, system and code of what a coded form asks for.

    Exactly one of these holds: `code` is set; `combination` with `members` is set; `reason` tells why neither is.
    """

    id: str
    title: str
    form: str
    exclude: bool = False
    description: str | None = None
    code: FhirPathCriterion | CqlCode | None = None
    presence: FhirPathCriterion | None = None
    otherwise: tuple[OtherSystems, ...] = ()
    asked: tuple[tuple[str, str, str], ...] = ()
    measurement: bool = False
    absent: str = "there is no record of this kind at all"
    causes: tuple[Cause, ...] = ()
    notes: tuple[str, ...] = ()
    beside: Rule | None = None
    combination: Combination | None = None
    threshold: int | None = None
    members: tuple[Rule, ...] = ()
    reason: Reason | None = None
    detail: str | None = None
    location: str = ""
    diagnostics: tuple[Diagnostic, ...] = ()

    def besides(self) -> Iterator[FhirPathCriterion]:
        """The code that is run besides `code`, to tell what an answer means."""
        if self.presence is not None:
            yield self.presence
        yield from (one.code for one in self.otherwise)
        yield from (cause.code for cause in self.causes)

    def __repr__(self) -> str:
        kind = "exclusion" if self.exclude else "inclusion"
        state = f", unknown for everyone: {self.reason}" if self.reason is not None else ""
        members = f", {self.combination} of {len(self.members)}" if self.combination is not None else ""
        return f"<Rule {self.id}: {kind}, {self.form}{members}{state}>"

    def walk(self) -> Iterator[Rule]:
        """This rule and all below it."""
        yield self
        if self.beside is not None:
            yield from self.beside.walk()
        for member in self.members:
            yield from member.walk()


class RuleSet(Struct):
    """A compiled artifact. `artifact` is its name in outputs, which versions of it share; `key` tells it from all others of a run."""

    artifact: str
    title: str
    version: str | None
    model: str
    combination: Combination
    threshold: int | None
    rules: tuple[Rule, ...]
    diagnostics: tuple[Diagnostic, ...] = ()
    kind: str = "EvidenceVariable"

    @property
    def key(self) -> str:
        """The name with the version, where there is one."""
        return f"{self.artifact}|{self.version}" if self.version else self.artifact

    def __repr__(self) -> str:
        return f"<RuleSet {self.key}: {len(self.rules)} criteria, {self.combination}>"

    def walk(self) -> Iterator[Rule]:
        """All rules of the set, depth first."""
        for rule in self.rules:
            yield from rule.walk()

    def requirements(self, run: Run | None = None) -> dict[str, DataRequirement]:
        """What data the whole set reads, by resource type; with the dates that a run asks for, where one is given."""
        merged: dict[str, DataRequirement] = {"Patient": DataRequirement("Patient")}
        for rule in self.walk():
            for code in (rule.code, *rule.besides()):
                if code is None:
                    continue
                for name, found in (code.reads() if run is None else code.dated_reads(run)).items():
                    merged.setdefault(name, DataRequirement(name)).add(found)
        return merged


def cql_codes(rule_sets: Iterable[RuleSet]) -> Iterator[CqlCode]:
    """The criteria in CQL of some rule sets."""
    for rule_set in rule_sets:
        for rule in rule_set.walk():
            if isinstance(rule.code, CqlCode):
                yield rule.code


class _Builder(Struct):
    artifact: Artifact
    model: Model
    variables: Mapping[str, str]
    lenient: bool
    cql: CqlCriteria
    study_start: str | None = None
    hierarchy: Hierarchy | None = None
    diagnostics: list[Diagnostic] = field(default_factory=list)
    by_id: dict[str, Criterion] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)

    def collect(self, criteria: tuple[Criterion, ...]) -> None:
        for criterion in criteria:
            self.by_id.setdefault(criterion.id, criterion)
            if isinstance(criterion.definition, CombinationDefinition):
                self.collect(criterion.definition.members)

    def linked(self, link_id: str) -> list[Selection] | str | None:
        """Rows of the coded characteristic with a linkId, or why it has none; None where no characteristic has it."""
        criterion = self.by_id.get(link_id)
        if criterion is None:
            return None
        if isinstance(criterion.definition, NotComputableDefinition):
            return criterion.definition.detail
        try:
            return timed_selections(
                self.model, grouped(criterion, self.hierarchy), Timeline(self.linked, self.study_start)
            )
        except NotComputable as problem:
            return problem.detail

    def rule(self, criterion: Criterion) -> Rule:
        title = criterion.title or criterion.description or criterion.id
        form, place = criterion.definition.form, str(criterion.location)
        rule = Rule(criterion.id, title, form, criterion.exclude, criterion.description, location=place)
        level = len(self.open)
        try:
            self.define(rule, criterion)
        except (DiagnosticError, OSError, MemoryError):
            raise
        except Exception as error:  # one that nobody foresaw is about this characteristic, and nothing else
            del self.open[level:]
            self.failed(rule, error)
        return rule

    def failed(self, rule: Rule, error: Exception) -> None:
        """Leave a rule unknown for everyone, as the program cannot compile it."""
        what = f"{self.artifact.name_in_outputs}: {rule.id} ({rule.form})"
        detail, found = program_error(what, rule.location, error)
        self.needs_review(rule, detail)
        rule.reason = Reason.NOT_COMPUTABLE
        rule.diagnostics += (found,)

    def define(self, rule: Rule, criterion: Criterion) -> None:
        """Give a rule what the definition of a characteristic says."""
        definition, constrained = criterion.definition, False
        match definition:
            case ExpressionDefinition():
                self.expression(rule, definition.expression)
            case CombinationDefinition():
                self.combination(rule, definition)
            case ArtifactDefinition():
                self.other_artifact(rule, definition)
            case LinkDefinition():
                self.link(rule, definition)
            case NotComputableDefinition():
                rule.reason, rule.detail = definition.reason, definition.detail
            case _:
                constrained = self.understood(rule, criterion)
        if criterion.also is not None and not isinstance(definition, ExpressionDefinition):
            self.beside(rule, criterion.also)
        if not constrained:
            self.of_no_records(rule, criterion)
        if criterion.review and rule.reason is None:
            self.needs_review(rule, "; ".join(criterion.review))

    def needs_review(self, rule: Rule, detail: str) -> None:
        """What the definition also asks for cannot be told from data: the criterion is unknown for everyone."""
        rule.code, rule.combination, rule.members, rule.beside = None, None, (), None
        rule.reason, rule.detail = Reason.NEEDS_REVIEW, detail

    def of_no_records(self, rule: Rule, criterion: Criterion) -> None:
        """A time, a number or a duration of something that names no records of its own: nobody can tell what is meant, so say so."""
        form = f"on a characteristic of form {rule.form}"
        if criterion.timing and rule.reason is None:
            self.needs_review(rule, f"{criterion.timing[0].origin} {form}: which date it bounds is not defined")
        for name, wanted in (("instances", criterion.instances), ("duration", criterion.duration)):
            if wanted is not None and rule.reason is None:
                self.needs_review(rule, f"{name} {form}: what is counted is not defined")

    def beside(self, rule: Rule, expression: ExpressionSource) -> None:
        """R5: an expression beside another definition means the same; it is preferred, the other is kept to compare."""
        other = Rule(rule.id, rule.title, "expression", rule.exclude, location=rule.location)
        self.expression(other, expression)
        if other.code is not None:
            mine = Rule(rule.id, rule.title, rule.form, rule.exclude, location=rule.location)
            mine.code, mine.presence, mine.measurement = rule.code, rule.presence, rule.measurement
            mine.causes, mine.notes, mine.absent = rule.causes, rule.notes, rule.absent
            mine.otherwise = rule.otherwise
            mine.combination, mine.threshold, mine.members = rule.combination, rule.threshold, rule.members
            mine.reason, mine.detail = rule.reason, rule.detail
            rule.code, rule.form = other.code, "expression"
            rule.combination, rule.members, rule.reason, rule.detail = None, (), None, None
            rule.measurement, rule.presence, rule.causes, rule.notes = False, None, (), ()
            rule.otherwise = ()
            rule.beside = mine if mine.reason is None else None
        rule.diagnostics += other.diagnostics

    def expression(self, rule: Rule, expression: ExpressionSource) -> None:
        language = (expression.language or "").strip().lower()
        text = expression.text or ""
        if language in CQL_LANGUAGES:
            self.in_cql(rule, expression)
            self.other_language(rule, language, text)
            return
        if language not in FHIRPATH_LANGUAGES:
            shown = f"the language {language!r}" if language else "no language"
            rule.reason = Reason.NOT_COMPUTABLE
            rule.detail = f"an expression in {shown} cannot be computed: {text[:80]}"
            rule.diagnostics += (
                Diagnostic(
                    "unknown-language",
                    f"an expression in {shown} cannot be computed",
                    "warning",
                    location=rule.location,
                    hint=language_advice(language, text),
                ),
            )
            return
        if not text.strip():
            rule.reason, rule.detail = Reason.NOT_COMPUTABLE, "the expression has no text"
            return
        self.compile(rule, text)
        self.other_language(rule, language, text)

    def other_language(self, rule: Rule, language: str, text: str) -> None:
        """Say that an expression that does not compile seems to be in another language."""
        advice = language_advice(language, text) if rule.code is None else None
        if advice is not None:
            message = f"the expression does not compile as {language}"
            rule.diagnostics += (Diagnostic("other-language", message, "error", location=rule.location, hint=advice),)

    def in_cql(self, rule: Rule, expression: ExpressionSource) -> None:
        """CQL: a define of a library, or an expression."""
        try:
            rule.code, found = self.cql.code(expression, rule.location)
            rule.diagnostics += found
        except DiagnosticError as error:
            rule.diagnostics += error.diagnostics
            rule.reason = Reason.NOT_COMPUTABLE
            rule.detail = f"the expression does not compile: {error.diagnostics[0].message}"

    def compile(self, rule: Rule, text: str, codes: Collection[str] | None = None) -> None:
        """Compile FHIRPath: an author's, or that of a coded form with the codes that it compares."""
        try:
            code, found = compile_code(
                text,
                self.model,
                name=rule.location,
                variables=self.variables,
                lenient=self.lenient,
                spelt=codes is not None,
                codes=codes,
            )
        except DiagnosticError as error:
            rule.diagnostics += error.diagnostics
            rule.reason = Reason.NOT_COMPUTABLE
            rule.detail = f"the expression does not compile: {error.diagnostics[0].message}"
            return
        rule.code = code
        rule.diagnostics += found
        if not code.boolean:
            without = "no such record as not met" if code.records else "no value as unknown"
            rule.diagnostics += (
                Diagnostic(
                    "not-boolean",
                    f"the expression does not answer true or false: a value that is neither counts as met, {without}",
                    "warning",
                    location=rule.location,
                    hint="end it with .exists() or a comparison",
                ),
            )

    def understood(self, rule: Rule, criterion: Criterion) -> bool:
        """What the form of a characteristic makes of it; whether it minds the times, numbers and durations that are asked for."""
        name = criterion.definition.form
        understand = forms().get(name)
        if understand is None:
            rule.form = "not-computable"
            rule.reason, rule.detail = Reason.NOT_COMPUTABLE, f"a characteristic with a {name} has no truth value here"
            return False
        criterion = grouped(criterion, self.hierarchy)
        form = understand(self.model, criterion, Timeline(self.linked, self.study_start))
        rule.form = form.name
        self.formed(rule, form)
        return form.constrained

    def exceptions(self, rule: Rule, criteria: tuple[Criterion, ...]) -> None:
        """Inclusions with exceptions are one criterion: the exclusions are conditions on the records included."""
        rule.combination, rule.threshold, rule.form = None, None, "except-subset"
        criteria = tuple(grouped(criterion, self.hierarchy) for criterion in criteria)
        try:
            self.formed(rule, except_subset_form(self.model, criteria, Timeline(self.linked, self.study_start)))
        except Exception as error:
            self.failed(rule, error)

    def formed(self, rule: Rule, form: Form) -> None:
        """Compile what a form is understood as."""
        rule.notes, rule.asked = tuple(form.notes), tuple(form.asked)
        for code, message in form.warnings:
            rule.diagnostics += (Diagnostic(code, message, "warning", location=rule.location),)
        if form.text is None:
            rule.reason, rule.detail = form.reason, form.detail
            return
        codes = {code: None for _, _, code in form.asked}
        self.compile(rule, form.text, codes)
        if isinstance(rule.code, FhirPathCriterion):
            rule.code.sentences = {" ".join(test.split()): sentence for test, sentence in form.sentences.items()}
        rule.measurement, rule.absent = form.measurement, form.absent
        if form.presence is not None and rule.code is not None:
            rule.presence = self.spelt(rule, form.presence, codes)
        rule.causes = tuple(Cause(self.spelt(rule, one.text, codes), one.reason, one.detail) for one in form.causes)
        rule.otherwise = tuple(
            OtherSystems(self.spelt(rule, one.text, codes), one.path, one.systems, one.counted)
            for one in form.otherwise
        )
        if form.exact:
            rule.diagnostics += (exact_codes(form.exact, rule.location),)

    def spelt(self, rule: Rule, text: str, codes: Collection[str]) -> FhirPathCriterion:
        """FHIRPath that was written for a coded form, compiled."""
        return compile_code(text, self.model, name=rule.location, spelt=True, codes=codes)[0]

    def combination(self, rule: Rule, definition: CombinationDefinition) -> None:
        if not definition.members:
            rule.reason, rule.detail = Reason.NEEDS_REVIEW, "the combination has no members"
            return
        if not self.combined(rule, definition.code, definition.threshold):
            return
        if rule.combination == "except-subset":
            self.exceptions(rule, definition.members)
        else:
            rule.members = tuple(self.rule(member) for member in definition.members)

    def combined(self, rule: Rule, code: str, threshold: int | None) -> bool:
        """Make a rule a combination of a kind, or give the reason why that kind has no truth value."""
        if code == "dataset":
            message = "a combination of kind dataset has no truth value; it is read as all-of"
            rule.diagnostics += (Diagnostic("dataset-combination", message, "warning", location=rule.location),)
            code = "all-of"
        kind = _COMBINATIONS.get(code)
        if kind is None:
            rule.reason, rule.detail = Reason.NOT_COMPUTABLE, f"a combination of kind {code!r} has no truth value"
        elif kind in ("at-least", "at-most") and threshold is None:
            rule.reason, rule.detail = Reason.NEEDS_REVIEW, f"the combination {code} gives no threshold"
        else:
            rule.combination, rule.threshold = kind, threshold
            return True
        return False

    def other_artifact(self, rule: Rule, definition: ArtifactDefinition) -> None:
        other = definition.artifact
        if other is None or not other.criteria:
            rule.reason = Reason.UNRESOLVED_REFERENCE if other is None else Reason.NEEDS_REVIEW
            rule.detail = (
                f"{definition.reference} was not found among the given artifacts"
                if other is None
                else f"{definition.reference} has no criteria"
            )
            return
        key = other.key
        if key in self.open:
            rule.reason, rule.detail = Reason.UNRESOLVED_REFERENCE, f"{key} refers back to itself"
            return
        if not self.combined(rule, other.combination, other.threshold):
            return
        self.open.append(key)
        builder = _Builder(
            other,
            self.model,
            self.variables,
            self.lenient,
            self.cql,
            self.study_start,
            self.hierarchy,
            open=self.open,
        )
        builder.collect(other.criteria)
        if rule.combination == "except-subset":
            builder.exceptions(rule, other.criteria)
        else:
            rule.members = tuple(builder.rule(criterion) for criterion in other.criteria)
        rule.title = rule.title if rule.title != rule.id else other.title or rule.title
        self.open.pop()

    def link(self, rule: Rule, definition: LinkDefinition) -> None:
        target = definition.criterion or self.by_id.get(definition.link_id)
        if target is None:
            rule.reason = Reason.UNRESOLVED_REFERENCE
            rule.detail = f"no characteristic has the linkId {definition.link_id!r}"
            return
        if definition.link_id in self.open:
            rule.reason, rule.detail = Reason.UNRESOLVED_REFERENCE, f"{definition.link_id!r} refers back to itself"
            return
        self.open.append(definition.link_id)
        rule.combination, rule.members = "all-of", (self.rule(target),)
        self.open.pop()


def compile_artifact(
    artifact: Artifact,
    *,
    fhir_version: str | None = None,
    variables: Mapping[str, str] | None = None,
    lenient: bool = False,
    cql: CqlCriteria | None = None,
    study_start: str | None = None,
    hierarchy: Hierarchy | None = None,
) -> RuleSet:
    """Compile one artifact for patients of a FHIR version ('r4', 'r4b', 'r5'; default R4).

    `cql` holds the libraries that expressions in CQL may name, `hierarchy` tells which codes include which. What does not compile stays in the set as a rule with a reason and diagnostics: it never sinks the rest.
    """
    model = load_model(fhir_version or "r4")
    cql = cql or CqlCriteria(LibraryStore(), model.version)
    builder = _Builder(artifact, model, variables or {}, lenient, cql, study_start, hierarchy)
    builder.collect(artifact.criteria)
    name = artifact.name_in_outputs
    title = artifact.title or artifact.name or name
    whole = Rule("all", title, "combination", location=str(artifact.location))
    rules: tuple[Rule, ...] = (whole,)
    combination: Combination = "all-of"
    if builder.combined(whole, artifact.combination, artifact.threshold):
        combination = whole.combination or "all-of"
        if combination == "except-subset":
            combination = "all-of"
            builder.exceptions(whole, artifact.criteria)
        else:
            rules = tuple(builder.rule(criterion) for criterion in artifact.criteria)
            builder.diagnostics.extend(whole.diagnostics)
    return RuleSet(
        name,
        title,
        artifact.version,
        model.version,
        combination,
        whole.threshold,
        rules,
        tuple(builder.diagnostics),
        artifact.resource_type,
    )
