"""Runs the official suites the way of a verdict: each test as a criterion over a patient, from a file and from memory, as it stands and within a filter.

A test with one Boolean output is its expression; one with another value compares with it, one without asks whether there is none. It passes where no way
gives a definite answer that contradicts the suite, and all ways give the same; unknown contradicts nothing, but an error does.

Left out are tests that have to be refused (`invalid`), of FHIRPath those whose input is no Patient, since names in them would be those of the patient, and
of CQL those whose expected value cannot be written in a comparison (a range of possible integers).
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fhir_eligibility.algebra.diagnostic import DiagnosticError, Source
from fhir_eligibility.artifacts.libraries import LibraryStore
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.records import ExpressionSource
from fhir_eligibility.compiler.criteria.cql import CqlCriteria
from fhir_eligibility.compiler.criteria.fhirpath_code import compile_code
from fhir_eligibility.compiler.criteria.reading import reading_plan
from fhir_eligibility.compiler.criteria.rules import Rule, RuleSet
from fhir_eligibility.data.patients.compartment import Compartment
from fhir_eligibility.data.patients.reader import compartments_of
from fhir_eligibility.evaluation.evaluator import Evaluator, Options
from fhir_eligibility.runners.screening.screening import compartments
from tests.spec import cql_suite
from tests.spec.cql_suite import CqlCase
from tests.spec.fhirpath_cases import FhirPathCase, Output, read_cases, read_input
from tests.spec.fhirpath_suite import NOW
from tests.spec.model import Result, Suite

# A form in which a case is asked: its name, the text of the criterion, and the answer that it has by the suite.
Form = tuple[str, str, bool]
Compile = Callable[[str], Any]
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Patients:
    """One patient in a file and in memory."""

    def __init__(self, patient: dict[str, Any], version: str, folder: Path) -> None:
        self.version = version
        self.path = folder / f"{len(list(folder.iterdir()))}.json"
        self.path.write_bytes(msgspec.json.Encoder(decimal_format="number").encode(patient))
        self.memory: list[Compartment] = list(compartments_of([patient], model=load_model(version)))

    def outcomes(self, code: Any) -> Iterator[tuple[str, str]]:
        """How each way ends, with the reason where it is unknown."""
        rules = RuleSet("e", "e", None, self.version, "all-of", None, (Rule("1", "1", "expression", code=code),))
        evaluate = Evaluator(rules, Options(now=NOW))
        read = compartments(self.path, self.version, plan=reading_plan([rules]))
        for way, found in (("memory", self.memory), ("file", read)):
            for one in found:
                (criterion,) = evaluate(one).criteria
                shown = criterion.outcome if criterion.reason != "error" else f"error: {criterion.detail}"
                yield way, shown


def judged(asked: list[Form], compile_one: Compile, patients: Patients) -> str:
    """What is wrong, in one line; empty for a pass. Raises DiagnosticError."""
    for form, text, expected in asked:
        found = dict(patients.outcomes(compile_one(text)))
        if len(set(found.values())) != 1:
            return f"{form}: the ways differ: {found}"
        outcome = found["memory"]
        if outcome not in ("unknown", "met" if expected else "not met"):
            return f"{form}: expected {'met' if expected else 'not met'} or unknown; got {outcome}"
    return ""


# -- FHIRPath


def run_fhirpath(version: str, path: Path) -> list[Result]:
    """The cases of a suite file that can be asked of a patient, as criteria."""
    inputs, model = path.parent / "inputs" / version, load_model(version)
    out = []
    with tempfile.TemporaryDirectory() as folder:
        known: dict[str, Patients] = {}
        for case in read_cases(path):
            resource = (
                {"resourceType": "Patient", "id": "none"} if case.input is None else read_input(inputs, case.input)
            )
            asked = asked_of(case)
            if asked is None or resource is None or resource["resourceType"] != "Patient":
                continue
            name = case.input or ""
            if name not in known:
                known[name] = Patients(resource, version, Path(folder))
            try:
                detail = judged(asked, partial(_fhirpath, model, case.lenient), known[name])
            except DiagnosticError as error:
                detail = f"refused: {error.diagnostics[0].message}"
            out.append(Result(case.name, case.group, case.expression, not detail, detail))
    return out


def _fhirpath(model: Any, lenient: bool, text: str) -> Any:
    return compile_code(text, model, name="x", lenient=lenient)[0]


def asked_of(case: FhirPathCase) -> list[Form] | None:
    """A case as criteria; None for one that should be refused."""
    if case.invalid is not None:
        return None
    text, expected = f"({case.expression}\n)", True
    if case.predicate or (len(case.outputs) == 1 and case.outputs[0].text.strip() in ("true", "false")):
        expected = case.outputs[0].text.strip() == "true"
        if case.predicate:
            text = f"iif({text}, true, false)"
    elif not case.outputs:
        text = f"{text}.empty()"
    elif len(case.outputs) == 1 and (literal := literal_of(case.outputs[0])) is not None:
        text = f"{text} ~ {literal}"
    else:
        text = f"{text}.count() = {len(case.outputs)}"
    filtered = f"Patient.where({text}).exists()"
    return [("plain", text, expected), ("negated", f"({text}).not()", not expected), ("filter", filtered, expected)]


def literal_of(output: Output) -> str | None:
    """An output as a literal of FHIRPath, None where it cannot be told what it would be."""
    text = output.text.strip()
    if output.type in ("string", "code", "id"):
        return (
            "'"
            + output.text.replace("\\", "\\\\")
            .replace("'", "\\'")
            .replace("\n", "\\n")
            .replace("\r", "\\r")
            .replace("\t", "\\t")
            + "'"
        )
    if output.type in ("integer", "decimal") and _NUMBER.fullmatch(text):
        return f"({text})"
    return None


# -- CQL


def run_cql(folder: Path) -> list[Result]:
    """The cases of the suite as criteria."""
    out = []
    with tempfile.TemporaryDirectory() as place:
        patients = Patients({"resourceType": "Patient", "id": "p"}, "r4", Path(place))
        for case in cql_suite.read_cases(folder):
            asked = asked_of_cql(case)
            if asked is None:
                continue
            try:
                detail = judged(asked, _library(asked), patients)
            except DiagnosticError as error:
                if _compiles(case.expression):
                    continue  # what it gives has no `~` with what it should, or the output takes more than a criterion may hold
                detail = f"refused: {error.diagnostics[0].message}"
            out.append(Result(case.name, case.group, case.expression, not detail, detail))
    return out


_HEAD = "library Forms\nusing FHIR version '4.0.1'\ninclude FHIRHelpers version '4.0.1'\ncontext Patient\n"


def _library(asked: list[Form]) -> Compile:
    """The forms as defines of one library. Raises DiagnosticError."""
    store = LibraryStore()
    defines = "\n".join(f'define "{form}":\n{text}' for form, text, _ in asked)
    library = store.add_text(Source("Forms", _HEAD + defines))
    criteria = CqlCriteria(store)
    names = {text: form for form, text, _ in asked}

    def code(text: str) -> Any:
        named = ExpressionSource(language="text/cql-identifier", text=names[text], libraries=(library.name or "",))
        return criteria.code(named, "x")[0]

    return code


def _compiles(expression: str) -> bool:
    try:
        _library([("plain", f"({expression}\n)", True)])(f"({expression}\n)")
    except DiagnosticError:
        return False
    return True


def asked_of_cql(case: CqlCase) -> list[Form] | None:
    """A case as criteria; None for one that should be refused, or whose value is not known."""
    if case.invalid is not None or len(case.outputs) != 1:
        return None
    output = case.outputs[0].strip()
    text, expected = f"({case.expression.strip()}\n)", True
    if output in ("true", "false"):
        expected = output == "true"
    elif output == "null":
        text = f"({text} is null)"
    else:
        # of ranges that are only partly known equality is unknown, where equivalence would be false
        text = f"({text} {'=' if 'Interval' in output else '~'} ({output}))"
    filtered = f"exists ([Patient] P where {text})"
    return [("plain", text, expected), ("negated", f"not {text}", not expected), ("filter", filtered, expected)]


SUITES = (
    Suite("fhirpath-r4-verdicts", "fhirpath/tests-fhir-r4.xml", partial(run_fhirpath, "r4")),
    Suite("fhirpath-r5-verdicts", "fhirpath/tests-fhir-r5.xml", partial(run_fhirpath, "r5")),
    Suite("cql-verdicts", "cql", run_cql),
)
