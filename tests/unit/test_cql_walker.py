"""Random well-typed expressions: the emitted Python gives what the plain meaning of the typed nodes is; WALKER_EXAMPLES sets how many."""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.algebra.diagnostic import DiagnosticError, EvaluationError, Source
from engine.compiler.cql.compiled import Compiler, Loaded
from engine.compiler.cql.runtime import Run
from tests.spec.cql_suite import SUITES, read_cases
from tests.unit.elm_walker import Walker

NOW = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
EXAMPLES = int(os.environ.get("WALKER_EXAMPLES", "200"))

Text = st.SearchStrategy[str]


def of(*templates: str, **parts: Text) -> Text:
    """One of some templates, each `<name>` filled from the strategy of that name (digits behind a name tell several apart)."""

    def fill(template: str) -> Text:
        names = [chunk.partition(">")[0] for chunk in template.split("<")[1:] if ">" in chunk]
        chosen = {name: parts[name.rstrip("0123456789")] for name in names if name.rstrip("0123456789") in parts}

        def put(values: dict[str, str]) -> str:
            text = template
            for name, value in values.items():
                text = text.replace(f"<{name}>", f"({value})")
            return text

        return st.fixed_dictionaries(chosen).map(put)

    return st.one_of([fill(template) for template in templates])


def expressions() -> Text:
    """Expressions of any type, built up from those of simpler ones."""
    integer: Text = st.sampled_from(
        ["0", "1", "2", "5", "-3", "null as Integer", "days between @2024-01 and @2024-03-05"]
    )
    decimal: Text = st.sampled_from(["0.5", "1.0", "2.25", "null as Decimal", "-7.125"])
    string: Text = st.sampled_from(["'a'", "'bc'", "''", "null as String"])
    date: Text = st.sampled_from(["@2024-02-29", "@2024-03", "@2023", "@2024-12-31", "null as Date"])
    moment: Text = st.sampled_from(
        ["@2024-02-29T12:00:00.000", "@2024-03-01T", "@2024-01-01T00:00:00.000+02:00", "Now()", "null as DateTime"]
    )
    quantity: Text = st.sampled_from(["5 'mg'", "1 'g'", "2 'cm'", "3 days", "null as Quantity"])
    boolean: Text = st.sampled_from(["true", "false", "null as Boolean"])
    for _ in range(2):
        interval = of(
            "Interval[<i1>, 7]",
            "Interval(<i1>, null)",
            "Interval[null, <i2>]",
            "Interval(1, 9)",
            "null as Interval<Integer>",
            i=integer,
        )
        days = of("Interval[<d1>, @2025-01-01]", "Interval(@2023-06-01, @2024-03-15]", "Interval[<d1>, null)", d=date)
        integers = of(
            "{ <i1>, <i2>, 3 }",
            "{ 1, null, <i1> }",
            "null as List<Integer>",
            "<l1> X where <b1> and X > <i1>",
            "<l1> X return all X + <i1>",
            "<l1> X with <l2> Y such that Y = X and <b1>",
            "<l1> X without <l2> Y such that Y > X",
            "from <l1> X, <l2> Y let z: X + Y where z > <i1> return all z",
            "<l1> X return X sort desc",
            "<l1> union <l2>",
            i=integer,
            l=st.sampled_from(["{ 1, 2, 3 }", "{ 3, null, 5 }", "{ 2 }", "null as List<Integer>"]),
            b=boolean,
        )
        tuples = of("{ Tuple { n: <i1>, s: <s1> }, Tuple { n: 2, s: 'b' } }", i=integer, s=string)
        boolean = of(
            "<b1> and <b2>", "<b1> or <b2>", "<b1> xor <b2>", "<b1> implies <b2>", "not <b1>", "<i1> < <i2>", "<i1> = <i2>",
            "<e1> >= <e2>", "<s1> = <s2>", "<d1> before <d2>", "<d1> same month or after <d2>", "<m1> <= <m2>", "<q1> > <q2>",
            "<q1> ~ <q2>", "<i1> in <v1>", "<v1> overlaps <v2>", "<v1> meets before <v2>", "<d1> during <w1>", "<w1> includes <w2>",
            "exists <l1>", "<i1> in <l1>", "<l1> includes <l2>", "<b1> is true", "<i1> is null", "(<b1>) is not false",
            "exists (<t1> T where T.n > <i1> and T.s = <s1>)", "AllTrue({ <b1>, <b2> })", "<m1> 3 days or less before <m2>",
            "<d1> is Date", "<i1> between 1 and <i2>",
            b=boolean, i=integer, e=decimal, s=string, d=date, m=moment, q=quantity, v=interval, w=days, l=integers, t=tuples,
        )  # fmt: skip
        integer = of(
            "<i1> + <i2>", "<i1> * 2", "-<i1>", "<i1> div <i2>", "if <b1> then <i1> else <i2>", "Coalesce(<i1>, <i2>)",
            "Count(<l1>)", "First(<l1>)", "Sum(<l1>)", "<l1> X aggregate R starting 0: R + Coalesce(X, <i1>)", "start of <v1>",
            "months between <d1> and <d2>", "years between <m1> and <m2>", "case when <b1> then <i1> when <b2> then 4 else <i2> end",
            "case <i1> when 1 then 10 when <i2> then 20 else 30 end", "Length(<s1>)", "month from <d1>", "width of <v1>",
            "Max(<l1>)", "<l1>[0]", "Other + f(<i1>)",
            "ToInteger(ToString(<i1>))", "singleton from (<l1> X where X = 2)", "IndexOf(<l1>, <i1>)",
            b=boolean, i=integer, l=integers, v=interval, d=date, m=moment, s=string,
        )  # fmt: skip
        decimal = of(
            "<e1> + <i1>", "<e1> / 4", "Round(<e1>, 1)", "Avg({ <e1>, 1.5 })", "ToDecimal(<i1>)", e=decimal, i=integer
        )
        date = of(
            "<d1> + 1 month",
            "<d1> - 3 days",
            "if <b1> then <d1> else <d2>",
            "date from <m1>",
            "end of <w1>",
            d=date,
            b=boolean,
            m=moment,
            w=days,
        )
        string = of(
            "<s1> & 'x'",
            "<s1> + <s2>",
            "Upper(<s1>)",
            "ToString(<i1>)",
            "Combine({ <s1>, 'y' }, ',')",
            s=string,
            i=integer,
        )
        quantity = of("<q1> + 1 'mg'", "<q1> * 2.0", "if <b1> then <q1> else null", q=quantity, b=boolean)
    anything = of(
        "{ <i1> as Choice<Integer, String>, <s1> }",
        "if <b1> then <i1> else <s1>",
        "Tuple { a: <i1>, b: <b1>, c: <l1> }",
        "from <l1> X, <t1> T where X = T.n return Tuple { x: X, s: T.s } sort by x desc, s",
        "collapse { <v1>, <v2>, Interval[3, 4] }",
        "<v1> intersect <v2>",
        "distinct <l1>",
        "<t1> T return T.s sort asc",
        "flatten { <l1>, <l2> }",
        i=integer, s=string, b=boolean, l=integers, v=interval, t=tuples,
    )  # fmt: skip
    return st.one_of(boolean, integer, decimal, date, string, quantity, integers, interval, anything)


