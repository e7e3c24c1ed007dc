"""The published criteria whose expressions do not run as written: each is told to its author, with what to write instead, and that runs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fhir_eligibility.artifacts.libraries import LibraryStore
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.artifacts.records import ExpressionSource
from fhir_eligibility.compiler.criteria.cql import CqlCriteria
from fhir_eligibility.compiler.criteria.rules import compile_code
from fhir_eligibility.runners.screening.criteria import load_criteria
from tests.shared import shared


@dataclass(frozen=True, slots=True)
class Told:
    """A diagnostic: its code, the text that it marks (None: it marks a place only), and what its hint says."""

    code: str
    marked: str | None
    hint: str


def mistaken_code(text: str, code: str, system: str, url: str) -> Told:
    """A code and a system in double quotes, which stand for the name of a definition."""
    hint = (
        f"double quotes enclose a name. Declare the code in a library: codesystem \"{system}\": '{url}'   "
        f'code "the code": \'{code}\' from "{system}"   and write [Observation: "the code"]; without a library, write '
        f"[Observation: Code {{ code: '{code}', system: '{url}' }}]"
    )
    return Told("unknown-name", f'"{text}"', hint)


LOINC = mistaken_code("75859-9|LOINC", "75859-9", "LOINC", "http://loinc.org")
SNOMED = mistaken_code("52988006|SNOMED", "52988006", "SNOMED", "http://snomed.info/sct")
LIBRARY = Told("library-missing", None, "give the file or folder that holds it (--libraries)")
WILD: dict[str, tuple[Told, ...]] = {
    "R4B/core-examples/EvidenceVariable-example-mRS0-2-at-90days.json": (LOINC,),
    "R4B/core-examples/EvidenceVariable-example-mRS3-6-at-90days.json": (LOINC,),
    "R5/core-examples/EvidenceVariable-example-mRS3-6-at-90days.json": (LOINC,),
    "R6-ballot5/hl7-ebm/Group-171819.json": (
        Told(
            "no-overload",
            "Last([Observation: Code '39156-5' from \"http://loinc.org\"] O sort by effective) >= 30 'kg/m2'",
            "FHIR.Observation is a whole record: take one of its elements, such as ((...).value as Quantity)",
        ),
        Told(
            "unknown-name",
            '"http://loinc.org"',
            "a code system has a name, which its library declares: codesystem \"LOINC\": 'http://loinc.org'; without a library, "
            "write the whole code: Code { code: '...', system: 'http://loinc.org' }",
        ),
    ),
    "R5/flute-history/EvidenceVariable-EV-PIRADSScore.json": (SNOMED,),
    "R6-draft/flute-history/Group-Definition-Group-PIRADSScore.json": (SNOMED,),
    "R6-draft/flute-history/Group-Definition-Group.json": (
        Told(
            "unknown-element",
            "system",
            "CodeableConcept holds it in `coding`: write coding.system, or coding.where(system = ...)",
        ),
    ),
    "R4/cql-ig/Group-ANCCohortDefinition.json": (LIBRARY,),
    "R4/cql-ig/Group-definition-example.json": (LIBRARY,),
}


@pytest.mark.parametrize("file", WILD)
def test_what_the_author_is_told(file: str) -> None:
    criteria = load_criteria(shared("evidencevariables", *file.split("/")), on_error="keep")
    found = []
    for error in criteria.errors:
        marked = None
        if error.source is not None and error.span is not None:
            marked = error.source.text[error.span.start : error.span.end]
        found.append(Told(error.code, marked, error.hint or ""))
    assert tuple(found) == WILD[file]
    assert all(error.location or error.source for error in criteria.errors)


@pytest.mark.parametrize(
    "text",
    [
        "exists ([Observation: Code { code: '75859-9', system: 'http://loinc.org' }] mRS where mRS.value between 0 and 2)",
        "exists ([Observation: Code { code: '52988006', system: 'http://snomed.info/sct' }] O where O.value >= 3)",
        "AgeInYears() >= 18 and (Last([Observation: Code { code: '39156-5', system: 'http://loinc.org' }] O "
        "sort by effective).value as Quantity) >= 30 'kg/m2'",
    ],
)
def test_what_the_hints_say_compiles(text: str) -> None:
    code, found = CqlCriteria(LibraryStore()).code(ExpressionSource(language="text/cql", text=text), "here")
    assert code.boolean and [d for d in found if d.severity == "error"] == []


def test_what_the_hint_says_of_codings_compiles() -> None:
    text = (
        "FamilyMemberHistory.condition.code.coding"
        ".where(system = 'http://snomed.info/sct' and code = '399068003').exists()"
    )
    code, found = compile_code(text, load_model("r4"), name="here")
    assert code.boolean and found == ()
