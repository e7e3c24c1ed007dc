"""Definitions as a stranger may write them: every name, every text and every field replaced by what breaks out of careless code.

`mutants` gives, for a seed, as many mutated definitions as asked for, each a function that compiles it (and evaluates it, where it compiles).
The same seed gives the same definitions.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from fhir_eligibility.algebra.diagnostic import DiagnosticError, EvaluationError, Source
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.artifacts.libraries import LibraryStore
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.models.modelinfo import read_model_info
from fhir_eligibility.artifacts.reader import read_artifacts
from fhir_eligibility.compiler.criteria.cql import CqlCriteria
from fhir_eligibility.compiler.criteria.fhirpath import compile_fhirpath
from fhir_eligibility.compiler.criteria.library import Compiled, Compiler, LoadedLibrary
from fhir_eligibility.compiler.criteria.rules import RuleSet, compile_artifact, compile_code
from fhir_eligibility.compiler.elm_json.reader_expressions import _READERS
from fhir_eligibility.compiler.elm_json.writer import to_elm
from fhir_eligibility.compiler.runtime.cql import Patient, Run
from fhir_eligibility.compiler.syntax.cql_words import KEYWORDS
from fhir_eligibility.compiler.syntax.lexer import tokenize
from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.evaluation.evaluator import Evaluator, Options
from tests.compiler import wide

# What evaluated payloads leave behind in the current folder; nothing may.
SENTINEL = "a-stranger-was-here"
RUNS = f"__import__('os').mkdir('{SENTINEL}')"
PAYLOADS = (
    "{", "}", "{}", "{0}", "{0.__class__}", "{0[a]}", "{0!r}", "{1}", "{x:>99999}", "%s %(x)s", "'", '"', "'''", '"""', "\\", "\\'", "\n",
    "\r", "\x00", "\u2028", "\x85", "\ud800", "é", "\u202e", "__class__", "__globals__", "__init__.__globals__", "None", "import", "lambda",
    "ev", "x1", "t1_", RUNS, f"' + {RUNS} + '", f"{{0}}' or {RUNS} or '", f"\n    {RUNS}\n", f"'];{RUNS};['", f") or {RUNS} or (",
    f"{{0.__init__.__globals__[{RUNS}]}}", "a" * 20_000, "", " ", "define_A", "default_parameter_P",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1.5, "", "x", "true", "{urn:hl7-org:elm-types:r1}Integer", RUNS, [], {}, [None], [[]], [{}], ["x"],
    {"type": "Null"}, {"type": 5}, {"name": "x"}, {"type": "Literal", "valueType": "{urn:hl7-org:elm-types:r1}Integer", "value": "1"},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a mutated definition ended: `compiled`, `refused`, or `foreign`, where the guard found code in it that is not ours."""

    kind: str
    evaluated: int = 0


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutated definition: what was changed, and how to compile it (`run(True)` evaluates it as well)."""

    what: str
    run: Callable[[bool], Outcome]


def refused(error: DiagnosticError) -> Outcome:
    """A definition that does not compile; every diagnostic can be shown."""
    assert error.diagnostics
    for found in error.diagnostics:
        assert found.message and found.render()
        assert found.span is None or found.span.start <= found.span.end
    return Outcome("foreign" if any(d.code == "foreign-code" for d in error.diagnostics) else "refused")


# -- CQL and ELM


@lru_cache(maxsize=2)
def compiler(traced: bool) -> Compiler:
    """A compiler with the libraries and models that the wide ones need; it keeps no library that is mutated."""
    sources = {name: Source(f"{name}.cql", text) for name, text in wide.INCLUDED.items()}
    return Compiler(lambda name, version: sources.get(name), model_infos=[read_model_info(wide.MODEL)], traced=traced)


def library(text: str, traced: bool, evaluate: bool, name: str = "L") -> Outcome:
    """Compile a library; evaluate its defines for a patient."""
    try:
        compiled = compiler(traced).compile_once(Source(name, text))
    except DiagnosticError as error:
        return refused(error)
    return Outcome("compiled", evaluated(compiled) if evaluate else 0)


