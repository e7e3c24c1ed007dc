"""The table of operators is one and the same, whichever module a process imports first."""

from __future__ import annotations

import subprocess
import sys

from fhir_eligibility.algebra.operators.table import CHAPTERS

DIGEST = "import {first}, hashlib; from fhir_eligibility.algebra.operators.registry import OPERATORS as t;" + (
    "print(hashlib.sha256(repr([(n, t[n].fhirpath, t[n].cql, t[n].section, [(o.signature, o.language) for o in t[n].overloads])"
    " for n in sorted(t)]).encode()).hexdigest())"
)


def digest(first: str) -> str:
    run = subprocess.run([sys.executable, "-c", DIGEST.format(first=first)], capture_output=True, text=True)
    assert run.returncode == 0, f"importing {first} first: {run.stderr}"
    return run.stdout


def test_the_order_of_overloads_does_not_depend_on_what_is_imported_first() -> None:
    firsts = [chapter.__name__ for chapter in CHAPTERS] + [
        "fhir_eligibility",
        "fhir_eligibility.algebra.temporal",
        "fhir_eligibility.compiler.criteria.fhirpath",
    ]
    answers = {first: digest(first) for first in firsts}
    assert len(set(answers.values())) == 1, answers
