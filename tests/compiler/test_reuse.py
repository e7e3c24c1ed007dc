"""What emitted code has computed is used again where it is at hand, and nowhere else."""

from __future__ import annotations

import re

import pytest

from fhir_eligibility.algebra.diagnostic import Source
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.library import Compiler, compile_expression
from fhir_eligibility.compiler.criteria.rules import compile_code
from fhir_eligibility.compiler.emit.python import literal, local, name_of, py
from fhir_eligibility.compiler.emit.reuse import Reuse
from fhir_eligibility.compiler.runtime.cql import Patient, Run

HEAD = """
library Reuse
using FHIR version '4.0.1'
include FHIRHelpers version '4.0.1' called FHIRHelpers
context Patient
define function Began(p FHIR.Procedure):
  if p.performed is FHIR.Period then start of (p.performed as FHIR.Period) else (p.performed as FHIR.dateTime)
define function Asked(p FHIR.Procedure):
  exists ([Observation] O where O.effective as FHIR.dateTime = p.performed as FHIR.dateTime)
"""


CALL = re.compile(r" = function_\d+\(ev, ")


def _text(define: str) -> str:
    return Compiler(traced=True).compile(Source("Reuse", f"{HEAD}\ndefine X: {define}")).python


def test_a_row_asks_once() -> None:
    text = _text("[Procedure] P where Began(P) > @2020 and Began(P) < @2021-01-01T00:00:00Z")
    assert len(CALL.findall(text)) == 1
    assert text.count("elif") == 1  # the type of what began is found out once


def test_what_one_branch_computes_is_not_at_hand_in_another() -> None:
    text = _text("[Procedure] P where if P.status = 'completed' then Began(P) > @2020 else Began(P) < @2021")
    assert len(CALL.findall(text)) == 2
    text = _text("[Procedure] P where (P.status = 'completed' and Began(P) > @2020) or Began(P) < @2021")
    assert len(CALL.findall(text)) == 2


def test_what_is_told_the_environment_is_told_twice() -> None:
    text = _text("[Procedure] P where Asked(P) and Asked(P)")
    assert len(CALL.findall(text)) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("({1, 2, 3}) X aggregate T starting 0: T * 2 + (T * 2)", 0),
        ("({1, 2, 3}) X aggregate T starting 1: T * 2 + (T * 2) + X", 91),
        ("({1, 2}) X let d: X + 1 return all d * d + (X + 1)", [6, 12]),
        ("(({1, 2}) X return (X + 1)) union (({3}) X return X + 1)", [2, 3, 4]),
        ("{ToString(1.0), ToString(1.00)}", ["1.0", "1.00"]),
    ],
)
def test_values_are_the_same(text: str, expected: object) -> None:
    assert compile_expression(text).evaluate("expression", Patient(Run())) == expected


def test_fhirpath_asks_once() -> None:
    began = "(performed.ofType(dateTime) | performed.ofType(Period).start).first()"
    code, _ = compile_code(f"Procedure.exists({began} > @2020 and {began} < @2021)", load_model("r4"), name="x")
    assert code.python.count("'performedDateTime'") == 1
    code, _ = compile_code(
        f"Procedure.exists({began} > @2020) and Procedure.exists({began} < @2021)", load_model("r4"), name="x"
    )
    assert code.python.count("'performedDateTime'") == 2


def test_what_is_bound_anew_is_computed_anew() -> None:
    reuse = Reuse()
    one, two, three = (local("x", number) for number in (1, 2, 3))
    a, b, c, d = (
        py("f({0}, {1})", row, literal(name)) for row, name in ((one, "a"), (two, "b"), (two, "c"), (three, "d"))
    )
    for code, number in ((a, 1), (b, 2)):
        reuse.put(code, name_of("t", number))
    reuse.bound("x_1")
    assert (reuse.get(a), reuse.get(b)) == (None, name_of("t", 2))
    reuse.put((two, ("Property", ((str, "c", "c"),))), name_of("t", 3))
    assert reuse.get((local("x", 2), ("Property", ((str, "c", "c"),)))) == name_of("t", 3)
    reuse.bound("x_2")
    assert reuse.get(b) is None and reuse.get((two, ("Property", ((str, "c", "c"),)))) is None
    reuse.enter()
    reuse.put(c, name_of("t", 4))
    assert reuse.get(py("f({0}, {1})", local("x", 2), literal("c"))) == name_of("t", 4)
    reuse.leave()
    assert reuse.get(c) is None
    reuse.put(d, name_of("t", 5))
    reuse.bound("t5")
    assert reuse.get(d) is None