def evaluated(compiled: Compiled) -> int:
    """How many defines were evaluated; an error that is none of evaluation is raised."""
    loaded = LoadedLibrary(compiled)
    run = Run(wide.NOW)
    environment = Patient(run, wide.PATIENT, [wide.PATIENT, *wide.RESOURCES])
    for name in compiled.defines:
        value_of(loaded, name, environment)
    return len(compiled.defines)


def value_of(loaded: LoadedLibrary, name: str, environment: Run) -> str:
    """The value of a define as a text, or its error of evaluation; any other error is raised."""
    try:
        return repr(loaded.evaluate(name, environment))
    except EvaluationError as error:
        assert error.code and str(error)
        return f"error {error.code}"


def quoted(payload: str) -> str:
    """A text as the body of any quoted token of the languages."""
    shown = "".join(
        f"\\u{ord(c):04x}" if c < " " or 0xD800 <= ord(c) < 0xE000 else c for c in payload.replace("\\", "\\\\")
    )
    return re.sub("(['\"`])", r"\\\1", shown)


@cache
def targets(text: str, cql: bool) -> tuple[tuple[str, str], ...]:
    """The names and texts of a text of either language: kind of token, text of token."""
    tokens, _ = tokenize(Source("t", text))
    kinds = ("name", "quoted", "delimited", "string")
    words = KEYWORDS if cql else frozenset(("and", "or", "xor", "implies", "is", "as", "in", "contains", "div", "mod"))
    found = [(t.kind, t.text) for t in tokens if t.kind in kinds and (t.kind != "name" or t.text not in words)]
    return tuple(dict.fromkeys(found))


def replaced(text: str, target: tuple[str, str], payload: str, quote: str) -> str:
    """A text with a name, or a string, replaced wherever it stands."""
    tokens, _ = tokenize(Source("t", text))
    kind, old = target
    mark = "'" if kind == "string" else quote
    new = f"{mark}{quoted(payload)}{mark}"
    out, at = [], 0
    for token in tokens:
        if (token.kind, token.text) == target:
            out += [text[at : token.start], new]
            at = token.end
    return "".join(out) + text[at:]


def cql_mutant(chance: random.Random) -> Mutant:
    """A library with a name or a text replaced."""
    texts = wide.libraries()
    text = texts[0] if chance.random() < 0.05 else chance.choice(texts[1:])
    target, payload, traced = chance.choice(targets(text, True)), chance.choice(PAYLOADS), chance.random() < 0.5
    mutated = replaced(text, target, payload, '"')
    return Mutant(
        f"CQL, {target} is {payload[:80]!r}:\n{mutated[:3000]}", lambda evaluate: library(mutated, traced, evaluate)
    )


