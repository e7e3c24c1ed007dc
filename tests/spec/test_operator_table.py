"""docs/operators.md is what the operators and the suites say."""

from __future__ import annotations

from engine.algebra.operators.table import OPERATORS
from tests.spec import cql_suite
from tests.spec.operator_table import FILE, cases_by_operator, table, without_cases


def test_the_page_is_fresh() -> None:
    text = FILE.read_text("utf-8")
    if cql_suite.SUITES[0].missing() is None:
        assert text == table(cases_by_operator()), "write it again: make docs"
    else:
        assert without_cases(text) == without_cases(table({})), "write it again: make docs"


def test_every_operator_stands_on_the_page_once() -> None:
    text = FILE.read_text("utf-8")
    assert {name: text.count(f"\n| `{name}` |") for name in OPERATORS} == dict.fromkeys(OPERATORS, 1)
