"""Fast paths in the Python that FHIRPath turns into tell the environment what the clauses tell that they stand in for."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from fhir_eligibility.algebra.diagnostic import EvaluationError
from fhir_eligibility.artifacts.models import load_model
from fhir_eligibility.compiler.criteria.rules import compile_code
from fhir_eligibility.compiler.runtime.runtime import Environment

VALUES = st.sampled_from(["completed", "done", "MR", "CT", 1, None, True, ["MR"], {"code": "MR"}, "absent"])


class Told(Environment):
    """Keeps what it is told of rows and comparisons, without the numbers of their places; keeps a row in doubt where `keep` says so."""

    def __init__(self, rows: list[Any], keep: bool) -> None:
        super().__init__()
        self.rows, self.keep = rows, keep
        self.told: list[Any] = []

    def retrieve(self, *asked: Any) -> list[Any]:
        return self.rows

    def passed(self, site: int, row: Any) -> None:
        self.told.append(("passed", id(row)))

    def failed(self, site: int, row: Any, clause: int) -> None:
        self.told.append(("failed", id(row), clause))

    def doubt(self, site: int, row: Any, clause: int) -> bool:
        self.told.append(("doubt", id(row), clause))
        return self.keep

    def unknown(self, site: int, left: Any, right: Any) -> None:
        self.told.append(("unknown", left, right))


def _run(text: str, rows: list[Any], keep: bool) -> tuple[Any, list[Any]]:
    code, _ = compile_code(text, load_model("r4"), name="x")
    environment = Told(rows, keep)
    try:
        return code.run(environment, {"resourceType": "Patient"}), environment.told
    except EvaluationError as error:
        return (error.code, error.message), environment.told


CODINGS = st.fixed_dictionaries({}, optional={"system": VALUES, "code": VALUES})
ROWS = st.fixed_dictionaries(
    {"resourceType": st.just("ImagingStudy")}, optional={"status": VALUES, "modality": st.lists(CODINGS)}
)


@given(st.lists(ROWS, max_size=3), st.booleans())
@example([{"resourceType": "ImagingStudy", "status": ["done"]}], False)
def test_rows_that_have_the_texts_asked_for(rows: list[Any], keep: bool) -> None:
    """`trace` passes its input on; a clause with it takes the plain way."""
    for text in (
        "ImagingStudy.where(status{} = 'done').exists()",
        "ImagingStudy.where('done' = status{}).exists()",
        "ImagingStudy.modality.where(system{} = 'done' and code = 'MR').exists()",
    ):
        assert _run(text.format(""), rows, keep) == _run(text.format(".trace('x')"), rows, keep)
