"""docs/operators.md is what the operators and the suites say."""

from __future__ import annotations

import re

import pytest

from fhir_eligibility.algebra.operators.registry import FORMS
from fhir_eligibility.algebra.operators.table import OPERATORS
from fhir_eligibility.compiler.translate.cql_methods import METHODS
from fhir_eligibility.compiler.translate.fhirpath_functions import FUNCTIONS
from tests.spec import cql_suite
from tests.spec.headings import PAGES, address, headings, headings_of
from tests.spec.operator_table import FILE, cases_by_operator, heading, table, without_cases


def test_the_page_is_fresh() -> None:
    text = FILE.read_text("utf-8")
    if cql_suite.SUITES[0].missing() is None:
        assert text == table(cases_by_operator()), "write it again: make docs"
    else:
        assert without_cases(text) == without_cases(table({})), "write it again: make docs"


def test_every_operator_stands_on_the_page_once() -> None:
    text = FILE.read_text("utf-8")
    assert {name: text.count(f"\n| `{name}` |") for name in OPERATORS} == dict.fromkeys(OPERATORS, 1)


def test_every_function_stands_on_the_page() -> None:
    text = FILE.read_text("utf-8")
    functions = text.partition("## Functions of FHIRPath")[2].partition("\n## ")[0]
    methods = text.partition("## Written behind an input in CQL")[2].partition("\n## ")[0]
    known = [name for language, name in FORMS if language == "fhirpath"]
    assert len(known) >= 60 and [functions.count(f"\n| `{name}` ") for name in known] == [1] * len(known)
    behind = [name for language, name in FORMS if language == "cql"]
    assert len(behind) > 60 and [methods.count(f"`{name}`") for name in behind] == [1] * len(behind)
    # whatever a text may call stands in the table
    assert {*FUNCTIONS} == {*known} and {*METHODS} == {*behind}


def test_every_link_leads_to_a_heading() -> None:
    links = re.findall(r"\]\((https://[^)#]+)#([^)]*)\)", FILE.read_text("utf-8"))
    known = {(PAGES[h.page], h.anchor) for h in headings()}
    assert len(links) > 100
    assert [link for link in links if link[0] in PAGES.values() and link not in known] == []


@pytest.mark.parametrize(
    ("section", "anchor"),
    [
        ("Arithmetic: TruncatedDivide", "cql.hl7.org/09-b-cqlreference.html#truncated-divide"),
        ("DateTime: Component From", "cql.hl7.org/09-b-cqlreference.html#datetime-component-from"),
        ("List: Length", "cql.hl7.org/09-b-cqlreference.html#length-1"),
        ("FHIRPath: toChars", "hl7.org/fhirpath/#tochars--collection"),
        ("FHIRPath: contains(substring)", "hl7.org/fhirpath/#containssubstring--string--boolean"),
    ],
)
def test_the_address_of_a_section(section: str, anchor: str) -> None:
    assert address(section) == f"https://{anchor}"


def test_anchors_are_those_of_the_published_page() -> None:
    text = "### List\n#### Add\n```\n#### no heading\n```\n{: #here}\n#### Given\n#### Add\n#### + (addition)\n#### toChars() : collection\n"
    found = [(h.chapter, h.anchor) for h in headings_of("cql", text)]
    assert found == [("List", x) for x in ("list", "add", "here", "add-1", "-addition", "tochars--collection")]


def test_a_function_that_no_specification_has_gets_no_link() -> None:
    assert heading("own") == ("", "none: a function of this program")


def test_a_section_that_is_none() -> None:
    with pytest.raises(LookupError):
        address("FHIRPath: nowhere")
