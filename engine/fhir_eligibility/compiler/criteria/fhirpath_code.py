"""Compiled FHIRPath of a criterion: its text, its tree, and the program that runs over a patient's data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from fhir_eligibility.algebra.diagnostic import Diagnostic, DiagnosticError, EvaluationError, Source, Span
from fhir_eligibility.algebra.values.clinical import ValueSet
from fhir_eligibility.artifacts.models import Model
from fhir_eligibility.compiler.analysis.dates import Clock
from fhir_eligibility.compiler.analysis.monotonicity import Monotonicity, fhirpath_monotonicity, moves_one_way
from fhir_eligibility.compiler.analysis.origins import Origin, excerpt
from fhir_eligibility.compiler.analysis.requirements import DataRequirement, requirements
from fhir_eligibility.compiler.analysis.simplify import by_number, simplify
from fhir_eligibility.compiler.criteria.alike import Alike, alike, holds, with_codes, with_quoted
from fhir_eligibility.compiler.criteria.fhirpath import program_of, shown, translate_fhirpath
from fhir_eligibility.compiler.criteria.value_sets import ValueSetUse
from fhir_eligibility.compiler.elm import nodes as n
from fhir_eligibility.compiler.elm.nodes import Node
from fhir_eligibility.compiler.emit.program import Program
from fhir_eligibility.compiler.runtime.cql import Run
from fhir_eligibility.compiler.syntax.depth import deep_recursion
from fhir_eligibility.compiler.translate.spellings import with_spellings


@dataclass(slots=True, repr=False)
class FhirPathCriterion:
    """Compiled FHIRPath over a patient's data: the text, its ELM, and the emitted program.

    `boolean` tells that it answers true or false, `records` that it gives resources: of these, none is an answer. `monotonicity` tell how the answer moves
    (`fhir_eligibility.compiler.analysis.monotonicity`).
    `sentences` say of clauses, by their text, what a record does not tell where they have no answer.
    """

    text: str
    node: Node
    program: Program
    boolean: bool
    monotonicity: Monotonicity
    by_number: bool = False
    records: bool = False
    sentences: dict[str, str] = field(default_factory=dict)
    _function: Callable[..., Any] | None = None
    _reads: dict[str, DataRequirement] | None = None
    _clauses: dict[tuple[int, int], str] = field(default_factory=dict)

    def __repr__(self) -> str:
        text = " ".join(self.text.split())
        return f"<Code {text if len(text) <= 80 else text[:77] + '...'}>"

    @property
    def python(self) -> str:
        """The emitted Python as text, made anew for readers."""
        return shown(self.program.source, self.node, "criterion", traced=True)

    @property
    def monotone(self) -> bool:
        """Whether keeping more of the rows in doubt moves the answer one way only."""
        return moves_one_way(self.monotonicity)

    def prepare(self) -> Callable[..., Any]:
        """Make the program callable, so that no evaluation has to."""
        self._function = self.program.load()["criterion"]
        return self._function

    def run(self, environment: Any, patient: Any) -> Any:
        """The bare result; errors are bound to the author's text. Raises EvaluationError."""
        function = self._function or self.prepare()
        try:
            return function(environment, patient)
        except Exception as error:
            raise self.program.bind(error) from error

    def clause(self, site: int, clause: int) -> str:
        """The author's text of a clause of a filter."""
        if site < 0:
            return "code"
        known = self._clauses.get((site, clause))
        if known is None:
            spans = self.program.sites[site].clauses
            span = spans[clause] if 0 <= clause < len(spans) else None
            known = self.text[:120] if span is None else " ".join(self.text[span.start : span.end].split())
            self._clauses[site, clause] = known
        return known

    def inside(self, site: int, doubt_site: int, doubt_clause: int) -> bool:
        """Whether a comparison stands inside a clause of a filter."""
        if doubt_site < 0:
            return False
        clause = self.program.sites[doubt_site].clauses[doubt_clause]
        span = self.program.sites[site].span
        return clause is not None and span is not None and clause.start <= span.start and span.end <= clause.end

    def comparison(self, site: int) -> tuple[tuple[Origin, ...], tuple[str, ...]]:
        """The origins of the operands of a comparison, and their texts as the author wrote them."""
        found = self.program.sites[site]
        return found.origins, tuple(self.excerpt(site, span) for span in found.clauses)

    def excerpt(self, site: int, span: Span | None) -> str:
        """The author's text of a part of a comparison."""
        return "" if span is None else excerpt(self.text, span)

    def elements(self, site: int, clause: int) -> tuple[str, ...]:
        """The elements of a row that a clause of a filter reads."""
        found = self.program.sites[site].elements if site >= 0 else ()
        return found[clause] if 0 <= clause < len(found) else ()

    def where(self, error: EvaluationError) -> str:
        """The place of an error in words, empty where it is not known."""
        return "" if error.span is None else f" in `{self.text[error.span.start : error.span.end][:80]}`"

    def value_sets(self) -> dict[str, list[ValueSetUse]]:
        """The value sets that `memberOf` names, and where."""
        found: dict[str, list[ValueSetUse]] = {}
        for below in self.node.walk():
            named = below.operands[1] if isinstance(below, n.MemberOf) else None
            url = named.value if isinstance(named, n.Literal) else None
            if isinstance(url, str):
                use = ValueSetUse(ValueSet(url), self.program.source, below.span)
                found.setdefault(url, []).append(use)
        return found

    def reads(self) -> dict[str, DataRequirement]:
        """What data the expression reads, by resource type."""
        if self._reads is None:
            self._reads = requirements(self.node, "Patient")
        return self._reads

    def dated_reads(self, run: Run) -> dict[str, DataRequirement]:
        """As `reads`, with the dates that a run asks for."""
        return requirements(self.node, "Patient", Clock(run.today, run.now, lambda key: None))

    def __getstate__(self) -> dict[str, Any]:
        """All but what is made from it when it is first used (the fields that begin with `_`)."""
        return {one.name: getattr(self, one.name) for one in fields(self) if not one.name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._function = None
        self._reads = None
        self._clauses = {}


def compile_code(
    text: str,
    model: Model,
    *,
    name: str,
    variables: Mapping[str, str] | None = None,
    lenient: bool = False,
    spelt: bool = False,
    codes: Collection[str] | None = None,
) -> tuple[FhirPathCriterion, tuple[Diagnostic, ...]]:
    """Compile FHIRPath as a criterion over a patient's data. Raises DiagnosticError.

    With `spelt`, code systems are found in every known spelling: for coded forms, not for what authors write. `codes` are those that the text of a coded form
    compares; texts that differ in these alone are compiled once.
    """
    if codes is not None and not lenient:
        code = _shared(alike(text, codes), model, name, variables, spelt)
        if code is not None:
            return code, ()
    return _compiled(Source(name, text), model, variables, lenient, spelt)


_KEPT = 32  # a tree and the emitted text: about a megabyte each
_SHARED: dict[tuple[Any, ...], tuple[Model, FhirPathCriterion | None, dict[int, Any]]] = {}


def _shared(
    wanted: Alike | None, model: Model, name: str, variables: Mapping[str, str] | None, spelt: bool
) -> FhirPathCriterion | None:
    """What was compiled for a text that differs in its codes alone, with the codes that are wanted; None where that cannot be."""
    if wanted is None:
        return None
    key = (
        wanted.text,
        tuple(placeholder for placeholder, _ in wanted.codes),
        id(model),
        tuple(sorted((variables or {}).items())),
        spelt,
    )
    known = _SHARED.get(key)
    if known is None:
        if len(_SHARED) >= _KEPT:
            del _SHARED[next(iter(_SHARED))]
        # the model is held, so that nothing else can have its identity
        known = _SHARED[key] = model, _with_placeholders(wanted, model, variables, spelt), {}
    return None if known[1] is None else _with_codes(known[1], wanted.codes, name, known[2])


def _with_placeholders(
    wanted: Alike, model: Model, variables: Mapping[str, str] | None, spelt: bool
) -> FhirPathCriterion | None:
    """A text compiled with placeholders for its codes; None where it has warnings, or a code stands where none can be replaced."""
    try:
        code, found = _compiled(Source("shared", wanted.text), model, variables, False, spelt)
    except DiagnosticError:
        return None
    placeholders = [placeholder for placeholder, _ in wanted.codes]
    blank = _with_codes(code, tuple((placeholder, "") for placeholder in placeholders), "shared", {})
    return None if found or holds(blank, placeholders) else code


def _with_codes(
    code: FhirPathCriterion, pairs: tuple[tuple[str, str], ...], name: str, still: dict[int, Any]
) -> FhirPathCriterion:
    """A criterion with codes in the places of placeholders."""
    values = dict(pairs)
    old, text = code.program, with_quoted(code.text, values)
    program = old.with_constants(Source(name, text), values, with_codes(old.constants, values, still))
    with deep_recursion():
        node = with_codes(code.node, values, still)
    made = FhirPathCriterion(text, node, program, code.boolean, code.monotonicity, code.by_number, code.records)
    made.prepare()
    return made


def _compiled(
    source: Source, model: Model, variables: Mapping[str, str] | None, lenient: bool, spelt: bool
) -> tuple[FhirPathCriterion, tuple[Diagnostic, ...]]:
    """Parse, translate and emit a text."""
    node, found = translate_fhirpath(
        source, model, root="Patient", variables=variables, lenient=lenient, patient_data=True
    )
    with deep_recursion():
        node = with_spellings(simplify(node)) if spelt else simplify(node)
    program = program_of(source, node, model, "criterion", traced=True)
    boolean = not node.many and node.types in (("System.Boolean",), ("FHIR.boolean",))
    with deep_recursion():
        code = FhirPathCriterion(
            source.text,
            node,
            program,
            boolean,
            fhirpath_monotonicity(node, boolean),
            by_number(node),
            _gives_records(node),
        )
    code.prepare()  # what Python cannot run is found out here, not where patients are looked at
    return code, found


def _gives_records(node: Node) -> bool:
    """Whether a tree gives the patient's records of some types, chosen by conditions: then having none is an answer."""
    if isinstance(node, (n.Filter, n.Distinct)):
        return _gives_records(node.operands[0])
    if isinstance(node, n.Union):
        return all(_gives_records(operand) for operand in node.operands)
    return isinstance(node, n.Retrieve)