def compared(text: str) -> bool:
    """Hold the emitted code of an expression against the walker; False where it does not compile."""
    compiler = Compiler()
    source = Source("random.cql", f"define Other: 2\ndefine function f(x Integer): x + 1\ndefine expression: {text}")
    try:
        loaded = Loaded(compiler.compile(source))
    except DiagnosticError:
        return False
    typed = compiler.typed(source)
    emitted = outcome(lambda: loaded.evaluate("expression", Run(NOW)))
    plain = outcome(lambda: Walker(typed, Run(NOW)).define("expression"))
    if "error" in (emitted[0], plain[0]):
        # what is never needed need not be computed: the emitted code may have an answer where the walker meets an error on the way
        assert emitted == plain or plain[0] == "error", (text, emitted, plain)
    else:
        assert emitted == plain, (text, loaded.compiled.text)
    return True


def outcome(evaluate: Any) -> tuple[str, str]:
    """A value by its text, or the code of an error."""
    try:
        return "value", repr(evaluate())
    except EvaluationError as error:
        return "error", error.code
    except (AttributeError, TypeError) as error:
        if "Uncertainty" not in str(error):
            raise
        return "error", "uncertain"


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(expressions())
def test_random_expressions(text: str) -> None:
    compared(text)


def test_the_official_expressions() -> None:
    suite = SUITES[0]
    if reason := suite.missing():
        pytest.skip(reason)
    assert sum(compared(case.expression) for case in read_cases(suite.path())) == 1798


def test_most_random_expressions_compile() -> None:
    tried: list[bool] = []

    @settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(expressions())
    def count(text: str) -> None:
        tried.append(compared(text))

    count()
    assert sum(tried) > 0.8 * len(tried)