@lru_cache(maxsize=1)
def elm_libraries() -> tuple[str, ...]:
    """The wide libraries as ELM."""
    return tuple(
        json.dumps(to_elm(compiler(False).typed(Source("L.cql", text))), default=float)
        for text in wide.libraries()
        if "using Lab" not in text
    )


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all scalars and containers in a JSON value."""
    if way:
        yield way
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*way, key))


def put(value: Any, way: tuple[Any, ...], new: Any) -> None:
    for key in way[:-1]:
        value = value[key]
    value[way[-1]] = new


def at(value: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        value = value[key]
    return value


def everywhere(value: Any, old: str, new: str) -> Any:
    """A JSON value with a text replaced wherever it stands."""
    if isinstance(value, dict):
        return {key: everywhere(inner, old, new) for key, inner in value.items()}
    if isinstance(value, list):
        return [everywhere(inner, old, new) for inner in value]
    return new if value == old else value


ELM_TYPES = (
    *sorted(OPERATORS), *sorted(_READERS), "And", "Not", "AliasRef", "OperandRef", "ExpressionRef", "ParameterRef", "QueryLetRef", "CodeRef",
    "ConceptRef", "ValueSetRef", "CodeSystemRef", "IdentifierRef", "ListTypeSpecifier", "IntervalTypeSpecifier", "TupleTypeSpecifier",
    "ChoiceTypeSpecifier", "NamedTypeSpecifier", "FunctionDef", "ExpressionDef", "ByColumn", "ByExpression", "With", "Without", "Nonsense",
)  # fmt: skip


def elm_mutant(chance: random.Random) -> Mutant:
    """A library in ELM with something in it replaced, taken out, moved, or nested."""
    texts = elm_libraries()
    data = json.loads(texts[0] if chance.random() < 0.05 else chance.choice(texts[1:]))
    ways = [way for way in places(data["library"]) if way[-1] not in ("localId", "locator")]
    way = chance.choice(ways)
    old, kind = at(data["library"], way), chance.random()
    new: Any = copy.deepcopy(chance.choice(VALUES))
    if kind < 0.1:
        holder = at(data["library"], way[:-1])
        del holder[way[-1]]
        new = "gone"
    elif kind < 0.25:
        new = copy.deepcopy(at(data["library"], chance.choice(ways)))
    elif kind < 0.28:
        for _ in range(chance.choice((3, 300, 900))):
            new = {"type": chance.choice(("Not", "ToList", "Negate")), "operand": new}
    if isinstance(old, str) and kind > 0.55:
        new = chance.choice(ELM_TYPES if way[-1] == "type" else PAYLOADS)
        if kind > 0.85:
            data["library"] = everywhere(data["library"], old, new)
    if not 0 <= kind < 0.1:
        put(data["library"], way, new)
    text, traced = json.dumps(data), chance.random() < 0.5
    what = f"ELM, {'.'.join(map(str, way))} was {str(old)[:80]!r}, is {str(new)[:80]!r}:\n{text}"
    return Mutant(what, lambda evaluate: library(text, traced, evaluate, "L.json"))


# -- ModelInfo


@lru_cache(maxsize=1)
def model_attributes() -> tuple[tuple[int, int, str], ...]:
    """Where the values of attributes stand in the model: start, end, value."""
    return tuple((m.start(1), m.end(1), m[1]) for m in re.finditer(r'\s[\w:]+="([^"]*)"', wide.MODEL))


def escaped(payload: str) -> str:
    text = payload.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace("\n", "&#10;")
    return text.encode("utf-8", "ignore").decode()


def model_mutant(chance: random.Random) -> Mutant:
    """A data model with the value of an attribute replaced, here or everywhere, or an attribute left out; and a library that uses it."""
    start, end, old = chance.choice(model_attributes())
    payload, kind = (
        chance.choice((*PAYLOADS, "Lab.Person", "Lab.Part", "System.Any", "%value", "%parent.x[")),
        chance.random(),
    )
    text = wide.MODEL
    if kind < 0.1:
        head = text[:start].rpartition(" ")[0] if " " in text[:start] else text[:start]
        text = head + text[end + 1 :]
    elif kind < 0.6:
        text = text[:start] + escaped(payload) + text[end:]
    else:
        text = text.replace(f'"{old}"', f'"{escaped(payload)}"')
    written = wide.LAB
    if kind >= 0.6:
        for name in (old.rpartition(".")[2], old):
            if name in written:
                written = re.sub(rf'"?\b{re.escape(name)}\b"?', lambda m: f'"{quoted(payload)}"', written)
                break
    traced = chance.random() < 0.5

    def run(evaluate: bool) -> Outcome:
        try:
            info = read_model_info(text)
        except ValueError as error:
            assert str(error)
            return Outcome("refused")
        try:
            compiled = Compiler(model_infos=[info], traced=traced).compile(Source("L.cql", written))
        except DiagnosticError as error:
            return refused(error)
        return Outcome("compiled", evaluated(compiled) if evaluate else 0)

    return Mutant(f"ModelInfo, {old!r} is {payload[:80]!r}:\n{text[:3000]}\n{written}", run)


# -- FHIRPath


def fhirpath_mutant(chance: random.Random) -> Mutant:
    """An expression with a name or a text replaced."""
    text = chance.choice(wide.EXPRESSIONS)
    found = targets(text, False)
    target, payload = chance.choice(found), chance.choice(PAYLOADS)
    mutated = replaced(text, target, payload, "`")
    lenient, traced = chance.random() < 0.5, chance.random() < 0.5

    def run(evaluate: bool) -> Outcome:
        try:
            if traced:
                compile_code(mutated, load_model("r4"), name="x", lenient=lenient)
                return Outcome("compiled")
            expression = compile_fhirpath(mutated, root="Patient", lenient=lenient, variables={"v": "System.String"})
        except DiagnosticError as error:
            return refused(error)
        if not evaluate:
            return Outcome("compiled")
        try:
            expression.evaluate(wide.PATIENT, variables={"v": "x"}, now=wide.NOW)
        except EvaluationError as error:
            assert error.code and str(error)
        return Outcome("compiled", 1)

    return Mutant(f"FHIRPath, {target} is {payload[:80]!r}: {mutated[:2000]}", run)


# -- artifacts


def artifact_mutant(chance: random.Random) -> Mutant:
    """An EvidenceVariable with expressions, a text of which is replaced."""
    data = copy.deepcopy(chance.choice(wide.ARTIFACTS))
    ways = [way for way in places(data) if isinstance(at(data, way), str)]
    way, payload = chance.choice(ways), chance.choice(PAYLOADS)
    old = at(data, way)
    if chance.random() < 0.5 and way[-1] == "expression":
        cql = "cql" in str(at(data, way[:-1]).get("language"))
        payload = replaced(old, chance.choice(targets(old, cql)), payload, '"' if cql else "`")
    put(data, way, payload)

    def run(evaluate: bool) -> Outcome:
        store = LibraryStore()
        store.add_text(Source("Common.cql", wide.INCLUDED["Common"]))
        found = read_artifacts([data])
        kinds, judged = {"compiled"}, 0
        for artifact in found.roots:
            rules = compile_artifact(artifact, fhir_version="r4", cql=CqlCriteria(store, "r4"))
            for rule in rules.walk():
                kinds.add("foreign" if any(d.code == "foreign-code" for d in rule.diagnostics) else "compiled")
                for diagnostic in rule.diagnostics:
                    assert diagnostic.render()
            judged += judge(rules) if evaluate else 0
        return Outcome("foreign" if "foreign" in kinds else "compiled", judged)

    return Mutant(f"EvidenceVariable, {'.'.join(map(str, way))} was {old[:80]!r}, is {payload[:200]!r}", run)


def judge(rules: RuleSet) -> int:
    """Judge a patient by the criteria of an artifact, which never raises; the number of patients."""
    evaluator = Evaluator(rules, Options(now=wide.NOW))
    verdicts = [evaluator(patient) for patient in compartments_of([wide.PATIENT, *wide.RESOURCES])]
    assert verdicts and all(verdict.verdict in ("included", "excluded", "undetermined") for verdict in verdicts)
    return len(verdicts)


KINDS: dict[str, Callable[[random.Random], Mutant]] = {
    "cql": cql_mutant,
    "elm": elm_mutant,
    "fhirpath": fhirpath_mutant,
    "model": model_mutant,
    "artifact": artifact_mutant,
}


def mutants(kind: str, count: int, seed: int) -> Iterator[Mutant]:
    """Mutated definitions of a kind, as many as asked for."""
    chance = random.Random(f"{kind} {seed}")
    for _ in range(count):
        yield KINDS[kind](chance)


__all__ = [
    "KINDS",
    "PAYLOADS",
    "RUNS",
    "SENTINEL",
    "Mutant",
    "Outcome",
    "evaluated",
    "library",
    "mutants",
]
